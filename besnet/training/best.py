"""Which validation of a run is the best, and when there has been no better one for too long.

Both are functions of the validations so far, which every checkpoint holds: a resumed run decides as an undisturbed one.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import pytorch_lightning as pl

from besnet.checkpoints.best import arrange
from besnet.checkpoints.header import Validation
from besnet.training.saving import Saving
from besnet.training.task import ActionTraining
from besnet.training.validation_metrics import LOSS, figures_of


def ranked(validations: Sequence[Validation], metric: str) -> list[int]:
    """The steps of the validations, the best first; ties go to the lower loss, then to the later step.

    A validation whose figure is not a number is not among them.
    """

    def order(one: Validation) -> tuple[float, float, int]:
        loss = one["figures"].get(LOSS)
        return gain(one, metric), float("-inf") if loss is None else -loss, one["step"]

    comparable = [one for one in validations if one["figures"].get(metric) is not None]
    return [one["step"] for one in sorted(comparable, key=order, reverse=True)]


def gain(validation: Validation, metric: str) -> float:
    """A validation's figure so that more is better, a loss with its sign changed; -inf if it is not a number."""
    figure = validation["figures"].get(metric)
    return float("-inf") if figure is None else -figure if metric == LOSS else figure


def without_gain(validations: Sequence[Validation], metric: str) -> int:
    """How many validations there have been since the last that was better than all before; equal is not better."""
    most, since = float("-inf"), 0
    for one in validations:
        since += 1
        if gain(one, metric) > most:
            most, since = gain(one, metric), 0
    return since


class Best(pl.Callback):
    """Keeps the best checkpoints and ends a training that gets no better, as `saving` says. After each validation:
    first the decision, then the checkpoint that knows of it, then the folders `best`, `best_2` ..."""

    def __init__(self, saving: Saving) -> None:
        self.saving = saving

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Make up for what a kill has prevented."""
        assert isinstance(pl_module, ActionTraining)
        self.arrange(trainer, pl_module)
        self.end(trainer, pl_module)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save the network if it is one of the best."""
        assert isinstance(pl_module, ActionTraining)
        chosen = ranked(pl_module.validations, metric_of(self.saving, pl_module))
        if trainer.global_step in chosen[: self.saving.keep_best]:
            self.saving.save(trainer)
        self.arrange(trainer, pl_module)
        self.end(trainer, pl_module)

    def arrange(self, trainer: pl.Trainer, task: ActionTraining) -> None:
        """Bring the folders of the best checkpoints up to date."""
        if not self.saving.keep_best or not trainer.is_global_zero:
            return
        run = Path(trainer.default_root_dir)
        for step in arrange(run, ranked(task.validations, metric_of(self.saving, task)), self.saving.keep_best):
            print(
                f"besnet: {run}: the checkpoint of step {step}, one of the best, is lost", file=sys.stderr, flush=True
            )

    def end(self, trainer: pl.Trainer, task: ActionTraining) -> None:
        """Stop if patience is at its end."""
        if patience_is_over(self.saving, task):
            trainer.should_stop = True


def metric_of(saving: Saving, task: ActionTraining) -> str:
    """The figure that validations are compared by."""
    return saving.metric or figures_of(task.multi_label)[0]


def patience_is_over(saving: Saving, task: ActionTraining) -> bool:
    """Whether there have been too many validations without a better one."""
    since = without_gain(task.validations, metric_of(saving, task))
    return saving.patience is not None and since >= saving.patience
