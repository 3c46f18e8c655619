"""Everything in besnet that depends on Lightning's private names and layouts (pytorch-lightning 2.6.6 to below 2.7).

Each function says why it is needed, and what replaces it if a release takes the private name away. The rest of
besnet.training uses Lightning's documented interface only.
"""

import math
from datetime import timedelta
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.loggers import TensorBoardLogger

# The names that Lightning's profiler gets for the parts of a run, and our phases. Documented is only that a profiler is
# called around each part. If a name changes, its phase counts as "other" (tests/test_bottleneck.py fails); the
# replacement is the callback hooks before and after each part.
PHASES = {
    "[_TrainingEpochLoop].train_dataloader_next": "waiting for data",
    "[_EvaluationLoop].val_next": "evaluation",
    "validation_step": "evaluation",
    "on_validation_epoch_end": "evaluation",
    "batch_to_device": "copy",
    "training_step": "forward",
    "backward": "backward",
    "optimizer_step": "optimiser",
    "save_checkpoint": "saving",
}


def phase_of(action_name: str) -> str | None:
    """The phase of a part of a run, by the name that the profiler gets; None where nothing changes.

    A hook is announced as `[LightningModule]CLASS.NAME`; callbacks have hooks of the same names, which do not count.
    """
    if action_name.startswith("[Callback]"):
        return None
    return PHASES.get(action_name) or PHASES.get(action_name.rpartition(".")[2])


def set_collective_timeout(engine: pl.Trainer, timeout: timedelta) -> None:
    """Bound every collective of the ranks.

    Why: Trainer has no argument for it, and `strategy` must stay "auto" or "ddp" in a config. Replacement:
    `strategy=DDPStrategy(timeout=timeout)`.
    """
    if hasattr(engine.strategy, "_timeout"):
        engine.strategy._timeout = timeout


def micro_batches_of_epoch(engine: pl.Trainer) -> int:
    """The micro-batches of an epoch on each rank. ValueError for a loader without a length.

    Why: `num_training_batches` is not documented, and infinite before the loader is open; the optimisers are built
    before. Replacement: the module takes the number as an argument.
    """
    if math.isinf(engine.num_training_batches):
        engine.fit_loop.setup_data()
    if math.isinf(engine.num_training_batches):
        raise ValueError("the schedule needs a training loader with a length")
    return int(engine.num_training_batches)


def steps_between_logs(engine: pl.Trainer) -> int:
    """Trainer's argument `log_every_n_steps`, which it sets as an attribute at run time without declaring it."""
    every: int = engine.log_every_n_steps  # type: ignore[attr-defined]
    return every


def add_callback(engine: pl.Trainer, callback: pl.Callback) -> None:
    """Add a callback to a trainer that exists already.

    Why: the callback needs the rank, which only the trainer knows. Replacement: read the rank from the environment.
    """
    engine.callbacks.append(callback)  # type: ignore[attr-defined]


def hide_from_step(logger: TensorBoardLogger, step: int) -> None:
    """Have TensorBoard forget what earlier processes wrote from a step on, which a resumed run writes again.

    Lightning counts logged steps from 0: the first step after a checkpoint has the checkpoint's number.
    Why: the logger passes `purge_step` to its writer only from its constructor, and the step is known later.
    Replacement: `TensorBoardLogger(..., purge_step=step)`.
    """
    logger._kwargs["purge_step"] = step


def validation_is_due_at_start(engine: pl.Trainer) -> bool:
    """Whether a run was resumed after the last batch of an epoch that is validated.

    Why: a checkpoint of an epoch's last step is written before that epoch's validation, and Lightning skips it on a
    resume. Replacement: compute it from the epoch and `check_val_every_n_epoch`.
    """
    steps, epochs = engine.fit_loop.epoch_loop, engine.fit_loop.epoch_progress.current
    if not steps.batch_progress.is_last_batch:
        return False
    epochs.completed -= 1  # Lightning is in the next epoch already
    due = steps._should_check_val_epoch()
    epochs.completed += 1
    return bool(due)


def validate_now(engine: pl.Trainer) -> None:
    """Validate in the middle of a fit, with all callbacks.

    Why: Trainer.validate() would end the fit. Replacement: a second Trainer on the same ranks.
    """
    epochs = engine.fit_loop.epoch_progress.current
    epochs.completed -= 1  # the epoch that is validated
    engine.validating = True
    engine.fit_loop.epoch_loop.val_loop.run()
    engine.training = True
    epochs.completed += 1


def skip_validation(engine: pl.Trainer) -> None:
    """Have a stopping run skip the validation of its epoch, which would delay its end.

    Why: Lightning validates before it looks at `should_stop`. Replacement: an empty validation loader.
    """
    engine.limit_val_batches = 0


def recount(checkpoint: dict[str, Any], epochs: int, behind: int, batches: int) -> None:
    """Set Lightning's counters in a checkpoint to those of an undisturbed run, `behind` of `batches` into an epoch.

    Why: Lightning's own counters lose an epoch when a run that was resumed at the end of an epoch is resumed at the end
    of another one. Replacement: none is needed once Lightning counts right; the position is in the checkpoint's
    `besnet` anyway.
    """
    loop = checkpoint["loops"]["fit_loop"]
    if not behind:  # saved with the last batch of an epoch, which ends only after its hooks
        epochs, behind = epochs - 1, batches
    for count in ("total", "current"):
        loop["epoch_progress"][count] |= {"ready": epochs + 1, "started": epochs + 1}
        loop["epoch_progress"][count] |= {"processed": epochs, "completed": epochs}
    progress = loop["epoch_loop.batch_progress"]
    progress["is_last_batch"] = behind == batches
    progress["current"] |= {"ready": behind, "started": behind, "processed": behind, "completed": behind - 1}
    progress["total"]["completed"] = progress["total"]["processed"] - 1
