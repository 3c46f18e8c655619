"""Runs the validation of an epoch that a kill or a signal prevented."""

import pytorch_lightning as pl

from besnet.training.lightning_internals import validate_now, validation_is_due_at_start
from besnet.training.metrics_table import MetricsTable
from besnet.training.task import ActionTraining


class PendingValidation(pl.Callback):
    """Validates at the start of a resumed run if the epoch that ended before was not validated.

    The checkpoint of an epoch's last step is written before that epoch's validation. Where the table has the figures,
    they are taken from there.
    """

    def __init__(self, table: MetricsTable) -> None:
        self.table = table

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Validate on all ranks if the table lacks the validation."""
        assert isinstance(pl_module, ActionTraining)
        if not validation_is_due_at_start(trainer):
            return
        figures = self.table.validation(trainer.global_step) if trainer.is_global_zero else {}
        figures = trainer.strategy.broadcast(figures)
        if figures:
            pl_module.remember(figures)
        else:
            validate_now(trainer)
