"""Plots of a lab: every mean with its interval and its seeds."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from besnet.report.drawing import blank
from besnet.text import label

Curve = Sequence[tuple[float, float, float]]


def colours(names: Sequence[str]) -> dict[str, Any]:
    """A colour for each control, the same in all pictures."""
    return {name: matplotlib.colormaps["tab10"](number % 10) for number, name in enumerate(names)}


def means(controls: list[dict[str, Any]]) -> Figure:
    """Top-1 of each control: mean and 95 % interval as a bar, every seed as a dot."""
    figure, axes = blank(figsize=(8, 1.2 + 0.5 * len(controls)))
    tint = colours([control["name"] for control in controls])
    for place, control in enumerate(reversed(controls)):
        if "top1" not in control:
            axes.text(0.5, place, "no finished run", va="center", ha="center", transform=axes.get_yaxis_transform())
            continue
        low, high = control["top1"]["interval"]
        colour = tint[control["name"]]
        axes.plot([100 * low, 100 * high], [place, place], color=colour, linewidth=2.5, solid_capstyle="butt")
        axes.plot([100 * control["top1"]["mean"]], [place], "|", color=colour, markersize=18, markeredgewidth=2.5)
        by_seed = 100 * np.array(control["top1"]["by_seed"])
        axes.plot(by_seed, np.full(len(by_seed), place), "o", color="black", markersize=4, alpha=0.6)
    axes.set_yticks(range(len(controls)), [label(control["name"]) for control in reversed(controls)])
    axes.set_ylim(-0.6, len(controls) - 0.4)
    axes.set_xlabel("top-1, %: mean, 95 % interval, seeds")
    axes.grid(axis="x", alpha=0.3)
    return figure


def over_intervals(controls: list[dict[str, Any]], factors: Sequence[float]) -> Figure:
    """Top-1 of the averaged networks when the frames of a clip are closer together or further apart."""
    figure, axes = blank(figsize=(8, 4.2))
    for number, (name, colour) in enumerate(colours([control["name"] for control in controls]).items()):
        found = controls[number].get("variants")
        if not found:
            continue
        values = [found[f"interval_{factor:g}"] for factor in factors]
        middle = np.array([100 * value["mean"] for value in values])
        low, high = (np.array([100 * value["interval"][side] for value in values]) for side in (0, 1))
        # moved a little sideways, or the bars would hide each other
        where = np.arange(len(factors)) + 0.06 * (number - (len(controls) - 1) / 2)
        axes.errorbar(
            where, middle, [middle - low, high - middle], color=colour, label=label(name), capsize=2, marker="o", ms=4
        )
    axes.set_xticks(range(len(factors)), [f"x {factor:g}" for factor in factors])
    axes.set_xlabel("frame interval, relative to training")
    axes.set_ylabel("top-1, %")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    return figure


def curves(by_control: Mapping[str, Sequence[Curve]]) -> Figure:
    """Training loss and precision over the epochs: each seed thin, their mean thick."""
    figure, panels = blank(1, 2, figsize=(11, 3.8))
    for name, colour in colours(list(by_control)).items():
        runs = [np.array(run) for run in by_control[name] if len(run)]
        if not runs:
            continue
        shared = min(len(run) for run in runs)
        for panel, column in zip(panels, (1, 2), strict=True):
            for run in runs:
                panel.plot(run[:, 0] + 1, run[:, column], color=colour, linewidth=0.6, alpha=0.5)
            mean = np.mean([run[:shared, column] for run in runs], axis=0)
            panel.plot(
                runs[0][:shared, 0] + 1,
                mean,
                color=colour,
                linewidth=2,
                label=label(name),
                marker="." if shared == 1 else "",
            )
    for panel, title in zip(panels, ("training loss", "training precision, %"), strict=True):
        panel.set_title(title, fontsize=10)
        panel.set_xlabel("epoch")
        panel.grid(alpha=0.3)
    if panels[0].get_legend_handles_labels()[0]:
        panels[0].legend(fontsize=8)
    figure.tight_layout()
    return figure


def by_class(controls: list[dict[str, Any]]) -> Figure:
    """Top-1 of every class (row) for every control (column), the seeds' mean."""
    there = [control for control in controls if control.get("classes")]
    names = list(there[0]["classes"])
    shares = np.array([[control["classes"][name]["mean"] for control in there] for name in names])
    written = len(names) <= 60
    figure, axes = blank(figsize=(2.2 + 0.9 * len(there), 1.2 + (0.3 * len(names) if written else 8)))
    picture = axes.imshow(shares, cmap="viridis", vmin=0, vmax=1, aspect="auto", interpolation="nearest")
    axes.set_xticks(
        range(len(there)), [label(control["name"]) for control in there], rotation=30, ha="right", fontsize=8
    )
    if written:
        axes.set_yticks(range(len(names)), [label(name) for name in names], fontsize=8)
        for (row, column), share in np.ndenumerate(shares):
            colour = "black" if share > 0.6 else "white"
            axes.text(column, row, f"{100 * share:.0f}", ha="center", va="center", fontsize=8, color=colour)
    figure.colorbar(picture, ax=axes, fraction=0.06)
    return figure
