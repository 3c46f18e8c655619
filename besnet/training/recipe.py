"""The recipe of a run: optimiser, learning-rate schedule and loss."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from torch import nn, optim

from besnet.ranges import check_section
from besnet.training.fine_tuning import Freeze, groups

Draw = Literal["layer", "network", "clip", "average"]


@dataclass(frozen=True)
class Recipe:
    """The optimisation of a run.

    Args:
        optimizer: SGD with Nesterov momentum, or AdamW.
        lr: learning rate at the end of the warm-up.
        lr_batch: clips of a step that lr is meant for; lr is scaled to the real number of clips (batch_size x ranks x
            accumulate_grad_batches). null uses lr as it is.
        momentum: SGD's momentum; AdamW's first beta.
        weight_decay: weight decay; never applied to biases and BatchNorm parameters.
        warmup_epochs: epochs of linear warm-up from a hundredth of lr; may be a fraction.
        final_lr: learning rate at the end of the cosine, as a share of lr.
        label_smoothing: share of the target's mass that is spread over all classes.
        mixup: alpha of mixup: every clip becomes a weighted sum of itself and another one of its micro-batch, and so do
            their labels; null for none. 0.2 to 0.8 are usual.
        cutmix: alpha of CutMix: every clip gets a rectangle of another one on all its frames, and the labels mix by
            area; null for none, 1 is usual. With mixup as well, each micro-batch draws one of the two.
        class_weights: a class of n videos weighs n ** -class_weights in the loss: 0.5 is usual; 1, or balanced, gives
            all classes the same share. The weights of the training videos are 1 on average; null for none.
        ohem: train only on this many clips of each micro-batch, those with the largest loss (online hard example
            mining); null for all.
        ema: decay of a moving average of the weights; the average is validated, evaluated and exported. The first steps
            have a smaller decay, (1 + step) / (10 + step). null for none; 0.999 to 0.9999 are usual.
        precise_bn: training videos on which the BatchNorm statistics of the finished network (of the moving average
            where there is one) are measured, as evaluation uses them; null keeps those of the training.
        draw: what draws a dilation in training: each layer and micro-batch (layer), each micro-batch for all layers
            (network), each layer and clip (clip), or nothing, so that training averages as evaluation does (average).
        freeze: what stays as it starts, BatchNorm's statistics included: backbone (all but the last layer), or a number
            N of blocks (the stem and the N blocks after it); null for nothing.
        layer_decay: factor on the learning rate from each depth to the one before it: the last layer learns with lr,
            the block before it with layer_decay times lr, and so on to the stem; null for one rate. 0.6 to 0.9 are
            usual.
        head_lr: factor on the learning rate of the last layer, which starts from noise; null for 1.
    """

    optimizer: Literal["sgd", "adamw"] = "sgd"
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 1e-4
    warmup_epochs: float = 0.0
    final_lr: float = 0.0
    label_smoothing: float = 0.0
    mixup: float | None = None
    cutmix: float | None = None
    class_weights: Literal["balanced"] | float | None = None
    ohem: int | None = None
    ema: float | None = None
    precise_bn: int | None = None
    lr_batch: int | None = None
    draw: Draw = "layer"
    freeze: Freeze = None
    layer_decay: float | None = None
    head_lr: float | None = None

    def __post_init__(self) -> None:
        check_section("recipe", vars(self))

    def for_batch(self, clips: int) -> "Recipe":
        """The recipe with the learning rate for steps of so many clips."""
        return self if self.lr_batch is None else replace(self, lr=self.lr * clips / self.lr_batch, lr_batch=clips)

    @property
    def rates_by_depth(self) -> bool:
        """Whether the learning rate differs from depth to depth."""
        return self.layer_decay is not None or self.head_lr is not None

    @property
    def mixes(self) -> bool:
        """Whether clips of a micro-batch are mixed."""
        return self.mixup is not None or self.cutmix is not None

    @property
    def weights_power(self) -> float:
        """class_weights as a number; 0 for none."""
        if self.class_weights is None:
            return 0.0
        return 1.0 if self.class_weights == "balanced" else float(self.class_weights)

    def build_optimizer(self, network: nn.Module) -> optim.Optimizer:
        """Optimiser over groups of the parameters that learn; the first group has the last layer's learning rate."""
        parts = groups(network, self.lr, self.weight_decay, self.layer_decay, self.head_lr)
        if self.optimizer == "sgd":
            return optim.SGD(parts, lr=self.lr, momentum=self.momentum, nesterov=self.momentum > 0, fused=True)
        return optim.AdamW(parts, lr=self.lr, betas=(self.momentum, 0.999), fused=True)

    def schedule(self, steps_per_epoch: int, steps: int) -> Callable[[int], float]:
        """Factor on lr at each of a run's steps: linear warm-up, then a half cosine down to `final_lr`."""
        warmup = self.warmup_epochs * steps_per_epoch
        rest = max(1.0, steps - warmup)

        def factor(step: int) -> float:
            if step < warmup:
                return 0.01 + 0.99 * step / warmup
            progress = min(1.0, (step - warmup) / rest)
            return self.final_lr + (1 - self.final_lr) * 0.5 * (1 + math.cos(math.pi * progress))

        return factor
