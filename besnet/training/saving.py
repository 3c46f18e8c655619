"""When a run saves a checkpoint: every so many steps or minutes, after a stop signal, and at its end."""

import os
import signal
import time
from pathlib import Path
from types import FrameType
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.io.checkpoint_io import CheckpointIO

from besnet.checkpoints import store
from besnet.ranges import check_section
from besnet.training.exit_codes import NOT_FINITE, RunExit
from besnet.training.lightning_internals import skip_validation
from besnet.training.precise_bn import measure_statistics
from besnet.training.rank_consensus import RankConsensus
from besnet.training.step_timer import StepTimer
from besnet.training.task import ActionTraining

SAME_SEC = 1.0  # a scheduler and torchrun may both pass on the same signal: it counts once
SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)


class AtomicFiles(CheckpointIO):
    """Lightning's file access, through the store that never leaves half a file."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Save below the folder `path`; the step and the hash name the file."""
        store.save(checkpoint, Path(path), checkpoint["global_step"])

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """Load tensors and plain values, whatever Lightning requests."""
        return store.load(Path(path), map_location or "cpu")

    def remove_checkpoint(self, path: Any) -> None:
        """Delete one checkpoint."""
        Path(path).unlink(missing_ok=True)


class Saving(pl.Callback):
    """Saves checkpoints at the end of optimiser steps, on all ranks at the same step.

    Args:
        every_steps: optimiser steps between checkpoints.
        every_minutes: minutes between checkpoints; the first of the two bounds counts.
        keep: checkpoints to keep; older ones are deleted once the newest one verifies.
        keep_best: checkpoints to keep besides, in the folders best, best_2 and so on of the run: those after the
            validations with the best metric.
        metric: the figure of the validations, as metrics.csv names it; null for Val/Prec@1, or Val/mAP where videos
            have several labels. Of equal ones the lower loss is better, then the later step.
        patience: validations without a better metric after which the training ends; null for no such end.
        watchdog_minutes: minutes without progress after which each rank prints its stack and the run ends with exit
            code 69. Must exceed the slowest save; at least half an hour until the first step is made.
    """

    def __init__(
        self,
        every_steps: int = 500,
        every_minutes: float = 15.0,
        keep: int = 2,
        watchdog_minutes: float = 30.0,
        keep_best: int = 0,
        metric: str | None = None,
        patience: int | None = None,
    ) -> None:
        self.every_steps = every_steps
        self.every_minutes = every_minutes
        self.keep = keep
        self.watchdog_minutes = watchdog_minutes
        self.keep_best = keep_best
        self.metric = metric
        self.patience = patience
        check_section("saving", vars(self))
        self.agreement = RankConsensus(1, torch.device("cpu"))
        self.phases = StepTimer()
        self.folder = Path()
        self.last_step = -1
        self.last_time_sec = time.monotonic()
        self.stopped = False
        self.signalled = 0
        self.signalled_sec = 0.0
        self.previous: dict[signal.Signals, Any] = {}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Install the signal handlers; Lightning's own would communicate with other ranks from inside the handler."""
        self.folder = Path(trainer.default_root_dir) / "checkpoints"
        self.last_step = trainer.global_step
        self.last_time_sec = time.monotonic()
        self.agreement = RankConsensus(trainer.world_size, trainer.strategy.root_device)
        for number in SIGNALS:
            self.previous[number] = signal.signal(number, self._handle)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Restore the signal handlers."""
        for number, handler in self.previous.items():
            signal.signal(number, handler)
        self.previous = {}

    def _handle(self, number: int, frame: FrameType | None) -> None:
        now_sec = time.monotonic()
        if self.signalled and number != signal.SIGUSR1 and now_sec - self.signalled_sec > SAME_SEC:
            os._exit(128 + number)
        if not self.signalled:
            self.signalled, self.signalled_sec = number, now_sec

    def on_before_optimizer_step(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        """Send the other ranks what this one wants to do after this step."""
        due = time.monotonic() - self.last_time_sec > self.every_minutes * 60
        assert isinstance(pl_module, ActionTraining)
        with self.phases.during("agreeing"):
            self.agreement.start([bool(self.signalled), due], pl_module.seen_losses.bad)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        """Save if it is due; only between optimiser steps, where no gradient is half accumulated.

        RunExit if a loss was not finite, on any rank.
        """
        assert isinstance(pl_module, ActionTraining)
        with self.phases.during("agreeing"):
            stop, save, bad = self.agreement.answer() or (False, False, -1)
        if bad >= 0:
            raise pl_module.seen_losses.run_exit(pl_module.data.manifest)
        if trainer.global_step == self.last_step:
            return
        if not pl_module.steps_left:
            # before any save: the checkpoint of the last step is that of the finished network
            measure_statistics(pl_module, self.phases)
            return  # nor before its validation, which a resume of a finished run would leave out: see on_train_end
        if stop:
            self.stopped = trainer.should_stop = True
            skip_validation(trainer)
        # the same request may have been sent again before the save that it led to
        save = save and trainer.global_step - self.last_step > 1
        if stop or save or trainer.global_step - self.last_step >= self.every_steps:
            self.save(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save the finished network."""
        if trainer.global_step != self.last_step:
            self.save(trainer)

    def save(self, trainer: pl.Trainer) -> None:
        """Write a checkpoint now; every rank must call this at the same step.

        RunExit if the weights, or a loss since the last check, are not finite: the last valid checkpoint is kept.
        """
        task = trainer.lightning_module
        assert isinstance(task, ActionTraining)
        bad, broken = self.agreement.largest(task.seen_losses.bad, not_finite(task.network, trainer.optimizers[0]))
        if bad >= 0:
            raise task.seen_losses.run_exit(task.data.manifest)
        if broken:
            raise RunExit(
                NOT_FINITE,
                f"weights or moments are not finite after step {trainer.global_step} (learning rate "
                f"{trainer.optimizers[0].param_groups[0]['lr']:.3g}) and were not saved; the last checkpoint is "
                "kept: lower recipe.lr, or set trainer.gradient_clip_val",
            )
        before = set(store.by_age(self.folder)) if trainer.is_global_zero else set()
        trainer.save_checkpoint(self.folder)
        if trainer.is_global_zero:
            self.replace(before, trainer.global_step)
        self.last_step = trainer.global_step
        self.last_time_sec = time.monotonic()
        if trainer.is_global_zero:
            store.prune(self.folder, self.keep)

    def replace(self, before: set[Path], step: int) -> None:
        """Delete an earlier checkpoint of the step that has been saved again, after its validation."""
        if not before.issuperset(store.by_age(self.folder)):
            for path in before:
                if store.step_of(path) == step:
                    store.remove(path)


def not_finite(network: torch.nn.Module, optimizer: torch.optim.Optimizer) -> torch.Tensor:
    """How many tensors of a network and its optimiser hold a number that is not finite; int64, on their device."""
    tensors = [*network.state_dict().values()]
    tensors += [value for state in optimizer.state.values() for value in state.values() if torch.is_tensor(value)]
    device = tensors[0].device
    broken = [~value.isfinite().all() for value in tensors if value.is_floating_point()]
    return torch.stack([flag.to(device) for flag in broken]).sum()
