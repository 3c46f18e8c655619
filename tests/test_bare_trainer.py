"""The LightningModule is what a user of Lightning expects: a bare Trainer fits it on a plain DataLoader."""

from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, TensorDataset

from besnet.models.besnet import BesNet
from besnet.training.module import ActionModule
from besnet.training.recipe import Recipe


@pytest.mark.filterwarnings("ignore:.*does not have many workers")
@pytest.mark.filterwarnings("ignore:.*treespec, LeafSpec")
@pytest.mark.filterwarnings("ignore:.*logging interval")
@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_bare_trainer_makes_ten_steps(tmp_path: Path, accumulate: int) -> None:
    torch.manual_seed(0)
    labels = torch.arange(24) % 3
    clips = torch.randn(24, 3, 4, 32, 32) * 0.1 + labels.view(-1, 1, 1, 1, 1)
    loader = DataLoader(TensorDataset(clips, labels), batch_size=4 // accumulate, shuffle=True)
    network = BesNet(3, blocks=(1, 1), width=8, temporal_padding="replicate")
    task = ActionModule(network, Recipe(optimizer="adamw", lr=0.01, ema=0.9, mixup=0.2))
    engine = pl.Trainer(
        max_steps=10, accumulate_grad_batches=accumulate, default_root_dir=tmp_path, accelerator="cpu", logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, gradient_clip_val=1.0,
    )  # fmt: skip
    before = {name: value.clone() for name, value in task.state_dict().items()}
    losses = []

    class Watch(pl.Callback):
        def on_train_batch_end(self, trainer: pl.Trainer, *_: object) -> None:
            losses.append(float(trainer.callback_metrics["Train/Loss"]))

    engine.callbacks.append(Watch())  # type: ignore[attr-defined]
    engine.fit(task, loader, DataLoader(TensorDataset(clips, labels), batch_size=4))
    assert engine.global_step == 10
    assert task.micro_batch == 10 * accumulate
    now = task.state_dict()
    assert any(
        not torch.equal(value, now[name]) for name, value in before.items() if name.startswith("network.backbone.conv1")
    )
    assert any(not torch.equal(value, now[name]) for name, value in before.items() if name.startswith("ema.network"))
    assert sum(losses[-3:]) < sum(losses[:3])
    assert {"Val/Loss", "Val/Prec@1", "Train/Prec@5"} <= engine.callback_metrics.keys()
    assert task.lr_schedulers().get_last_lr()[0] < 1e-4, "the cosine ends with the last step"  # type: ignore[union-attr]
