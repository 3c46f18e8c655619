"""Lightning's Trainer with besnet's callbacks."""

import logging
import warnings
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.plugins import LayerSync
from pytorch_lightning.plugins.environments import (
    ClusterEnvironment,
    LightningEnvironment,
    TorchElasticEnvironment,
)
from torch import nn

from besnet.training.best import Best
from besnet.training.bottleneck import BottleneckReport
from besnet.training.lightning_internals import set_collective_timeout
from besnet.training.metrics_table import MetricsTable
from besnet.training.pending_validation import PendingValidation
from besnet.training.progress import Progress
from besnet.training.saving import AtomicFiles, Saving
from besnet.training.tensorboard import TensorBoardPictures
from besnet.watchdog import GRACE_SEC


def build_trainer(run: Path, saving: Saving, settings: dict[str, Any], tensorboard: bool = True) -> pl.Trainer:
    """Lightning's Trainer with besnet's checkpoints, logs and progress line."""
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    table = MetricsTable(run / "metrics.csv")
    logger = TensorBoardLogger(save_dir=run, name="", version="tensorboard") if tensorboard else False
    synchronised = settings["sync_batchnorm"]
    plugins: list[Any] = [AtomicFiles(), cluster_environment()]
    plugins += [SynchronisedNorms()] if synchronised else []
    try:
        engine = pl.Trainer(
            **settings | {"sync_batchnorm": False},
            default_root_dir=run,
            logger=logger,
            callbacks=[
                table,
                Progress(),
                TensorBoardPictures(),
                BottleneckReport(saving.phases),
                saving,
                PendingValidation(table),
                Best(saving),
            ],
            plugins=plugins,
            profiler=saving.phases,
            use_distributed_sampler=False,
            num_sanity_val_steps=0,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
    except (TypeError, ImportError) as error:
        raise ValueError(f"trainer.accelerator or trainer.devices: {error}") from error
    if synchronised and engine.strategy.root_device.type == "cpu":
        raise ValueError("trainer.sync_batchnorm true needs GPUs: leave it out on a CPU")
    # longer than the watchdog, whose message says where each rank is
    set_collective_timeout(engine, timedelta(minutes=saving.watchdog_minutes, seconds=2 * GRACE_SEC))
    return engine


class SynchronisedNorms(LayerSync):
    """BatchNorms over all ranks; those of timm bring an activation along, which torch's own conversion drops."""

    def apply(self, model: nn.Module) -> nn.Module:
        """The model with synchronised norms."""
        from timm.layers import convert_sync_batchnorm  # takes a second to import

        found: nn.Module = convert_sync_batchnorm(model)
        return found

    def revert(self, model: nn.Module) -> nn.Module:
        """The model as it is: it ends with the training."""
        return model


def cluster_environment() -> ClusterEnvironment:
    """The ranks that torchrun started, or those that this process starts; other schedulers' variables are ignored."""
    return TorchElasticEnvironment() if TorchElasticEnvironment.detect() else LightningEnvironment()


def quieten() -> None:
    """Hide Lightning's advice that does not apply here, and its own use of deprecated parts of torch."""
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*is smaller than the logging interval.*")
    warnings.filterwarnings("ignore", message=".*`srun` command is available.*")
    # frozen BatchNorms are in eval mode
    warnings.filterwarnings("ignore", message="Found .* in eval mode at the start of training")
    # the order of the data is a function of the position that the checkpoint holds: see besnet.data.order
    warnings.filterwarnings("ignore", message=".*your dataloader is not resumable.*")
    warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.*")
    # the compiler of blocks looks at what comes into them
    warnings.filterwarnings("ignore", message="The .grad attribute of a Tensor that is not a leaf")
    # the strides of 1 x 1 x 1 filters are ambiguous
    warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
