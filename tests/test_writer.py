"""Two processes never write into one folder, and the one that is refused has changed nothing in it."""

import json
from pathlib import Path

import pytest

from besnet import cli
from besnet.checkpoints import lock
from besnet.checkpoints.lock import Busy, OnlyWriter, only_writer
from besnet.training.exit_codes import HUNG
from tests import command


@pytest.fixture
def no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "PATIENCE_SEC", 0.3)


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Every file below a folder: its bytes and when it was written."""
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def run(squares: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three steps that could go on."""
    run = tmp_path_factory.mktemp("locked") / "run"
    assert command.train(squares, run, "--trainer.max_epochs=9", "--trainer.max_steps=3") == 0
    return run


@pytest.mark.usefixtures("no_patience")
@pytest.mark.parametrize(
    "words", [["--trainer.max_steps=3"], ["--trainer.max_steps=5", "--accept_changes=true"], ["--recipe.lr=0.3"]]
)
def test_a_refused_training_has_written_nothing(
    squares: Path, run: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with only_writer(run, "training"):
        before = contents(run)
        assert command.train(squares, run, "--trainer.max_epochs=9", *words) == HUNG
        assert contents(run) == before
    waits, refused = [line for line in capsys.readouterr().err.splitlines() if line.startswith("besnet: ")]
    assert "another training (process " in waits
    assert "waiting up to" in waits
    assert "end it, or choose another folder with --out" in refused


@pytest.mark.usefixtures("no_patience")
def test_a_refused_evaluation_has_written_nothing(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [f"--ckpt_path={run}", f"--out={tmp_path}", "--workers=0"]
    assert cli.run("evaluate", words) == 0
    with only_writer(tmp_path, "evaluation"):
        before = contents(tmp_path)
        with pytest.raises(SystemExit, match="2"):
            cli.run("evaluate", [*words, "--num_clips=1"])
        assert contents(tmp_path) == before
    assert "another evaluation (process " in capsys.readouterr().err
    assert cli.run("evaluate", [*words, "--num_clips=1"]) == 0
    assert json.loads((tmp_path / "results.json").read_text())["views"]["num_clips"] == 1


def test_one_that_waits_goes_on_when_the_other_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = OnlyWriter(tmp_path, "training"), OnlyWriter(tmp_path, "training")
    one.take()
    monkeypatch.setattr("besnet.checkpoints.lock.time.sleep", lambda seconds: one.release())
    two.take()
    with pytest.raises(Busy):
        one.take(patience_sec=0)
    two.release()
    with only_writer(tmp_path, "training"):
        pass


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"file/run: cannot be written \(.*\): choose another folder with --out"):
        OnlyWriter(tmp_path / "file" / "run", "training").take()
