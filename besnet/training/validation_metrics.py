"""The counts of one validation: every readable video once, and the names of the others."""

import sys
from collections.abc import Callable
from typing import TypedDict

import torch
from torch import Tensor

from besnet.data.evaluation_clips import VideoClips

FIGURES = ("Val/Loss", "Val/Prec@1", "Val/Prec@5")


class ValidationOutput(TypedDict):
    """A validation batch: the readable videos, the network's input clip of each (B, 3, T, H, W), its loss (B,) and its
    predicted class (B,)."""

    views: list[VideoClips]
    clips: Tensor
    losses: Tensor
    answers: Tensor


class Tally:
    """Counts of one rank: videos, the sum of their losses, top-1 and top-5 hits."""

    def __init__(self, device: torch.device) -> None:
        self.counts = torch.zeros(4, device=device)
        self.unread: list[str] = []

    def add(self, losses: Tensor, top1: Tensor, top5: Tensor) -> None:
        """Count a batch: losses (B,), precisions in percent."""
        videos = torch.full_like(top1, len(losses))
        self.counts += torch.stack([videos, losses.sum(), top1 * videos, top5 * videos])

    def figures(self, reduce: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
        """The means over the videos that any rank has read; nan if there are none. reduce: the sum over the ranks."""
        read, *sums = reduce(self.counts)
        return {name: total / read for name, total in zip(FIGURES, sums, strict=True)}

    def complain(self, videos: int) -> None:
        """Print on standard error how many of this rank's `videos` could not be read."""
        if self.unread:
            print(
                f"besnet: validation: {len(self.unread)} of {videos} videos could not be read and are not counted "
                f"(the first: {self.unread[0]}): run `besnet prepare` again on this data",
                file=sys.stderr,
                flush=True,
            )
