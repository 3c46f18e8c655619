"""What a person sees of a training run: one line with its speed and the time left, and a table of figures."""

import copy
import csv
import os
import time
import warnings
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import TensorBoardLogger
from torch import nn

from besnet.data.clips import ClipBatch
from besnet.progress import Line, clock
from besnet.training.module import ActionTraining


class Progress(pl.Callback):
    """Prints a progress line: epoch, step, loss, precision, learning rate, clips/s, time left.

    On a terminal the line rewrites itself; into a file it appears every `every_sec` seconds.
    """

    def __init__(self, every_sec: float = 10.0) -> None:
        self.line = Line(every_sec)
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
                trainer, self.clips / max(now - self.started_sec, 1e-6), now, int(trainer.num_training_batches) - 1
            )

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Leave the last line standing."""
        if trainer.is_global_zero:
            self.line.close()

    def _print(self, trainer: pl.Trainer, rate: float, now: float, batch_idx: int) -> None:
        total = trainer.num_training_batches
        task = trainer.lightning_module
        assert isinstance(task, ActionTraining)
        eta_sec = (now - self.started_sec) / max(trainer.global_step - self.first_step, 1) * task.steps_left
        figures = trainer.callback_metrics
        shown = [
            f"{name} {float(figures[key]):.{digits}f}"
            for name, key, digits in (
                ("loss", "Train/Loss", 3), ("prec@1", "Train/Prec@1", 1), ("val prec@1", "Val/Prec@1", 1),
            )
            if key in figures
        ]  # fmt: skip
        self.line.print(
            f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}  step {batch_idx + 1}/{total}  "
            + "  ".join(shown)
            + f"  lr {trainer.optimizers[0].param_groups[0]['lr']:.2e}  {rate:.1f} clips/s  {clock(eta_sec)} left"
        )


class Table(pl.Callback):
    """Writes metrics.csv: the training figures of every logged step and the validation's of every epoch.

    Rows that a resume trains again are replaced, so that the table is that of an undisturbed run.
    """

    FIELDS = (
        "step",
        "epoch",
        "lr",
        "Train/Loss",
        "Train/Prec@1",
        "Train/Prec@5",
        "Val/Loss",
        "Val/Prec@1",
        "Val/Prec@5",
    )

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Drop the rows after the checkpoint that this run starts from."""
        if not trainer.is_global_zero:
            return
        rows: list[dict[str, str]] = []
        if self.path.exists():
            with open(self.path, newline="") as file:
                for row in csv.DictReader(file):
                    whole = row.keys() == set(self.FIELDS) and None not in row.values()
                    if whole and row["step"].isdigit() and int(row["step"]) <= trainer.global_step:
                        rows.append(row)
        # written aside: a kill in between would lose what earlier lives of the run have noted
        aside = self.path.with_suffix(".partial")
        with open(aside, "w", newline="") as file:
            writer = csv.DictWriter(file, self.FIELDS)
            writer.writeheader()
            writer.writerows(rows)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, self.path)

    def has_check(self, step: int) -> bool:
        """Whether the validation after this step is in the table."""
        with open(self.path, newline="") as file:
            return any(row["step"] == str(step) and row["Val/Loss"] for row in csv.DictReader(file))

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        """Add a row at every logged step."""
        if trainer.is_global_zero and is_logged(trainer):
            self._add(trainer, "Train/")

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Add a row for every check."""
        if trainer.is_global_zero and not trainer.sanity_checking:
            self._add(trainer, "Val/")

    def _add(self, trainer: pl.Trainer, prefix: str) -> None:
        figures = {key: float(value) for key, value in trainer.callback_metrics.items() if key.startswith(prefix)}
        row: dict[str, Any] = {field: figures.get(field, "") for field in self.FIELDS}
        row |= {"step": trainer.global_step, "epoch": trainer.current_epoch}
        row["lr"] = trainer.optimizers[0].param_groups[0]["lr"]
        with open(self.path, "a", newline="") as file:
            csv.DictWriter(file, self.FIELDS).writerow(row)


def draw_graph(logger: TensorBoardLogger, network: nn.Module, num_frames: int) -> None:
    """Put the network's graph into TensorBoard, traced on the CPU with one small clip."""
    network = copy.deepcopy(network).eval()
    with warnings.catch_warnings(), torch.no_grad():
        # the trace is only looked at, so branches that depend on the input's shape may be frozen in it
        warnings.simplefilter("ignore")
        logger.experiment.add_graph(network, torch.zeros(1, 3, num_frames, 64, 64))


def is_logged(trainer: pl.Trainer) -> bool:
    """Whether a step has just ended, and is one of those whose figures are written down."""
    task = trainer.lightning_module
    assert isinstance(task, ActionTraining)
    every: int = trainer.log_every_n_steps  # type: ignore[attr-defined]  # set by Lightning at run time
    return task.step_is_made and trainer.global_step % every == 0
