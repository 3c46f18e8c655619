"""What revision a702f46 wrote is read, evaluated and resumed by this besnet; a newer besnet's files are refused."""

import csv
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from besnet import __version__, cli
from besnet.checkpoints import model_folder, store
from besnet.checkpoints.header import rebuild
from besnet.checkpoints.temperature import stored_temperature
from besnet.cli.training import train
from besnet.data.failures import FailureLog
from besnet.data.manifest import Manifest
from besnet.data.prepare.process_video import Outcome
from besnet.data.prepare.staging import Staging
from besnet.evaluation.stored import read_evaluation, read_results
from besnet.formats import MIGRATIONS, config_keys, filled, stamp, upgraded
from besnet.formats.config_keys import with_new_keys
from besnet.formats.migrations import evaluation_1, lab_1, unchanged
from besnet.lab.plan import Plan
from besnet.settings import read_settings
from besnet.training import recipe
from besnet.training.metrics_table import MetricsTable
from tests.command import TINY
from tests.conftest import ROOT

OLD = ROOT / "tests" / "formats" / "a702f46"
LINE = [
    *TINY, "--data.folder=prepared", "--trainer.max_epochs=3", "--saving.every_steps=2", "--saving.keep=100",
    "--data.val_videos=4", "--recipe.ema=0.9",
]  # fmt: skip
CLOSE = 1e-5  # of probabilities and losses


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the old files, in the working folder that they were written in."""
    folder = tmp_path / "old"
    shutil.copytree(OLD, folder)
    monkeypatch.chdir(folder)
    return folder


def resumed(*words: str) -> None:
    """Train the stopped run to its end."""
    assert cli.run("train", ["--out=stopped", *LINE, *words]) == 0
    assert len(list(Path("stopped/checkpoints").glob("step_000000009-*.ckpt"))) == 1


def table(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def same_weights() -> bool:
    """Whether the resumed run has the weights of the one that was never stopped; format 2 rounds in other places."""
    ours, theirs = (store.load(Path(run))["state_dict"] for run in ("stopped", "finished"))
    return ours.keys() == theirs.keys() and all(
        torch.allclose(ours[name], theirs[name], rtol=1e-4, atol=1e-6) for name in theirs
    )


def rewritten(change: Callable[[dict[str, Any]], object]) -> None:
    """Change what the stopped run's checkpoint says about itself; it is then one of today's format."""
    content = store.load(Path("stopped"))
    content["besnet"] |= stamp("checkpoint")
    change(content["besnet"])
    for path in store.by_age(Path("stopped/checkpoints")):
        path.unlink()
    store.save(content, Path("stopped/checkpoints"), 4)


def test_an_old_run_resumes_to_the_same_weights(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its options `channels_last` and `hardest` are gone and renamed; its weights are not laid out as today's are."""
    assert cli.run("doctor", ["--out=stopped", *LINE]) in (0, 2)
    assert "→" not in capsys.readouterr().out, "nothing differs from the run"
    resumed()
    assert same_weights()
    ours, theirs = table(old / "stopped" / "metrics.csv"), table(old / "finished" / "metrics.csv")
    assert [row.keys() for row in ours] == [row.keys() for row in theirs]
    for row, other in zip(ours, theirs, strict=True):
        assert [name for name in row if row[name]] == [name for name in other if other[name]]
        assert np.allclose(*([float(value) for value in some.values() if value] for some in (row, other)), atol=CLOSE)


def test_old_files_are_verified_evaluated_exported_and_predicted_with(old: Path) -> None:
    assert cli.run("verify", ["prepared"]) == 0
    before, results = read_evaluation(old / "evaluated"), json.loads((old / "evaluated" / "results.json").read_text())
    assert cli.run("evaluate", ["--ckpt_path=finished", "--split=val", "--out=again"]) == 0
    after, found = read_evaluation(old / "again"), json.loads((old / "again" / "results.json").read_text())
    assert np.array_equal(before.ids, after.ids)
    assert np.allclose(before.probabilities, after.probabilities, atol=CLOSE)
    assert found["accuracy"]["over_evaluated"]["top1"] == results["accuracy"]["over_evaluated"]["top1"]
    assert results.keys() - {"against"} <= found.keys()
    stored = json.loads((old / "answers.json").read_text())["videos"][0]["answers"]
    assert cli.run("export", ["finished", "--to=folder", "--out=exported"]) == 0
    for place in ("finished", "model", "exported"):
        assert cli.run("predict", ["left_0.mp4", f"--ckpt_path={place}", f"--json={place}.json"]) == 0
        answers = json.loads((old / f"{place}.json").read_text())["videos"][0]["predictions"]
        assert [one["class"] for one in answers] == [one["class"] for one in stored]
        assert np.allclose(*([one["probability"] for one in some] for some in (answers, stored)), atol=CLOSE)
    assert cli.run("calibrate", ["again", "--run_folder=stopped"]) == 0
    stamped("again/results.json", "stopped/calibration.json", "exported/model.json", "model.json")


def stamped(*files: str) -> None:
    """Check that files say their format and the besnet that wrote them."""
    for file in files:
        content = yaml.safe_load(Path(file).read_text())
        kinds = {"exported/model.json": "model", "again/results.json": "evaluation"}
        kinds["stopped/calibration.json"] = "calibration"
        newest = len(MIGRATIONS[kinds.get(file, "run")])
        assert (content["format"], content["besnet"]) == (newest, __version__), file


@dataclass(frozen=True)
class Sharper(recipe.Recipe):
    """A recipe of another release.

    Args:
        sharpness: an argument that it has and this one has not.
    """

    sharpness: float = 0.25


def test_a_run_resumes_where_an_argument_is_new(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipe, "Recipe", Sharper)
    resumed()
    assert same_weights()
    assert store.load(Path("stopped"))["besnet"]["config"]["recipe"]["sharpness"] == 0.25


def test_a_new_argument_that_is_set_is_a_change(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipe, "Recipe", Sharper)
    with pytest.raises(SystemExit):
        cli.run("train", ["--out=stopped", *LINE, "--recipe.sharpness=0.5"])


def test_a_run_resumes_where_an_argument_is_renamed(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rewritten(lambda about: about["config"]["recipe"].update({"contrast": 0.25}))
    monkeypatch.setattr(recipe, "Recipe", Sharper)
    monkeypatch.setitem(config_keys.RENAMED, "recipe.contrast", "recipe.sharpness")
    resumed()
    assert same_weights()


def test_a_run_resumes_where_an_argument_is_dropped(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rewritten(lambda about: about["config"]["recipe"].update({"contrast": 0.25}))
    monkeypatch.setitem(config_keys.DROPPED, "recipe.contrast", "it never had one")
    resumed()
    assert same_weights()


def test_a_run_resumes_where_metrics_have_other_columns(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = Path("stopped/metrics.csv")
    head, *rows = path.read_text().splitlines()
    path.write_text("\n".join([head + ",Val/Other", *(f"{row},{n}" for n, row in enumerate(rows))]) + "\n")
    monkeypatch.setattr(MetricsTable, "FIELDS", (*MetricsTable.FIELDS, "Train/New"))
    resumed()
    ours, theirs = table(path), table(Path("finished/metrics.csv"))
    assert [row["step"] for row in ours] == [row["step"] for row in theirs]
    assert list(ours[0]) == [*theirs[0], "Val/Other", "Train/New"]
    assert [row["Val/Other"] for row in ours] == [str(n) if int(r["step"]) <= 4 else "" for n, r in enumerate(ours)]


def test_a_metrics_table_keeps_whole_rows_only(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    # by a release with other columns; the last line was cut by a kill, in the middle of a number
    path.write_text("epoch,step,New,lr\n0,1,a,0.5\n0,2,b\n0,x,c,0.5\n1,3,d,0.5\n1,4,e,0.5\n0,2,f,0.")
    MetricsTable(path).start(3)
    rows = table(path)
    assert list(rows[0]) == ["epoch", "step", "New", "lr", *(f for f in MetricsTable.FIELDS if "/" in f)]
    assert [(row["step"], row["New"], row["Val/Loss"]) for row in rows] == [("1", "a", ""), ("3", "d", "")]
    for damaged in ("", "no table\n1\n", "\0\0\n", "step,epoch"):
        path.write_text(damaged)
        MetricsTable(path).start(3)
        assert path.read_text().splitlines() == [",".join(MetricsTable.FIELDS)]


def test_networks_are_rebuilt_where_arguments_of_the_network_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    content = store.load(OLD / "finished")
    assert content["besnet"]["config"]["recipe"]["ohem"] is None
    about = content["besnet"]
    about["model"]["filters"] = about["model"].pop("width")
    about["model"]["gone"] = True
    monkeypatch.setitem(config_keys.RENAMED, "model.filters", "model.width")
    monkeypatch.setitem(config_keys.DROPPED, "model.gone", "it never had one")
    assert rebuild(content | {"besnet": upgraded(about, "checkpoint", "c")}).model["width"] == 8


NEWER = {"format": 99, "besnet": "9.1.0"}


def newer(path: Path) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | NEWER))


def refuse_checkpoint(old: Path) -> None:
    rewritten(lambda about: about.update(NEWER))
    store.read(old / "stopped")


def refuse_run(old: Path) -> None:
    newer(old / "stopped" / "run.json")
    train("train", ["--out=stopped", *LINE])


def refuse_config(old: Path) -> None:
    (old / "config.yaml").write_text(yaml.safe_dump(NEWER | {"seed": 0}))
    read_settings(old / "config.yaml")


def refuse_dataset(old: Path) -> None:
    newer(old / "prepared" / "dataset.json")
    Manifest.load(old / "prepared")


def refuse_model(old: Path) -> None:
    newer(old / "model" / "model.json")
    model_folder.read(old / "model")


def refuse_evaluation(old: Path) -> None:
    newer(old / "evaluated" / "results.json")
    read_results(old / "evaluated" / "results.json")


def refuse_calibration(old: Path) -> None:
    (old / "finished" / "calibration.json").write_text(json.dumps(NEWER))
    stored_temperature(old / "finished", "")


def refuse_lab(old: Path) -> None:
    (old / "plan.json").write_text(json.dumps(NEWER))
    Plan.read(old / "plan.json")


@pytest.mark.parametrize(
    "read",
    [refuse_checkpoint, refuse_run, refuse_config, refuse_dataset, refuse_model, refuse_evaluation, refuse_calibration,
     refuse_lab],
)  # fmt: skip
def test_a_newer_format_is_refused_in_one_line(old: Path, read: Callable[[Path], None]) -> None:
    with pytest.raises(ValueError, match=r"written by besnet 9\.1\.0 in format 99; this besnet \(") as refused:
        read(old)
    assert re.search(r"reads up to \d: install a newer besnet", str(refused.value))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("number", [-1, True, "1", 1.5, None, [1]])
def test_a_format_that_is_no_number_is_named(number: object) -> None:
    with pytest.raises(ValueError, match=r"x\.json: format: a whole number is expected"):
        upgraded({"format": number}, "model", "x.json")


def test_a_run_s_files_say_its_format_and_besnet(old: Path) -> None:
    resumed()
    stamped("stopped/run.json", "stopped/config.yaml")
    # and its own config.yaml is a config again
    assert read_settings(Path("stopped/config.yaml"))[1]["seed"] == 0
    assert cli.run("train", ["--config=stopped/config.yaml"]) == 0


def test_every_kind_starts_at_format_1_and_migrations_are_pure() -> None:
    for kind, migrations in MIGRATIONS.items():
        before = {"a": 1, "nested": {"b": [2]}, "against": {"folder": "x"}}
        kept = json.dumps(before)
        for migration in migrations:
            migration(before)
        assert json.dumps(before) == kept
        assert stamp(kind) == {"format": len(migrations), "besnet": __version__}


def test_the_comparison_of_an_old_evaluation_is_its_baseline() -> None:
    assert evaluation_1({"split": "val", "against": {"folder": "x"}}) == {"split": "val", "baseline": {"folder": "x"}}
    assert unchanged({"split": "val"}) == {"split": "val"}
    old = {"differences": [{"mean": 0.1, "smallest": 0.2, "smallest_by_videos": 0.3}], "uses": {"against_averaged": 1}}
    assert lab_1(old) == {
        "differences": [{"mean": 0.1, "minimum_detectable": 0.2, "minimum_detectable_by_videos": 0.3}],
        "uses": {"difference_to_averaged": 1},
    }
    about = {"format": 0, "against": {"folder": "x"}}
    assert upgraded(about, "evaluation", "r.json") == {"baseline": {"folder": "x"}}
    assert upgraded(stamp("evaluation") | {"against": 1}, "evaluation", "r.json") == {"against": 1}


def test_old_config_keys_become_new_ones() -> None:
    config = {"compiled": True, "channels_last": False, "recipe": {"hardest": 3, "lr": 0.1}}
    found, lines = with_new_keys(config)
    assert found == {"compile": True, "recipe": {"ohem": 3, "lr": 0.1}}
    assert lines == [
        "compiled is now compile (the old name goes in 0.3)",
        "recipe.hardest is now recipe.ohem (the old name goes in 0.3)",
        "channels_last has no effect: the network always runs channels-last (the name goes in 0.3)",
    ]
    assert config["compiled"], "the config that was given is as it was"
    assert with_new_keys(found) == (found, [])
    assert with_new_keys({"compiled": True, "compile": False})[0] == {"compile": False}
    assert with_new_keys({"recipe": None})[0] == {"recipe": None}


def test_defaults_fill_what_a_config_does_not_say() -> None:
    defaults = {"a": 1, "b": {"c": 2, "d": {"e": 3}}, "f": {"g": 4}}
    assert filled({"b": {"c": 5}, "f": None}, defaults) == {"a": 1, "b": {"c": 5, "d": {"e": 3}}, "f": None}
    assert filled({"b": 7}, {"b": {"c": 2}}) == {"b": 7}


def test_a_user_s_config_with_old_keys_works_and_names_the_new_ones(
    old: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (old / "mine.yaml").write_text("channels_last: true\ncompiled: false\nrecipe: {hardest: 3}\n")
    parsed = ["--config=mine.yaml", "--out=new", *LINE, "--trainer.max_epochs=1"]
    assert cli.run("train", parsed) == 0
    said = capsys.readouterr().err
    for line in ("compiled is now compile", "recipe.hardest is now recipe.ohem", "channels_last has no effect"):
        assert said.count(f"besnet: mine.yaml: {line}") == 1
    config = yaml.safe_load((old / "new" / "config.yaml").read_text())
    assert config["recipe"]["ohem"] == 3
    assert "channels_last" not in config
    weights = store.load(old / "new")["state_dict"]["network.backbone.conv1.weight"]
    assert weights.is_contiguous(memory_format=torch.channels_last)
    assert not weights.is_contiguous()
    assert read_settings(old / "mine.yaml")[1] == {"compile": False, "recipe": {"ohem": 3}}


def test_journals_of_an_older_besnet_are_read(tmp_path: Path) -> None:
    failure = {"epoch": 0, "row": 3, "video": "v", "why": "cut", "substitute": 5}  # before `repeat` and `data`
    (tmp_path / "failures_0.jsonl").write_text(json.dumps(failure) + "\n" + '{"epoch": 1, "ro')
    assert FailureLog(tmp_path, 0, 10).substitutes() == {(0, 3, 0): 5}
    staging = Staging(tmp_path, "plan")
    staging.add(Outcome(0, "broken"))
    staging.close(finished=False)
    journal = tmp_path / ".work" / "outcomes.jsonl"
    first = journal.read_bytes()
    journal.write_bytes(first + first[:20])  # a kill cut the second line
    again = Staging(tmp_path, "plan")
    again.add(Outcome(1, "missing"))
    again.close(finished=False)
    last = Staging(tmp_path, "plan")
    assert [last.outcome(number) for number in (0, 1, 2)] == [Outcome(0, "broken"), Outcome(1, "missing"), None]
    last.close(finished=False)
