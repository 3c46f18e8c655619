"""How long one step of a training takes here: a few steps of the training itself, read from its logs."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

STEPS = 10
FIRST = 2  # which are slower: the workers start

Train = Callable[[list[str]], int]
# for a training that has no validation: nothing chooses a checkpoint, or ends it
UNVALIDATED = ("--data.val_videos=0", "--saving.keep_best=0", "--saving.patience=null")


def seconds_per_step(config: Path, folder: Path, train: Train) -> float:
    """Median of a few steps, seconds. ValueError if they fail."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    shutil.rmtree(folder, ignore_errors=True)
    short = [f"--trainer.max_steps={STEPS}", f"--trainer.max_epochs={STEPS}", "--trainer.log_every_n_steps=1"]
    code = train([f"--config={config}", f"--out={folder}", *UNVALIDATED, *short])
    if code:
        raise ValueError(f"{config}: its first steps ended with exit code {code}: see trial.log beside it")
    (events,) = {file.parent for file in folder.rglob("events.out.tfevents.*")}
    read = EventAccumulator(str(events))
    read.Reload()
    times = [event.wall_time for event in read.Scalars("Train/Loss")]
    shutil.rmtree(folder)
    return float(np.median(np.diff(times)[FIRST:]))


def epochs_within(seconds: float, per_step: float, steps_per_epoch: int, most: int) -> int:
    """Epochs that fit into so many seconds; a tenth is left for validation and saving."""
    return min(most, int(0.9 * seconds / (per_step * steps_per_epoch)))
