"""The counts of one validation: every readable video once, and the names of the others."""

import sys
from collections.abc import Callable
from typing import TypedDict

import numpy as np
import torch
from torch import Tensor

from besnet.data.evaluation_clips import VideoClips
from besnet.evaluation.average_precision import average_precisions, mean_of_known
from besnet.training.loss import precision

LOSS = "Val/Loss"
FIGURES = (LOSS, "Val/Prec@1", "Val/Prec@5")
MAP = "Val/mAP"  # percent, where a video has several labels


def figures_of(multi_label: bool) -> tuple[str, ...]:
    """The figures of a validation, what is chosen by where nothing else is said first."""
    return (MAP, LOSS) if multi_label else (FIGURES[1], FIGURES[2], LOSS)


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

    def add(self, rows: np.ndarray, logits: Tensor, labels: Tensor, losses: Tensor) -> None:
        """Count a batch of videos: their rows (B,), logits (B, C), labels (B,) and losses (B,)."""
        top1, top5 = precision(logits, labels)
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


class SetsTally(Tally):
    """The same where a video has a set of labels: all logits are kept, because mAP is a property of their ranking."""

    def __init__(self, device: torch.device, rows: np.ndarray, num_classes: int) -> None:
        super().__init__(device)
        self.places = {row: place for place, row in enumerate(rows.tolist())}
        # of every video: loss, whether it was read, logits, labels; other ranks fill the other lines
        self.found = torch.zeros(len(rows), 2 + 2 * num_classes, device=device)

    def add(self, rows: np.ndarray, logits: Tensor, labels: Tensor, losses: Tensor) -> None:
        """Keep a batch: labels (B, C) of 0 and 1."""
        places = [self.places[row] for row in rows.tolist()]
        read = torch.ones(len(rows), 1, device=losses.device)
        self.found[places] = torch.cat([losses[:, None], read, logits, labels], dim=1).to(self.found)

    def figures(self, reduce: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
        """The mean loss and the mAP in percent of the videos that any rank has read; nan where there is none."""
        found = reduce(self.found)
        found = found[found[:, 1] > 0]
        logits, labels = found[:, 2:].float().cpu().numpy().reshape(len(found), 2, -1).transpose(1, 0, 2)
        value = mean_of_known(average_precisions(logits, labels)) if np.isfinite(logits).all() else None
        percent = found.new_tensor(np.nan if value is None else 100 * value)
        return {FIGURES[0]: found[:, 0].mean(), MAP: percent}
