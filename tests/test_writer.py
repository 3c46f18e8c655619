"""Two trainings never write into one folder."""

import signal
from pathlib import Path

import pytest

from besnet.training.endings import HUNG, Ending
from besnet.training.writer import OnlyWriter
from tests import command


def test_a_second_training_in_a_folder_is_refused_and_the_first_is_not_disturbed(
    squares: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    first = command.start("train", *command.train_words(squares, run, "--trainer.max_epochs=500"))
    try:
        command.wait_for_step(run, 2)
        monkeypatch.setattr(OnlyWriter.take, "__defaults__", (0.5,))
        assert command.train(squares, run, "--trainer.max_epochs=500") == HUNG
        assert f"another training (process {first.pid} on " in capsys.readouterr().err
        command.wait_for_step(run, len((run / "metrics.csv").read_text().splitlines()) + 2)
        assert first.poll() is None
    finally:
        first.send_signal(signal.SIGKILL)
        first.communicate()
    assert (
        command.train(squares, run, "--trainer.max_epochs=500", "--trainer.max_steps=3", "--accept_changes=true") == 0
    )


def test_a_lock_goes_with_its_holder(tmp_path: Path) -> None:
    one, two = OnlyWriter(tmp_path), OnlyWriter(tmp_path)
    one.take()
    with pytest.raises(Ending):
        two.take(patience_sec=0.3)
    one.release()
    two.take(patience_sec=0.3)
    two.release()
