"""The lab on a handful of tiny videos: what it counts, what it lists, and that a kill changes nothing."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from benchmarks import fold_differences
from besnet import cli
from besnet.checkpoints import store
from besnet.data.manifest import Manifest
from besnet.data.prepare import prepare
from besnet.lab.all_runs import batches
from besnet.lab.controls import CONTROLS, find_control
from besnet.lab.gathering import gather
from besnet.lab.outcomes import Outcomes
from besnet.lab.plan import Plan, chunk_file
from besnet.lab.queue import Job, progress_line
from besnet.lab.results import read_by_all
from besnet.models.besnet import BesNet
from tests.command import LIMIT_SEC

CONFIG = {
    "out": "unused", "compile": False,
    "model": {"dilations": [1, 2], "temporal_padding": "replicate", "block": "basic", "blocks": [1, 1], "width": 8},
    "data": {"clip": {"num_frames": 4, "frame_interval": 2}, "crop": {"flip": 0.0}, "crop_size": 32, "batch_size": 8,
             "workers": 0},
    "recipe": {"optimizer": "adamw", "lr": 0.005},
    "evaluation": {"num_clips": 2, "num_crops": 1, "pairs": [["left", "right"], ["up", "down"]]},
    # a run of a lab has one device, whatever its config was written for
    "trainer": {"accelerator": "cpu", "devices": 8, "num_nodes": 2, "strategy": "ddp", "max_epochs": 1,
                "log_every_n_steps": 1},
}  # fmt: skip


@pytest.fixture(scope="module")
def config(squares: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("config") / "tiny.yaml"
    path.write_text(yaml.safe_dump(CONFIG | {"data": CONFIG["data"] | {"folder": str(squares)}}))  # type: ignore[operator]
    return path


def words(config: Path, out: Path, controls: str, seeds: int = 2) -> list[str]:
    """The arguments of a quick lab."""
    return [f"--config={config}", f"--out={out}", f"--controls={controls}", f"--seeds={seeds}", "--max_parallel=2",
            "--frame_interval_scales=[1,2]", "--recalibration_videos=16"]  # fmt: skip


def figures(out: Path) -> dict[str, Any]:
    """results.json without what belongs to time, place and host."""
    found: dict[str, Any] = json.loads((out / "results.json").read_text())
    del found["run"]
    return found


@pytest.fixture(scope="module")
def small(config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lab of a control that works and one that always fails, two seeds each."""
    out = tmp_path_factory.mktemp("lab") / "small"
    assert cli.run("lab", words(config, out, '[none,random_12,"broken: --recipe.lr=-1"]')) == 1
    return out


def test_a_lab_trains_evaluates_and_compares(small: Path) -> None:
    found = figures(small)
    none, random, _ = found["controls"]
    assert none["seeds"] == random["seeds"] == [0, 1]
    assert none["top1"]["mean"] == pytest.approx(np.mean(none["top1"]["by_seed"]))
    assert none["variants"]["dilation_1"]["same_as_averaged"]
    assert none["variants"]["padding_replicate"]["same_as_averaged"]
    assert not random["variants"]["dilation_1"]["same_as_averaged"]
    assert random["variants"]["interval_1"]["difference_to_averaged"]["mean"] == 0
    assert {"recalibrated", "dilation_2", "padding_zeros", "padding_zeros_recalibrated", "interval_2"} <= set(
        random["variants"]
    )
    (difference,) = found["differences"]
    assert difference["mean"] == pytest.approx(random["top1"]["mean"] - none["top1"]["mean"])
    assert (difference["name"], difference["role"]) == ("random_12 - none", "other")
    assert difference["verdict"] is None
    counts = {"expected": 9, "evaluated": 9, "undecodable": [], "looped": {"1": 0.0, "2": 0.0}, "trained_on": 0}
    assert found["coverage"] == counts
    assert random["all_pairs"]["videos"] == 9


def test_every_run_has_one_device(small: Path) -> None:
    assert store.load(small / "runs" / "random_12-1")["besnet"]["config"]["world_size"] == 1


def test_parameters_are_what_is_learned(small: Path) -> None:
    network = BesNet(4, dilations=(1, 2), block="basic", blocks=(1, 1), width=8)
    assert figures(small)["controls"][1]["parameters"] == sum(weight.numel() for weight in network.parameters())


def test_its_figures_are_those_of_evaluate(small: Path, tmp_path: Path) -> None:
    for name, more in {"averaged": [], "dilation_2": ["--dilations=[2]"]}.items():
        out = tmp_path / name
        cli.run("evaluate", [f"--ckpt_path={small / 'runs' / 'random_12-1'}", f"--out={out}", "--workers=0", *more])
        results = json.loads((out / "results.json").read_text())
        by_hand = results["accuracy"]["over_evaluated"]["top1"]
        (place,) = (small / "evaluation").glob("random_12-1-*")
        (chunk,) = place.glob("chunk_*.npz")
        stored, said = np.load(chunk), np.load(out / "predictions.npz")
        np.testing.assert_allclose(stored[name], said["probabilities"].mean(axis=1), atol=1e-5)
        assert (stored[name].argmax(1) == said["labels"]).mean() == pytest.approx(by_hand)


def test_a_video_that_one_network_could_not_see_counts_for_none(small: Path, squares: Path, tmp_path: Path) -> None:
    root = tmp_path / "evaluation"
    shutil.copytree(small / "evaluation", root)
    plan, manifest = Plan.read(root / "plan.json"), Manifest.load(squares)
    rows = plan.rows(manifest)
    labels = manifest.labels[rows]

    def gathered() -> dict[str, Outcomes]:
        return {
            one.run: gather(plan, plan.place(root, one), store.read(Path(one.file)).content, rows, labels, [(0, 1)])
            for one in plan.checkpoints
        }

    whole = gathered()
    for checkpoint, lost in zip(plan.checkpoints, (2, None, 5, 5), strict=True):
        if lost is not None:
            file = chunk_file(plan.place(root, checkpoint), 0)
            arrays = dict(np.load(file))
            kept = np.arange(9) != lost
            arrays["why"] = np.where(kept, "", "torn")
            arrays |= {name: arrays[name][kept] for name in arrays if name not in ("rows", "why", "factors")}
            np.savez(file, **arrays)
    answers, videos = read_by_all(gathered(), manifest, rows, manifest.classes)
    both = np.isin(np.arange(9), [2, 5], invert=True)
    assert videos.labels.tolist() == labels[both].tolist()
    assert [entry["why"] for entry in videos.unread] == ["torn", "torn"]
    for run, answer in answers.items():
        for use, right in answer.right.items():
            assert np.array_equal(right, whole[run].right[use][both])


def test_what_is_trained_is_kept_before_more_is_trained() -> None:
    """Two groups of three jobs are to do, of which one was stopped half way; four are to run together."""
    groups = [[Job(f"{name}{number}", []) for number in range(3)] for name in "abc"]
    assert [len(some) for some in batches(groups, 4, ())] == [6, 3]
    for job in [*groups[0], groups[1][0]]:
        job.code = 0
    kept = {job.name for job in groups[0]}
    assert [job.name for job in next(batches(groups, 4, kept))][3:] == ["b0", "b1", "b2"]
    assert [len(some) for some in batches(groups, 4, {*kept, "b0"})] == [9]


def test_the_rate_of_a_lab_counts_only_what_was_done_since_it_was_resumed() -> None:
    """Of four runs one had ended, one was half done and one trained; in an hour, the half and a quarter were done."""
    ended, half, trained, begun = (Job(name, [], lambda share=share: share) for name, share in  # type: ignore[misc]
                                   (("ended", 1.0), ("half", 1.0), ("trained", 1.0), ("begun", 0.25)))  # fmt: skip
    ended.code = half.code = trained.code = 0
    line = progress_line([ended, half, trained, begun], [], {"half": 0.5, "trained": 1.0, "begun": 0.0}, 3600, "runs")
    assert line.startswith("3/4 runs, 0 running")
    assert line.endswith("0.8 runs/h  1:00:00 left")


def test_a_lab_goes_on_without_its_weights(
    small: Path, config: Path, squares: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """On a machine that has what was kept alone: the same figures, and a new seed is trained and evaluated beside, of
    the control of the primary comparison alone."""
    there = tmp_path / "there"
    there.mkdir()
    assert str(squares.parent) not in (small / "outcomes.jsonl").read_text(), "it names no folder of this machine"
    for name in ("config.yaml", "outcomes.jsonl"):
        shutil.copy(small / name, there)
    assert cli.run("lab", words(config, there, "[none,random_12]")) == 0
    assert not (there / "runs").exists()
    assert figures(there)["controls"] == figures(small)["controls"][:2]
    assert "4 of 4 runs were already finished" in capfd.readouterr().out
    primary = ["--primary=[random_12,random_12@dilation_1]", "--primary_seeds=3"]
    assert cli.run("lab", [*words(config, there, "[none,random_12]"), *primary]) == 0
    assert [path.name for path in (there / "runs").iterdir()] == ["random_12-2"]
    found = figures(there)
    assert found["controls"][0] == figures(small)["controls"][0]
    more = found["controls"][1]["top1"]["by_seed"]
    assert more[:2] == figures(small)["controls"][1]["top1"]["by_seed"]
    assert [(one["role"], one["seeds"]) for one in found["differences"]] == [("primary", [0, 1, 2]), ("other", [0, 1])]
    assert "none: 2 seeds; random_12: 3 seeds" in (there / "report.html").read_text()
    with pytest.raises(SystemExit):
        cli.run("lab", [*words(config, there, "[none,random_12]"), "--num_clips=1"])
    said = capfd.readouterr().err
    assert "none-0 was evaluated with other settings or videos, and its checkpoint is not here" in said
    shutil.copytree(small / "runs", tmp_path / "back" / "runs")
    for name in ("config.yaml", "outcomes.jsonl", "attempts.jsonl"):
        shutil.copy(small / name, tmp_path / "back")
    assert cli.run("lab", [*words(config, tmp_path / "back", "[none,random_12]"), "--num_clips=1"]) == 0
    back = tmp_path / "back"
    assert figures(back)["plan"]["num_clips"] == 1
    before = [path.name for path in sorted((small / "runs").glob("*/checkpoints/*"))]
    assert [path.name for path in sorted((back / "runs").glob("*/checkpoints/*"))] == before


def test_a_failed_run_is_listed_and_its_seeds_are_missing(small: Path) -> None:
    found = figures(small)
    failed = [run for run in found["runs"] if run["state"] == "failed"]
    assert [run["run"] for run in failed] == ["broken-0", "broken-1"]
    assert failed[0]["code"] == 2
    assert "recipe.lr must be above 0" in failed[0]["why"]
    assert found["controls"][2]["seeds"] == []
    page = (small / "report.html").read_text()
    assert "Failed runs" in page
    assert "recipe.lr must be above 0" in page
    assert "0 of 2 (missing: 0, 1)" in page
    assert "4 of 6" in page


def test_a_finished_run_is_not_repeated(small: Path, config: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (small / "runs").glob("*/checkpoints/*")}
    report = (small / "results.json").read_text()
    wanted = figures(small)
    assert len(before) == 4
    assert cli.run("lab", words(config, small, "[none,random_12]")) == 0
    assert {path: path.stat().st_mtime_ns for path in (small / "runs").glob("*/checkpoints/*")} == before
    again = figures(small)
    assert again["controls"] == wanted["controls"][:2]
    # of two controls, the one comparison is the primary one
    (now,), (before_,) = again["differences"], wanted["differences"]
    assert (now.pop("role"), before_.pop("role")) == ("primary", "other")
    assert now == before_
    (small / "results.json").write_text(report)


@pytest.mark.slow
def test_frames_and_a_learned_mixture_are_controls(config: Path, tmp_path: Path) -> None:
    assert cli.run("lab", words(config, tmp_path, "[frames,learned_1234]", seeds=1)) == 0
    frames, learned = figures(tmp_path)["controls"]
    assert "single frames of this data" in frames["what"]
    assert set(frames["variants"]) == {"averaged", "interval_1", "interval_2"}
    single, frozen = (store.load(tmp_path / "runs" / name) for name in ("frames-0-single_frames", "frames-0"))
    filters = [name for name in single["state_dict"] if "layer" in name]
    assert all((single["state_dict"][name] == frozen["state_dict"][name]).all() for name in filters)
    weights = store.load(tmp_path / "runs" / "learned_1234-0")["state_dict"]
    mixtures = [value for name, value in weights.items() if name.endswith("mixture_logits")]
    assert len(mixtures) == 2
    assert all(value.abs().max() > 0 for value in mixtures), "it has learned"
    assert {f"dilation_{d}" for d in (1, 2, 3, 4)} <= set(learned["variants"])


def test_another_config_is_refused(
    small: Path, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "tiny.yaml"
    other.write_text(config.read_text() + "# changed\n")
    with pytest.raises(SystemExit):
        cli.run("lab", words(other, small, "[none]"))
    assert "started with another tiny.yaml" in capsys.readouterr().err


def test_controls_are_named_or_described() -> None:
    assert find_control("fixed_2") is CONTROLS["fixed_2"]
    assert find_control("wide: --model.width=32 --model.dilations=[1,3]").words == (
        "--model.width=32", "--model.dilations=[1,3]",
    )  # fmt: skip
    with pytest.raises(ValueError, match="unknown control 'fixed'"):
        find_control("fixed")


@pytest.fixture(scope="module")
def second(squares: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A second fold: five of the training videos are for testing, and those for testing are for training."""
    folder = tmp_path_factory.mktemp("folds")
    with open(squares.parent / "index.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    tested = [row["path"] for row in rows if row["split"] == "train"][::5]
    lines = [f"{row['label']},{row['path']},{'test' if row['path'] in tested else 'train'}\n" for row in rows]
    (folder / "index.csv").write_text("label,path,split\n" + "".join(lines))
    prepare(folder / "index.csv", folder / "second", videos=squares.parent, copy=True, workers=1)
    return folder / "second"


def test_a_killed_lab_on_folds_ends_with_the_figures_of_an_undisturbed_one(
    small: Path, squares: Path, second: Path, config: Path, tmp_path: Path
) -> None:
    """Its figures are of the test videos of both folds; the first fold is the data of the undisturbed lab."""
    out = tmp_path / "killed"
    arguments = [*words(config, out, "[random_12]", seeds=1), f"--folds=[{squares},{second}]"]
    for file in (f"runs/{squares.name}/random_12-0/metrics.csv", f"evaluation/{squares.name}/plan.json"):
        process = subprocess.Popen(
            [sys.executable, "-m", "besnet", "lab", *arguments], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        deadline_sec = time.monotonic() + LIMIT_SEC
        while not (out / file).exists():
            assert time.monotonic() < deadline_sec
            assert process.poll() is None
            time.sleep(0.05)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert cli.run("lab", arguments) == 0
    found = figures(out)
    folders = (small / "evaluation", out / "evaluation" / squares.name)
    (undisturbed,), (killed,) = (folder.glob("random_12-0-*/chunk_*.npz") for folder in folders)
    before, after = np.load(undisturbed), np.load(killed)
    assert sorted(before) == sorted(after)
    for name in before:
        np.testing.assert_array_equal(after[name], before[name])
    shares = []
    for run in sorted((out / "runs").glob("*/random_12-0")):
        cli.run("evaluate", [f"--ckpt_path={run}", f"--out={tmp_path / run.parent.name}", "--workers=0"])
        results = json.loads((tmp_path / run.parent.name / "results.json").read_text())
        shares.append(results["accuracy"]["over_evaluated"]["top1"])
    (control,) = found["controls"]
    assert control["top1"]["mean"] == pytest.approx((9 * shares[0] + 5 * shares[1]) / 14)
    assert control["top1"]["groups"] == found["coverage"]["expected"] == found["coverage"]["evaluated"] == 14
    assert [run["run"] for run in found["runs"]] == [f"{fold.name}/random_12-0" for fold in (squares, second)]

    primary = ["random_12", "random_12@dilation_1"]
    plan = {"config": str(config), "out": str(out), "folds": [str(squares), str(second)], "controls": ["random_12"],
            "seeds": 1, "frame_interval_scales": [1, 2], "primary": primary}  # fmt: skip
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(plan))
    tested = Manifest.load(second)
    (tmp_path / "without.csv").write_text("path,split\n" + "".join(
        f"{tested[int(row)].id},val\n" for row in tested.select("test")))  # fmt: skip
    asked = [
        f"--plan={tmp_path / 'plan.yaml'}",
        f"--without={tmp_path / 'without.csv'}",
        f"--out={tmp_path / 'by.json'}",
    ]
    fold_differences.main(asked)
    by = json.loads((tmp_path / "by.json").read_text())
    variants = control["variants"]
    assert by["all"]["mean"] == pytest.approx(variants["averaged"]["mean"] - variants["dilation_1"]["mean"])
    assert by["all"]["mean"] == pytest.approx((9 * by[squares.name]["mean"] + 5 * by[second.name]["mean"]) / 14)
    assert by["without"] == by[squares.name]
    assert by["left_out"] == 5
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(plan | {"seeds": 2}))
    with pytest.raises(SystemExit, match="/random_12-1 is to do"):
        fold_differences.main(asked)


def test_folds_that_share_a_test_video_are_refused(
    squares: Path, second: Path, config: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    copied = tmp_path / "again"
    shutil.copytree(second, copied)
    with pytest.raises(SystemExit):
        cli.run("lab", [*words(config, tmp_path / "out", "[none]"), f"--folds=[{second},{copied}]"])
    assert f"is in the split test of {second} and of {copied}" in capfd.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_lab_in_parts_has_the_figures_of_one_machine(
    config: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A training, an evaluation and the page, each by a call of its own."""
    one, parts = tmp_path / "one", tmp_path / "parts"
    asked = [word for word in words(config, one, "[random_12]", seeds=1) if not word.startswith("--out")]
    assert cli.run("lab", [f"--out={one}", *asked]) == 0
    for part in ("train:0/1", "evaluate:0/1"):
        assert cli.run("lab", [f"--out={parts}", *asked, f"--part={part}"]) == 0
    with pytest.raises(SystemExit):
        cli.run("lab", [f"--out={parts}", *asked, "--part=train:0/3"])
    assert "this lab has 1 runs" in capfd.readouterr().err
    assert not (parts / "results.json").exists()
    predicted = {path: path.stat().st_mtime_ns for path in (parts / "evaluation").rglob("*.npz")}
    assert cli.run("lab", [f"--out={parts}", *asked]) == 0
    assert "1 of 1 runs were already finished" in capfd.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in (parts / "evaluation").rglob("*.npz")} == predicted
    assert figures(parts) == figures(one)
