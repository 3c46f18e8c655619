"""Pictures of an evaluation besides the confusion matrix, readable at 10 and at 400 classes."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from besnet.report.drawing import blank
from besnet.text import label

MOST_BARS = 40


def class_bars(rows: list[dict[str, Any]], what: str = "top-1") -> Figure:
    """Top-1 (or another share) of each class, the weakest below; of many classes half of the bars from either end."""
    known = sorted((row for row in rows if row["top1"] is not None), key=lambda row: row["top1"])
    figure, axes = bars([row["class"] for row in known], [100 * row["top1"] for row in known])
    axes.set_xlim(0, 100)
    axes.set_xlabel(f"{what}, %")
    return figure


def gain_bars(rows: list[dict[str, Any]], what: str = "top-1") -> Figure:
    """Points of top-1 (or another share) gained (to the right) or lost by each class, the losses below; of many classes
    half of the bars from either end."""
    figure, axes = bars([row["class"] for row in rows], [100 * row["gained"] for row in rows])
    axes.axvline(0, color="grey", linewidth=0.8)
    axes.set_xlabel(f"points of {what}")
    return figure


def bars(names: list[str], values: list[float], most: int = MOST_BARS) -> tuple[Figure, Axes]:
    """Named bars, the first one below. Of too many, those in the middle are left out; a label gives their number."""
    left_out = max(0, len(names) - most)
    if left_out:
        gap = [f"… {left_out} classes between …"]
        names, values = (
            [*names[: most // 2], *gap, *names[-most // 2 :]],
            [*values[: most // 2], 0, *values[-most // 2 :]],
        )
    figure, axes = blank(figsize=(5, 1.0 + 0.22 * len(names)), layout="constrained")
    axes.barh(range(len(names)), values, color=["#1f6f8b" if value >= 0 else "#b5523b" for value in values])
    axes.set_yticks(range(len(names)), [label(name) for name in names])
    axes.set_ylim(-0.6, len(names) - 0.4)
    axes.tick_params(axis="y", labelsize=9)
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    return figure, axes


def reliability_plot(bins: list[dict[str, Any]]) -> Figure:
    """Accuracy over confidence, a dot a bin whose area is its number of videos, beside the diagonal of honesty."""
    figure, axes = blank(figsize=(4.6, 4.4))
    full = [entry for entry in bins if entry["videos"]]
    counts = np.array([entry["videos"] for entry in full])
    axes.plot([0, 100], [0, 100], color="grey", linewidth=1, linestyle="--")
    confidence, accuracy = (100 * np.array([entry[key] for entry in full]) for key in ("confidence", "accuracy"))
    axes.plot(confidence, accuracy, color="#1f6f8b", linewidth=1, alpha=0.6)
    axes.scatter(confidence, accuracy, s=12 + 400 * counts / counts.sum(), color="#1f6f8b", alpha=0.8)
    axes.set_xlim(0, 102)
    axes.set_ylim(-2, 102)
    axes.set_xlabel("confidence, %")
    axes.set_ylabel("accuracy, %")
    axes.grid(alpha=0.3)
    return figure


def timeline_plot(times_sec: np.ndarray, curves: dict[str, np.ndarray]) -> Figure:
    """Probabilities of a few classes along a video, at the middle of each clip."""
    figure, axes = blank(figsize=(9, 3.2))
    for name, shares in curves.items():
        axes.plot(times_sec, 100 * shares, marker=".", label=label(name))
    axes.set_xlabel("seconds")
    axes.set_ylabel("probability, %")
    axes.set_ylim(0, 102)
    axes.grid(alpha=0.3)
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize=8)
    return figure
