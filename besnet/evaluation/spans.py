"""Mean average precision of spans in long videos, by the protocol of ActivityNet.

Source: F. Caba Heilbron et al., "ActivityNet: A Large-Scale Video Benchmark for Human Activity Understanding", 2015.
For each class and each threshold on the temporal intersection over union (tIoU), the predicted spans of all videos are
ranked by their probability. One is right if its tIoU with a true span of the same class and video, which no higher
ranked one has taken, is at least the threshold; of several it takes the one with the largest tIoU. All others are
wrong, second ones on the same true span (duplicates) among them. AP is the area below precision over recall, where the
precision at a recall is the largest one at that or a higher recall (interpolation at all points).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

THRESHOLDS = (0.3, 0.4, 0.5, 0.6, 0.7)
CLOSE = 1e-9  # of a tIoU: sums of decimal fractions meet a threshold


@dataclass(frozen=True)
class Span:
    """The part start_sec <= t < end_sec of a video, seconds from its first frame. probability: of a predicted one."""

    video: str
    label: str
    start_sec: float
    end_sec: float
    probability: float = 1.0


def tiou(one: Span, others: Sequence[Span]) -> np.ndarray:
    """The share that one span and each of the others have in common of what they cover together, float64 (N,)."""
    starts = np.array([other.start_sec for other in others])
    ends = np.array([other.end_sec for other in others])
    common = np.maximum(np.minimum(ends, one.end_sec) - np.maximum(starts, one.start_sec), 0.0)
    found: np.ndarray = common / (ends - starts + one.end_sec - one.start_sec - common)
    return found


def average_precision(truth: Sequence[Span], predicted: Sequence[Span], threshold: float) -> float | None:
    """AP of one class at one tIoU. None without a true span.

    Spans of equal probability are ranked by video, start and end.
    """
    if not truth:
        return None
    of_video: dict[str, list[Span]] = {}
    for span in truth:
        of_video.setdefault(span.video, []).append(span)
    taken = {video: np.zeros(len(spans), dtype=bool) for video, spans in of_video.items()}
    right = np.zeros(len(predicted), dtype=bool)
    ranked = sorted(predicted, key=lambda span: (-span.probability, span.video, span.start_sec, span.end_sec))
    for place, span in enumerate(ranked):
        if span.video in of_video:
            shares = np.where(taken[span.video], -1.0, tiou(span, of_video[span.video]))
            best = int(shares.argmax())
            right[place] = shares[best] >= threshold - CLOSE
            taken[span.video][best] |= right[place]
    hits = np.cumsum(right)
    precision = hits / np.arange(1, len(ranked) + 1)
    highest = np.maximum.accumulate(precision[::-1])[::-1]
    return float(highest[right].sum() / len(truth))


def mean_average_precision(
    truth: Sequence[Span], predicted: Sequence[Span], thresholds: Sequence[float] = THRESHOLDS
) -> dict[str, Any]:
    """AP of each class and mAP at each tIoU, and the mean of these mAPs.

    The classes are those of the true spans. Predicted spans of other labels are counted in `other_labels` and left out.
    """
    classes = sorted({span.label for span in truth})
    rows: list[dict[str, Any]] = []
    for name in classes:
        own, said = [s for s in truth if s.label == name], [s for s in predicted if s.label == name]
        values = [average_precision(own, said, threshold) for threshold in thresholds]
        rows.append({"class": name, "spans": len(own), "predicted": len(said), "ap": values})
    means = [float(np.mean([row["ap"][place] for row in rows])) if rows else None for place in range(len(thresholds))]
    return {
        "tiou": list(thresholds),
        "map": means,
        "mean": float(np.mean([value for value in means if value is not None])) if rows else None,
        "spans": len(truth),
        "predicted": len(predicted),
        "videos": len({span.video for span in truth}),
        "other_labels": sum(span.label not in classes for span in predicted),
        "per_class": rows,
    }
