"""What a training makes small: cross-entropy, over a whole micro-batch or over the clips that it finds hardest."""

import torch.nn.functional as F
from torch import Tensor


def clip_losses(logits: Tensor, targets: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Cross-entropy of every clip: logits (B, C) → (B,).

    targets: class numbers int64 (B,), or probabilities (B, C) as mixed clips have them.
    """
    return F.cross_entropy(logits, targets, reduction="none", label_smoothing=label_smoothing)


def training_loss(logits: Tensor, targets: Tensor, label_smoothing: float = 0.0, hardest: int | None = None) -> Tensor:
    """Mean cross-entropy of a micro-batch, or only of its `hardest` clips: those with the largest loss.

    Source of the latter: A. Shrivastava et al., "Training Region-based Object Detectors with Online Hard Example
    Mining", 2016.
    """
    if hardest is None:
        return F.cross_entropy(logits, targets, label_smoothing=label_smoothing)
    return clip_losses(logits, targets, label_smoothing).topk(hardest).values.mean()
