"""A picture of the first batch of a run, with its crops and augmentation, as the network gets it."""

from pathlib import Path

import numpy as np
from torch import Tensor

from besnet.data.transforms import pixels
from besnet.files import replacing
from besnet.models.network import Normalisation
from besnet.report.sheet import contact_sheet

MOST_CLIPS, MOST_FRAMES = 16, 16


def draw_batch_preview(
    path: Path, clips: Tensor, targets: Tensor, classes: list[str], normalisation: Normalisation
) -> None:
    """Write a contact sheet as PNG: one clip per row, frames from left to right, with its label or mixture above.

    clips: (B, 3, T, H, W), normalised; targets: class numbers (B,), or probabilities or sets (B, C).
    """
    frames = pixels(clips[:MOST_CLIPS], normalisation).cpu().numpy()
    chosen = np.linspace(0, frames.shape[1] - 1, min(MOST_FRAMES, frames.shape[1])).round().astype(int)
    strips = [(text(target, classes), clip[chosen]) for clip, target in zip(frames, targets, strict=False)]
    with replacing(path) as file:
        contact_sheet(strips).save(file, format="png")


def text(target: Tensor, classes: list[str]) -> str:
    """The label, or the labels of a set or a mixture with their shares: the four largest."""
    if not target.ndim:
        return classes[int(target)]
    shares, numbers = target.float().topk(min(4, len(target)))
    pairs = zip(shares.tolist(), numbers.tolist(), strict=True)
    return " + ".join(f"{share:.0%} {classes[number]}" for share, number in pairs if share > 0.005) or "none"
