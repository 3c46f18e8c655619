"""Pictures of an evaluation, readable at 10 and at 400 classes."""

from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

MOST_NAMES = 60


def confusion_matrix(counts: np.ndarray, classes: list[str]) -> Figure:
    """Shares of each true class (row) that were taken for each class (column); names where they can be read."""
    size = len(classes)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    named = size <= MOST_NAMES
    side = min(13.0, 3.0 + 0.28 * size) if named else 10.0
    figure, axes = plt.subplots(figsize=(side, side))
    # the square root keeps rare confusions visible on a large matrix
    picture = axes.imshow(np.sqrt(shares), cmap="magma_r", vmin=0, vmax=1, interpolation="nearest")
    if named:
        axes.set_xticks(range(size), classes, rotation=90, fontsize=8)
        axes.set_yticks(range(size), classes, fontsize=8)
        for i in range(size):
            for j in range(size):
                if counts[i, j] and size <= 25:
                    colour = "white" if shares[i, j] > 0.35 else "black"
                    axes.text(j, i, str(counts[i, j]), ha="center", va="center", fontsize=7, color=colour)
    else:
        axes.set_xlabel("class number of the answer")
        axes.set_ylabel("class number of the truth")
    bar = figure.colorbar(picture, ax=axes, fraction=0.04)
    ticks = np.array([0, 0.05, 0.2, 0.5, 1.0])
    bar.set_ticks(np.sqrt(ticks).tolist(), labels=[f"{tick:.0%}" for tick in ticks])
    return figure


def most_confused(counts: np.ndarray, classes: list[str], most: int = 20) -> list[tuple[str, str, int, int]]:
    """(truth, answer, videos, videos of the truth) of the largest confusions."""
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:most]
    cells = [divmod(int(cell), len(classes)) for cell in order]
    return [(classes[i], classes[j], int(wrong[i, j]), int(counts[i].sum())) for i, j in cells if wrong[i, j]]


def class_bars(rows: list[dict[str, Any]], most: int = 60) -> Figure:
    """Top-1 of each class, the weakest first; at most `most` classes, half from either end."""
    known = sorted((row for row in rows if row["top1"] is not None), key=lambda row: row["top1"])
    if len(known) > most:
        known = known[: most // 2] + known[-most // 2 :]
    figure, axes = plt.subplots(figsize=(9, 1.0 + 0.24 * len(known)))
    axes.barh([row["class"] for row in known], [100 * row["top1"] for row in known], color="#1f6f8b")
    axes.set_xlim(0, 100)
    axes.set_ylim(-0.6, len(known) - 0.4)
    axes.set_xlabel("top-1, %")
    axes.tick_params(axis="y", labelsize=8)
    axes.grid(axis="x", alpha=0.3)
    return figure


def gain_bars(rows: list[dict[str, Any]], most: int = 60) -> Figure:
    """Points of top-1 gained (to the right) or lost by each class; at most `most` classes, half from either end."""
    if len(rows) > most:
        rows = rows[: most // 2] + rows[-most // 2 :]
    figure, axes = plt.subplots(figsize=(9, 1.0 + 0.24 * len(rows)))
    gains = [100 * row["gained"] for row in rows]
    axes.barh([row["class"] for row in rows], gains, color=["#1f6f8b" if gain >= 0 else "#b5523b" for gain in gains])
    axes.axvline(0, color="grey", linewidth=0.8)
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.set_xlabel("points of top-1")
    axes.tick_params(axis="y", labelsize=8)
    axes.grid(axis="x", alpha=0.3)
    return figure


def reliability_plot(bins: list[dict[str, Any]]) -> Figure:
    """Accuracy over confidence, a dot a bin whose area is its number of videos, beside the diagonal of honesty."""
    figure, axes = plt.subplots(figsize=(4.6, 4.4))
    full = [entry for entry in bins if entry["videos"]]
    counts = np.array([entry["videos"] for entry in full])
    axes.plot([0, 100], [0, 100], color="grey", linewidth=1, linestyle="--")
    confidence, accuracy = (100 * np.array([entry[key] for entry in full]) for key in ("confidence", "accuracy"))
    axes.plot(confidence, accuracy, color="#1f6f8b", linewidth=1, alpha=0.6)
    axes.scatter(confidence, accuracy, s=12 + 400 * counts / counts.sum(), color="#1f6f8b", alpha=0.8)
    axes.set_xlim(0, 102)
    axes.set_ylim(-2, 102)
    axes.set_xlabel("probability of the answer, %")
    axes.set_ylabel("answers that are right, %")
    axes.grid(alpha=0.3)
    return figure


def timeline_plot(times_sec: np.ndarray, curves: dict[str, np.ndarray]) -> Figure:
    """Probabilities of a few classes along a video, at the middle of each clip."""
    figure, axes = plt.subplots(figsize=(9, 3.2))
    for name, shares in curves.items():
        axes.plot(times_sec, 100 * shares, marker=".", label=name)
    axes.set_xlabel("seconds")
    axes.set_ylabel("probability, %")
    axes.set_ylim(0, 102)
    axes.grid(alpha=0.3)
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize=8)
    return figure
