"""A validation that a kill or a signal came before is made up for."""

import pytorch_lightning as pl

from besnet.training.metrics_table import MetricsTable


class PendingValidation(pl.Callback):
    """Checks the network at the start of a resumed run, if the epoch that has just ended was not checked.

    A checkpoint of an epoch's last step is written before the validation of that epoch.
    """

    def __init__(self, table: MetricsTable) -> None:
        self.table = table

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Validate on all ranks if the table lacks what is due."""
        steps, epochs = trainer.fit_loop.epoch_loop, trainer.fit_loop.epoch_progress.current
        if not steps.batch_progress.is_last_batch:
            return
        epochs.completed -= 1  # Lightning is in the next epoch already
        due = steps._should_check_val_epoch()
        done = trainer.is_global_zero and due and self.table.has_check(trainer.global_step)
        if due and not trainer.strategy.broadcast(done):
            trainer.validating = True
            steps.val_loop.run()
            trainer.training = True
        epochs.completed += 1
