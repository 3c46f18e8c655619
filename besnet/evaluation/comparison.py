"""An evaluation beside others: a second run on the same videos, fewer views, other dilations. Nothing is run again."""

import math
from pathlib import Path
from typing import Any

import numpy as np

from besnet.evaluation.stored import Evaluation, Results, read_results


def check_comparable(other: Evaluation, classes: list[str], split: str, ids: list[str]) -> None:
    """ValueError if an evaluation has other classes, another split, or no video in common."""
    folder = other.folder
    if other.about["classes"] != classes:
        raise ValueError(f"{folder}: its network has another class list: the two cannot be compared class by class")
    if other.about["split"] != split:
        raise ValueError(f"{folder}: an evaluation of the split {other.about['split']}, not of {split}")
    if not set(other.ids.tolist()) & set(ids):
        raise ValueError(f"{folder}: no video in common with this evaluation: it is of other data")


def compared(other: Evaluation, results: dict[str, Any], arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """What this evaluation gained and lost against another one, over the labelled videos that both evaluated.

    It must be comparable, see check_comparable.
    """
    place = {name: number for number, name in enumerate(other.ids.tolist())}
    both = [(n, place[name]) for n, name in enumerate(arrays["ids"].tolist()) if name in place]
    here, there = np.array(both, dtype=np.int64).reshape(-1, 2).T
    known = arrays["labels"][here] >= 0
    here, there = here[known], there[known]
    labels = arrays["labels"][here]
    mine = arrays["probabilities"][here].mean(axis=1).argmax(axis=1) == labels
    theirs = other.probabilities[there].mean(axis=1).argmax(axis=1) == labels
    gained, lost, count = int((mine & ~theirs).sum()), int((theirs & ~mine).sum()), len(labels)
    per_class = []
    for number, name in enumerate(results["classes"]):
        of = labels == number
        if of.any():
            change = float(mine[of].mean() - theirs[of].mean())
            per_class.append({"class": name, "videos": int(of.sum()), "top1": float(mine[of].mean()), "gained": change})
    return {
        "folder": str(other.folder),
        "checkpoint": other.about["checkpoint"],
        "videos": count,
        "gained": gained,
        "lost": lost,
        "difference": (gained - lost) / max(count, 1),
        "interval": paired_interval(gained, lost, count),
        "per_class": sorted(per_class, key=lambda row: row["gained"]),
    }


def paired_interval(gained: int, lost: int, count: int) -> list[float]:
    """95 % interval of the difference of two shares of the same videos, in the normal approximation."""
    if not count:
        return [-1.0, 1.0]
    half = 1.96 * math.sqrt(max(gained + lost - (gained - lost) ** 2 / count, 0.0)) / count
    return [(gained - lost) / count - half, (gained - lost) / count + half]


def over_clips(arrays: dict[str, np.ndarray], num_clips: int) -> list[dict[str, Any]]:
    """Top-1 if only 1, 2, 4, ... of each video's clips were looked at, evenly spread (every crop of them)."""
    known = arrays["labels"] >= 0
    if not known.any():
        return []
    labels = arrays["labels"][known]
    clips = arrays["probabilities"][known].reshape(len(labels), num_clips, -1, arrays["probabilities"].shape[-1])
    rows = []
    for some in sorted({2**power for power in range(num_clips.bit_length())} | {num_clips}):
        chosen = np.floor((np.arange(some) + 0.5) * num_clips / some).astype(int)
        right = clips[:, chosen].mean(axis=(1, 2)).argmax(axis=1) == labels
        rows.append({"clips": some, "top1": float(right.mean())})
    return rows


def siblings(folder: Path, results: dict[str, Any]) -> list[dict[str, Any]]:
    """Finished evaluations of the same checkpoint on the same split, beside this one: other dilations, other views."""
    found = []
    for path in sorted(folder.parent.glob("*/results.json")):
        try:
            other = read_results(path)
        except (ValueError, OSError):
            continue  # of another version, or not an evaluation
        same = (other["checkpoint"]["hash"], other["data"]["passport"], other["split"]) == (
            results["checkpoint"]["hash"], results["data"]["passport"], results["split"]
        )  # fmt: skip
        if same and other["accuracy"] is not None and path.parent != folder:
            found.append(summary(path.parent.name, other))
    return [*found, summary(folder.name, results)] if found else []


def summary(name: str, results: Results | dict[str, Any]) -> dict[str, Any]:
    """One line about an evaluation."""
    assert results["accuracy"] is not None
    over = results["accuracy"]["over_evaluated"]
    return {
        "name": name,
        "views": f"{results['views']['num_clips']} x {results['views']['num_crops']}",
        "dilations": str(results["dilations"]),
        "top1": over["top1"],
        "interval": over.get("top1_interval"),
    }
