"""The progress line of a training: its speed, its figures and the time left."""

import time
from typing import Any

import pytorch_lightning as pl

from besnet.data.clips import ClipBatch
from besnet.progress import Line, clock
from besnet.training.lightning_internals import micro_batches_of_epoch, steps_between_logs
from besnet.training.task import ActionTraining


class Progress(pl.Callback):
    """Prints a progress line: epoch, step, loss, precision, learning rate, clips/s, time left.

    On a terminal the line rewrites itself; into a file it appears every `every_sec` seconds.
    """

    def __init__(self, every_sec: float = 10.0) -> None:
        self.line = Line(every_sec)
        self.shown = ""  # last, but for speed and time left
        self.started_sec = time.monotonic()
        self.clips = 0
        self.first_step = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        self.started_sec = time.monotonic()
        self.clips, self.first_step = 0, trainer.global_step

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: ClipBatch, batch_idx: int
    ) -> None:
        """Count, and print when it is time."""
        self.clips += len(batch.rows) * trainer.world_size
        now = time.monotonic()
        rate = self.clips / max(now - self.started_sec, 1e-6)
        if is_logged(trainer):
            lr = trainer.optimizers[0].param_groups[0]["lr"]
            pl_module.log_dict({"Train/clips_per_sec": rate, "Train/lr": lr}, rank_zero_only=True)
        if trainer.is_global_zero and self.line.due():
            self._print(trainer, rate, now, batch_idx)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """One line that stays for every epoch."""
        now = time.monotonic()
        if trainer.is_global_zero and self.clips:
            self._print(
                trainer, self.clips / max(now - self.started_sec, 1e-6), now, micro_batches_of_epoch(trainer) - 1
            )

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Leave the last line standing."""
        if trainer.is_global_zero:
            self.line.close()

    def _print(self, trainer: pl.Trainer, rate: float, now: float, batch_idx: int) -> None:
        total = micro_batches_of_epoch(trainer)
        task = trainer.lightning_module
        assert isinstance(task, ActionTraining)
        eta_sec = (now - self.started_sec) / max(trainer.global_step - self.first_step, 1) * task.steps_left
        figures = trainer.callback_metrics
        shown = [
            f"{name} {float(figures[key]):.{digits}f}"
            for name, key, digits in (
                ("loss", "Train/Loss", 3), ("prec@1", "Train/Prec@1", 1), ("val prec@1", "Val/Prec@1", 1),
                ("val mAP", "Val/mAP", 1),
            )
            if key in figures
        ]  # fmt: skip
        text = f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}  step {batch_idx + 1}/{total}  "
        text += "  ".join(shown) + f"  lr {trainer.optimizers[0].param_groups[0]['lr']:.2e}"
        if self.line.interactive or text != self.shown:  # the end of an epoch may say nothing new
            self.line.print(f"{text}  {rate:.1f} clips/s  {clock(eta_sec)} left")
        self.shown = text


def is_logged(trainer: pl.Trainer) -> bool:
    """Whether a step has just ended, and is one of those whose figures are written down."""
    task = trainer.lightning_module
    assert isinstance(task, ActionTraining)
    return task.step_is_made and trainer.global_step % steps_between_logs(trainer) == 0
