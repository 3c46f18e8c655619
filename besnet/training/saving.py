"""When a run saves itself: every so many steps, when asked to stop, and at its end."""

import os
import signal
import time
from pathlib import Path
from types import FrameType
from typing import Any

import pytorch_lightning as pl
import torch
import torch.distributed as dist
from lightning_fabric.plugins.io.checkpoint_io import CheckpointIO

from besnet.checkpoints import store

STOPPED = 75  # exit code of a run that saved itself because it was asked to stop: start it again to go on (EX_TEMPFAIL)
SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)


class AtomicFiles(CheckpointIO):
    """Lightning's way to the disk, through the store that never leaves half a file."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Save below the folder `path`; the step and the hash name the file."""
        store.save(checkpoint, Path(path), checkpoint["global_step"])

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """Load tensors and plain values, whatever Lightning asks for."""
        return store.load(Path(path), map_location or "cpu")

    def remove_checkpoint(self, path: Any) -> None:
        """Delete one checkpoint."""
        Path(path).unlink(missing_ok=True)


class Saving(pl.Callback):
    """Saves checkpoints at the end of optimiser steps, on all ranks at the same step.

    Args:
        every_steps: optimiser steps between checkpoints.
        every_minutes: minutes between checkpoints, by rank 0's clock; whichever comes first.
        keep: checkpoints to keep; older ones go once the newest one verifies.
    """

    def __init__(self, every_steps: int = 500, every_minutes: float = 15.0, keep: int = 2) -> None:
        if every_steps < 1 or every_minutes <= 0 or keep < 1:
            raise ValueError("saving: every_steps, every_minutes and keep must be positive")
        self.every_steps = every_steps
        self.every_minutes = every_minutes
        self.keep = keep
        self.folder = Path()
        self.last_step = -1
        self.last_time_sec = time.monotonic()
        self.signalled = 0
        self.previous: dict[signal.Signals, Any] = {}

    @property
    def stopped(self) -> bool:
        """Whether the run ended early because a signal asked for it."""
        return bool(self.signalled)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take the signals over; Lightning's own handler would talk to other ranks from inside the handler."""
        self.folder = Path(trainer.default_root_dir) / "checkpoints"
        self.last_step = trainer.global_step
        self.last_time_sec = time.monotonic()
        for number in SIGNALS:
            self.previous[number] = signal.signal(number, self._handle)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Give the signals back."""
        for number, handler in self.previous.items():
            signal.signal(number, handler)
        self.previous = {}

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.signalled and number != signal.SIGUSR1:
            os._exit(128 + number)
        self.signalled = number

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        """Save if it is time; only between optimiser steps, where no gradient is half accumulated."""
        if trainer.global_step == self.last_step:
            return
        due = time.monotonic() - self.last_time_sec > self.every_minutes * 60
        stop, save = self._agree(trainer, bool(self.signalled), due)
        if stop:
            self.signalled = self.signalled or signal.SIGTERM
            trainer.should_stop = True
        if stop or save or trainer.global_step - self.last_step >= self.every_steps:
            self.save(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save the finished network."""
        if not self.stopped and trainer.global_step != self.last_step:
            self.save(trainer)

    def save(self, trainer: pl.Trainer) -> None:
        """Write a checkpoint now; every rank must call this at the same step."""
        trainer.save_checkpoint(self.folder)
        self.last_step = trainer.global_step
        self.last_time_sec = time.monotonic()
        if trainer.is_global_zero:
            store.prune(self.folder, self.keep)

    @staticmethod
    def _agree(trainer: pl.Trainer, *wishes: bool) -> list[bool]:
        """What any rank wishes, all ranks do."""
        if trainer.world_size == 1:
            return list(wishes)
        flags = torch.tensor(wishes, dtype=torch.int32, device=trainer.strategy.root_device)
        dist.all_reduce(flags, dist.ReduceOp.MAX)
        return [bool(flag) for flag in flags.tolist()]
