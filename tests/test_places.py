"""Names from files stay names, and data is what its passport says, wherever it lies."""

import json
import os
import shutil
from pathlib import Path

import pytest

from besnet import cli
from besnet.checkpoints import store
from besnet.data.manifest import Manifest
from besnet.data.prepare import prepare
from besnet.lab.controls import CONTROLS
from besnet.lab.runs import training
from tests import command, moving_squares, untrained


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small data set that may be moved."""
    return moving_squares.make(tmp_path_factory.mktemp("mine"), train=8, test=2)


def moved(data: Path, to: Path) -> Path:
    shutil.copytree(data, to)
    return to


def renamed(data: Path, to: Path, name: str) -> Path:
    """A copy whose dataset.json gives it another name."""
    about = json.loads((moved(data, to) / "dataset.json").read_text())
    (to / "dataset.json").write_text(json.dumps(about | {"name": name}))
    return to


@pytest.mark.parametrize("name", ["../../../out", "/etc/x", "..", "a/b", ".hidden", "x" * 400, "a\x1b[2J", "nul\0"])
def test_a_name_does_not_decide_where_an_evaluation_writes(name: str, data: Path, tmp_path: Path) -> None:
    evil = renamed(data, tmp_path / "data", name)
    run = tmp_path / "deep" / "run"
    untrained.checkpoint(run / "checkpoints", Manifest.load(data).classes)
    before = {path for path in tmp_path.rglob("*") if run not in path.parents}
    assert cli.run("evaluate", [f"--ckpt_path={run}", f"--data={evil}", "--workers=0", "--num_clips=1"]) == 0
    assert {path for path in tmp_path.rglob("*") if run not in path.parents} == before
    (folder,) = (run / "evaluations").iterdir()
    assert (folder / "results.json").is_file()


def test_data_sets_of_like_names_do_not_share_a_folder(data: Path, tmp_path: Path) -> None:
    untrained.checkpoint(tmp_path / "run" / "checkpoints", Manifest.load(data).classes)
    for number, name in enumerate(("a b", "a/b", "a_b")):
        words = [f"--ckpt_path={tmp_path / 'run'}", f"--data={renamed(data, tmp_path / str(number), name)}"]
        assert cli.run("evaluate", [*words, "--workers=0", "--num_clips=1"]) == 0
    assert len(list((tmp_path / "run" / "evaluations").iterdir())) == 3


def test_an_evaluation_deletes_nothing_of_others(data: Path, tmp_path: Path) -> None:
    path = untrained.checkpoint(tmp_path, Manifest.load(data).classes)
    (tmp_path / "out" / "parts").mkdir(parents=True)
    (tmp_path / "out" / "parts" / "my_thesis.tex").write_text("mine")
    words = [f"--ckpt_path={path}", f"--data={data}", "--workers=0", "--num_clips=1", f"--out={tmp_path / 'out'}"]
    assert cli.run("evaluate", words) == 0
    assert (tmp_path / "out" / "parts" / "my_thesis.tex").read_text() == "mine"


@pytest.mark.parametrize("name", ["../../x", "a\nb", "\x1b[2J", " ", "x" * 200])
def test_prepare_takes_no_such_name(name: str, data: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--name"):
        prepare(data.parent / "index.csv", tmp_path / "out", name=name, index_only=True)
    assert not (tmp_path / "out").exists()


def test_a_run_goes_on_from_anywhere_and_with_data_that_was_moved(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(data.parent)
    run, short = tmp_path / "run", ["--saving.every_steps=1", "--saving.keep=9"]
    assert command.train(Path("prepared"), run, *short) == 0
    config = store.load(run)["besnet"]["config"]
    assert config["data"]["folder"] == str(data.resolve())
    elsewhere = moved(data, tmp_path / "elsewhere")
    monkeypatch.chdir(tmp_path)
    for folder in (data, Path(os.path.relpath(data)), elsewhere):
        store.by_age(run / "checkpoints")[0].unlink()
        assert command.train(folder, run, *short) == 0
        assert "accepted" not in capsys.readouterr().out
    others = moving_squares.make(tmp_path / "others", train=8, test=3)
    with pytest.raises(SystemExit):
        command.train(others, run, *short)
    assert "passport.source" in capsys.readouterr().err


def test_recalibration_measures_the_data_that_is_evaluated(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The data that the network was trained on is not there any more."""
    path = untrained.checkpoint(tmp_path, Manifest.load(data).classes)
    words = [f"--ckpt_path={path}", f"--data={data}", "--workers=0", "--num_clips=1", "--recalibrate=8"]
    assert cli.run("evaluate", [*words, f"--out={tmp_path / 'out'}"]) == 0
    assert "BatchNorm statistics of 8 training videos" in capsys.readouterr().out


def test_a_lab_trains_with_the_config_that_it_kept(tmp_path: Path) -> None:
    """Hours later the user's file may hold something else."""
    job = training(CONTROLS["none"], 0, tmp_path, tmp_path / "config.yaml", {})
    assert f"--config={tmp_path / 'config.yaml'}" in job.commands[0]
