"""A network as a LightningModule: any `pl.Trainer` can fit it on batches of clips and labels."""

from typing import Any, Self

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn, optim

from besnet.data.mixing import mix
from besnet.data.order import DILATION, MIX, NOISE, generator
from besnet.models.network import Network
from besnet.training.ema import Average
from besnet.training.fine_tuning import freeze_depths
from besnet.training.length import Length
from besnet.training.lightning_internals import micro_batches_of_epoch
from besnet.training.loss import class_weights, clip_losses, precision, training_loss
from besnet.training.recipe import Recipe

TRAIN_FIGURES = ("Train/Loss", "Train/Prec@1", "Train/Prec@5")  # of several labels per video the first alone


class ActionModule(pl.LightningModule):
    """Trains a network on clips; every random number is a function of (seed, micro-batch number, rank).

    A batch is (clips, labels): float (B, 3, T, H, W), normalised, and int64 (B,), or with `multi_label` 0 and 1 for
    each class (B, C). The data set and an exact resume are added by besnet.training.task.ActionTraining. counts:
    training videos of each class, int64 (C,), which recipe.class_weights needs.
    """

    class_weights: Tensor | None

    def __init__(
        self,
        network: Network,
        recipe: Recipe,
        seed: int = 0,
        counts: np.ndarray | None = None,
        multi_label: bool = False,
    ) -> None:
        super().__init__()
        self.multi_label = multi_label
        weights = None
        if recipe.class_weights is not None:
            if counts is None:
                raise ValueError("recipe.class_weights: give the module the counts of the classes")
            weights = class_weights(torch.from_numpy(counts), recipe.weights_power)
        self.register_buffer("class_weights", weights, persistent=False)
        self.network = network
        self.frozen = freeze_depths(network, recipe.freeze)  # names of modules
        self.ema = Average(network, recipe.ema) if recipe.ema is not None else None
        self.recipe = recipe
        self.seed = seed
        self.micro_batch = 0  # micro-batches done by each rank
        self.train(network.training)  # because Lightning trains modules in the mode it finds them in
        self.of_step: list[Tensor] = []  # figures of the micro-batches of a step that is not yet made

    def train(self, mode: bool = True) -> Self:
        """Training mode, but for what is frozen: its BatchNorms, dropout and stochastic depth are as in evaluation."""
        super().train(mode)
        for name in self.frozen:
            self.network.get_submodule(name).eval()
        return self

    @property
    def length(self) -> Length:
        """How long this training is."""
        engine = self.trainer
        epochs = engine.max_steps if engine.max_epochs in (None, -1) else engine.max_epochs
        assert epochs is not None
        return Length(micro_batches_of_epoch(engine), engine.accumulate_grad_batches, epochs, engine.max_steps)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """SGD or AdamW, with a schedule that moves at every step."""
        optimizer, length = self.recipe.build_optimizer(self.network), self.length
        factor = self.recipe.schedule(length.steps_per_epoch, length.steps)
        scheduler = optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Loss of one micro-batch under freshly drawn dilations."""
        loss = self.learn(*self.mixed(*batch))
        self.log_step(len(batch[0]))
        return loss

    def learn(self, clips: Tensor, targets: Tensor) -> Tensor:
        """Loss of clips (B, 3, T, H, W) and class numbers (B,) or probabilities (B, C); counts the micro-batch."""
        noise = generator(self.seed, NOISE, self.micro_batch, self.global_rank).integers(2**63)
        torch.manual_seed(int(noise))
        logits = self.network(clips, self.draw_dilations(len(clips)))
        smoothing, ohem = self.recipe.label_smoothing, self.recipe.ohem
        loss = training_loss(logits, targets, smoothing, ohem, self.class_weights, self.multi_label)
        self.micro_batch += 1
        figures = () if self.multi_label else precision(logits.detach(), targets)
        self.of_step.append(torch.stack([loss.detach(), *figures]))
        return loss

    def log_step(self, clips: int) -> None:
        """Log loss and precisions, averaged over the micro-batches of the step so far."""
        figures = torch.stack(self.of_step).mean(0)
        self.log_dict(dict(zip(TRAIN_FIGURES, figures, strict=False)), batch_size=clips)
        if self.step_is_made:
            self.of_step = []

    @property
    def step_is_made(self) -> bool:
        """Whether the last micro-batch was the last one of a step."""
        return self.micro_batch % self.trainer.accumulate_grad_batches == 0

    def mixed(self, clips: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Clips and class numbers (B,), or mixed clips and probabilities (B, C) where the recipe says so."""
        if not self.recipe.mixes:
            return clips, labels
        rng = generator(self.seed, MIX, self.micro_batch, self.global_rank)
        return mix(clips, labels, self.network.num_classes, self.recipe.mixup, self.recipe.cutmix, rng)

    def validation_step(self, batch: Any, batch_idx: int) -> Any:
        """Log loss and precisions of a batch, dilations averaged."""
        clips, labels = batch
        logits = self.eval_network(clips)
        found = {"Val/Loss": clip_losses(logits, labels, multi_label=self.multi_label).mean()}
        if not self.multi_label:
            found["Val/Prec@1"], found["Val/Prec@5"] = precision(logits, labels)
        self.log_dict(found, batch_size=len(labels), sync_dist=True)

    def configure_gradient_clipping(
        self,
        optimizer: optim.Optimizer,
        gradient_clip_val: int | float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip the gradients. Lightning refuses to before a fused optimiser's step; only a loss scale (16-mixed) would
        forbid it."""
        if not gradient_clip_val:
            return
        weights = [weight for group in optimizer.param_groups for weight in group["params"]]
        if gradient_clip_algorithm == "value":
            nn.utils.clip_grad_value_(weights, gradient_clip_val)
        else:
            nn.utils.clip_grad_norm_(weights, gradient_clip_val)

    def optimizer_step(self, *arguments: Any, **keywords: Any) -> None:
        """Move the weights, then their average."""
        super().optimizer_step(*arguments, **keywords)
        if self.ema is not None:
            self.ema.update(self.network, self.trainer.global_step)

    @property
    def eval_network(self) -> Network:
        """The network that is validated and evaluated: the moving average where there is one."""
        network = self.network if self.ema is None else self.ema.network
        assert isinstance(network, Network)
        return network

    def draw_dilations(self, clips: int) -> Tensor | None:
        """Indices into the set of dilations, int64, a function of (seed, micro-batch number); as recipe.draw says.

        None, the average, where the mixture has weights of its own: learned ones would get no gradient under draws.
        """
        if self.network.dilations and (self.recipe.draw == "average" or not self.network.draws):
            return None
        if self.recipe.draw == "clip":
            rng = generator(self.seed, DILATION, self.micro_batch, self.global_rank)
            size = self.network.num_temporal_layers, clips
            return torch.from_numpy(rng.integers(max(1, len(self.network.dilations)), size=size))
        return torch.from_numpy(self.drawn_at(self.micro_batch))

    def drawn_at(self, micro_batch: int) -> np.ndarray:
        """The dilations of a micro-batch: int64 (num_temporal_layers,), each an index into the network's set."""
        rng = generator(self.seed, DILATION, micro_batch)
        layers, count = self.network.num_temporal_layers, max(1, len(self.network.dilations))
        if self.recipe.draw == "network":
            return np.full(layers, rng.integers(count))
        return rng.integers(count, size=layers)
