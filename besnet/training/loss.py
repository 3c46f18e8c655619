"""What a training minimises (cross-entropy of all clips, or of the hardest), and what it counts.

Where a video has one label, that is the cross-entropy of the softmax. Where it has a set of labels, each class is a
question of its own: the binary cross-entropy of the sigmoid, the mean over the classes.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def clip_losses(
    logits: Tensor,
    targets: Tensor,
    label_smoothing: float = 0.0,
    weights: Tensor | None = None,
    multi_label: bool = False,
) -> Tensor:
    """Cross-entropy of every clip: logits (B, C) → (B,).

    targets: class numbers int64 (B,), or probabilities (B, C) as mixed clips have them; with `multi_label` the
    probability of each class by itself. label_smoothing moves targets towards all classes alike: for sets of labels,
    by this share towards 1/2. weights: of the classes, (C,), for one label per video.
    """
    if multi_label:
        smooth = targets.to(logits.dtype) * (1 - label_smoothing) + label_smoothing / 2
        return F.binary_cross_entropy_with_logits(logits, smooth, reduction="none").mean(dim=1)
    return F.cross_entropy(logits, targets, weights, reduction="none", label_smoothing=label_smoothing)


def class_weights(counts: Tensor, power: float) -> Tensor:
    """The weights of classes of so many training videos, int64 (C,) → float (C,): in proportion to count ** -power.

    Their mean over the training videos is 1, so that the loss and the learning rate keep their size. A class without
    videos has the weight 1.
    """
    there = counts > 0
    weights = counts.clamp(min=1).double() ** -power
    weights *= counts.sum() / (counts * weights).sum()
    return torch.where(there, weights, 1.0).float()


def training_loss(
    logits: Tensor,
    targets: Tensor,
    label_smoothing: float = 0.0,
    ohem: int | None = None,
    weights: Tensor | None = None,
    multi_label: bool = False,
) -> Tensor:
    """Mean cross-entropy of a micro-batch, or only of its `ohem` clips: those with the largest loss.

    weights: of the classes, (C,). The mean is over the clips, not over their weights: the gradients of micro-batches
    and ranks then add up to that of one large batch.

    Source of the latter: A. Shrivastava et al., "Training Region-based Object Detectors with Online Hard Example
    Mining", 2016.
    """
    if ohem is None and weights is None and not multi_label:
        return F.cross_entropy(logits, targets, label_smoothing=label_smoothing)
    losses = clip_losses(logits, targets, label_smoothing, weights, multi_label)
    return losses.mean() if ohem is None else losses.topk(ohem).values.mean()


def precision(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Percent of rows whose label is the highest logit, and among the five highest (or all, if fewer classes).

    targets: class numbers int64 (B,), or the probabilities (B, C) of mixed clips: then the share of the mixture that
    has the class of the highest logit, or one of the five.
    """
    highest = logits.topk(min(5, logits.shape[1]), dim=1).indices
    right = targets.gather(1, highest) if targets.ndim == 2 else (highest == targets[:, None]).float()
    right = right * logits.isfinite().all(dim=1, keepdim=True)  # topk takes a NaN for the highest
    return right[:, 0].mean() * 100, right.sum(dim=1).mean() * 100
