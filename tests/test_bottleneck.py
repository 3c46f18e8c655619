"""The verdict names what bounds a run, and a run that waits for data is found out."""

import time
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from besnet.data.clips import TrainingClips
from besnet.training.bottleneck import sentence, share
from besnet.training.step_timer import STEP, StepTimer
from tests import command


def shares(**parts: float) -> dict[str, float]:
    rest = dict.fromkeys((*STEP, "all-reduce"), 0.0)
    return rest | {name.replace("_", " ").replace("all reduce", "all-reduce"): part for name, part in parts.items()}


@pytest.mark.parametrize(
    ("parts", "spare", "encoded", "words"),
    [
        ({"waiting_for_data": 0.6, "forward": 0.4}, 8, False,
         "bottleneck: decoding: re-encode the videos with besnet prepare or --data.workers=10: waiting for data 60 %"),
        ({"waiting_for_data": 0.6, "forward": 0.4}, 1, True,
         "decoding: use 6 more cores and workers per rank (this machine has 1 free): waiting for data 60 %"),
        ({"copy": 0.3, "forward": 0.7}, 8, True, "bottleneck: copying to the GPU"),
        ({"all_reduce": 0.5, "forward": 0.5}, 8, True, "bottleneck: the network between ranks"),
        ({"agreeing": 0.4, "forward": 0.6}, 8, True, "bottleneck: the slowest rank"),
        ({"forward": 0.3, "backward": 0.6, "waiting_for_data": 0.1}, 8, True, "computing: waiting for data 10 %"),
    ],
)  # fmt: skip
def test_the_sentence(parts: dict[str, float], spare: int, encoded: bool, words: str) -> None:
    assert words in sentence(shares(**parts), 4, spare, encoded)


def test_shares_sum_to_one() -> None:
    assert share({"a": 3.0, "b": 1.0}) == {"a": 0.75, "b": 0.25}


def test_time_belongs_to_the_innermost_phase() -> None:
    phases = StepTimer()
    phases.start("[LightningModule]ActionTraining.optimizer_step")
    phases.start("[Strategy]DDPStrategy.training_step")
    time.sleep(0.02)
    phases.stop("[Strategy]DDPStrategy.training_step")
    assert phases.now[0] == "optimiser"
    phases.start("[Callback]Saving.on_train_batch_end")
    assert phases.now[0] == "optimiser", "other names change nothing"
    phases.stop("[Callback]Saving.on_train_batch_end")
    phases.stop("[LightningModule]ActionTraining.optimizer_step")
    assert phases.now[0] == "other"
    assert phases.seconds["forward"] >= 0.02
    assert phases.seconds["optimiser"] < 0.02


def test_a_run_that_waits_for_its_data_says_so(
    squares: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    read = TrainingClips.__getitem__

    def slow(self: TrainingClips, key: Any) -> Any:
        time.sleep(0.05)
        return read(self, key)

    monkeypatch.setattr(TrainingClips, "__getitem__", slow)
    command.train(squares, tmp_path, "--trainer.max_epochs=5")
    assert "bottleneck: decoding: " in capsys.readouterr().out
    written = EventAccumulator(str(tmp_path / "tensorboard"))
    written.Reload()
    waiting = [event.value for event in written.Scalars("Time/waiting for data")]
    assert len(waiting) == 25
    assert sorted(waiting)[12] > 0.5
    assert {f"Time/{name}" for name in STEP} <= set(written.Tags()["scalars"])
