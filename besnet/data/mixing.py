"""Clips of a micro-batch that are mixed in pairs, and the labels that the mixtures then have.

Source: H. Zhang et al., "mixup", 2018; S. Yun et al., "CutMix", 2019. Both treat all frames of a clip alike.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


def mix(
    clips: Tensor, labels: Tensor, num_classes: int, mixup: float | None, cutmix: float | None, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Mix every clip (B, 3, T, H, W) with another one of the batch → clips, labels as probabilities (B, num_classes).

    labels: class numbers (B,), or sets of them as 0 and 1 (B, num_classes).

    mixup: alpha of the Beta distribution of the share that a clip keeps in a weighted sum; None does not do it.
    cutmix: the same of the share of its area that a clip keeps, while a rectangle of the other is pasted on all frames.
    With both, one of them is drawn. Partners and share are drawn once for the micro-batch.
    """
    methods = [(alpha, method) for alpha, method in ((mixup, blend), (cutmix, paste)) if alpha is not None]
    alpha, method = methods[rng.integers(len(methods))]
    partners = torch.from_numpy(rng.permutation(len(clips))).to(clips.device, non_blocking=True)
    mixed, kept = method(clips, clips[partners], float(rng.beta(alpha, alpha)), rng)
    own = (labels if labels.ndim == 2 else F.one_hot(labels, num_classes)).to(clips.dtype)
    return mixed, kept * own + (1 - kept) * own[partners]


def blend(clips: Tensor, others: Tensor, kept: float, rng: np.random.Generator) -> tuple[Tensor, float]:
    """The weighted sum of clips and others, and the weight of the clips."""
    return torch.lerp(others, clips, kept), kept


def paste(clips: Tensor, others: Tensor, kept: float, rng: np.random.Generator) -> tuple[Tensor, float]:
    """Clips with a rectangle of the others on every frame, and the share of the clips' own pixels in the outcome.

    The rectangle lies around a drawn point and is cut at the frame's edge, so that the share may be more than `kept`.
    """
    height, width = clips.shape[-2:]
    half = np.sqrt(1 - kept) / 2 * np.array([height, width])
    centre = rng.uniform(0, 1, 2) * (height, width)
    top, left = np.maximum((centre - half).round().astype(int), 0)
    bottom, right = np.minimum((centre + half).round().astype(int), (height, width))
    mixed = clips.clone()
    mixed[..., top:bottom, left:right] = others[..., top:bottom, left:right]
    return mixed, 1 - float((bottom - top) * (right - left)) / (height * width)
