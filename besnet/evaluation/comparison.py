"""An evaluation compared with others: a baseline, fewer clips, other dilations. Nothing is computed again."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from besnet.evaluation.average_precision import Ranking, average_precisions, bootstrap, interval, mean_of_known
from besnet.evaluation.statistics import paired_difference
from besnet.evaluation.stored import Evaluation, Results, read_results


def check_comparable(
    baseline: Evaluation, classes: list[str], split: str, ids: list[str], multi_label: bool = False
) -> None:
    """ValueError if a baseline has other classes, another split, another kind of labels, or no video in common."""
    folder = baseline.folder
    if baseline.multi_label != multi_label:
        raise ValueError(f"{folder}: one of the two evaluations is of several labels per video, the other of one")
    if baseline.about["classes"] != classes:
        raise ValueError(f"{folder}: its network has another class list: the two cannot be compared class by class")
    if baseline.about["split"] != split:
        raise ValueError(f"{folder}: an evaluation of the split {baseline.about['split']}, not of {split}")
    if not set(baseline.ids.tolist()) & set(ids):
        raise ValueError(f"{folder}: no video in common with this evaluation: choose an evaluation of the same data")


def compared(
    baseline: Evaluation, results: dict[str, Any], arrays: dict[str, np.ndarray], groups: Mapping[str, str]
) -> dict[str, Any]:
    """What an evaluation gained and lost compared with a baseline, over the labelled videos that both evaluated.

    It must be comparable, see check_comparable. groups: of each video by its id; videos of a group count together.
    """
    place = {name: number for number, name in enumerate(baseline.ids.tolist())}
    both = [(n, place[name]) for n, name in enumerate(arrays["ids"].tolist()) if name in place]
    here, there = np.array(both, dtype=np.int64).reshape(-1, 2).T
    known = arrays["labels"][here] >= 0
    here, there = here[known], there[known]
    labels = arrays["labels"][here]
    mine = arrays["probabilities"][here].mean(axis=1).argmax(axis=1) == labels
    theirs = baseline.probabilities[there].mean(axis=1).argmax(axis=1) == labels
    change = mine.astype(float) - theirs
    count = len(labels)
    of = np.array([groups[name] for name in arrays["ids"][here].tolist()])
    difference = paired_difference(change[None], of) if count else {"mean": 0.0, "interval": [-1.0, 1.0], "groups": 0}
    per_class = []
    for number, name in enumerate(results["classes"]):
        of = labels == number
        if of.any():
            row = {"class": name, "videos": int(of.sum()), "top1": float(mine[of].mean())}
            per_class.append(row | {"gained": float(change[of].mean())})
    return {
        "folder": str(baseline.folder),
        "checkpoint": baseline.about["checkpoint"],
        "videos": count,
        "groups": difference["groups"],
        "gained": int((change > 0).sum()),
        "lost": int((change < 0).sum()),
        "difference": difference["mean"],
        "interval": difference["interval"],
        "per_class": sorted(per_class, key=lambda row: row["gained"]),
    }


def compared_sets(
    baseline: Evaluation, results: dict[str, Any], arrays: dict[str, np.ndarray], groups: Mapping[str, str]
) -> dict[str, Any]:
    """The difference in mAP to a baseline, over the videos that both evaluated, with its 95 % interval by a bootstrap
    over groups. The arguments are those of `compared`."""
    place = {name: number for number, name in enumerate(baseline.ids.tolist())}
    both = [(n, place[name]) for n, name in enumerate(arrays["ids"].tolist()) if name in place]
    here, there = np.array(both, dtype=np.int64).reshape(-1, 2).T
    labels, of = arrays["labels"][here], np.array([groups[name] for name in arrays["ids"][here].tolist()])
    scores = arrays["probabilities"][here].mean(axis=1), baseline.probabilities[there].mean(axis=1)
    mine, theirs = (average_precisions(values, labels) for values in scores)
    means = mean_of_known(mine), mean_of_known(theirs)
    draws = bootstrap([Ranking(values, labels) for values in scores], of) if len(of) else np.zeros((0, 2))
    rows = [
        {"class": name, "positives": int(count), "ap": float(ap), "gained": float(ap - other)}
        for name, count, ap, other in zip(results["classes"], labels.sum(axis=0), mine, theirs, strict=True)
        if count
    ]
    return {
        "folder": str(baseline.folder),
        "checkpoint": baseline.about["checkpoint"],
        "videos": len(of),
        "groups": len(set(of.tolist())),
        "difference": None if means[0] is None or means[1] is None else means[0] - means[1],
        "interval": interval(draws[:, 0] - draws[:, 1], of, -1.0),
        "per_class": sorted(rows, key=lambda row: row["gained"]),
    }


def over_clips(arrays: dict[str, np.ndarray], num_clips: int) -> list[dict[str, Any]]:
    """Top-1 (or mAP) with only 1, 2, 4, ... of each video's clips, evenly spread, with all their crops."""
    several = arrays["labels"].ndim == 2
    known = np.ones(len(arrays["labels"]), dtype=bool) if several else arrays["labels"] >= 0
    if not known.any():
        return []
    labels = arrays["labels"][known]
    clips = arrays["probabilities"][known].reshape(len(labels), num_clips, -1, arrays["probabilities"].shape[-1])
    rows = []
    for some in sorted({2**power for power in range(num_clips.bit_length())} | {num_clips}):
        chosen = np.floor((np.arange(some) + 0.5) * num_clips / some).astype(int)
        mean = clips[:, chosen].mean(axis=(1, 2))
        if several:
            rows.append({"clips": some, "map": mean_of_known(average_precisions(mean, labels))})
        else:
            rows.append({"clips": some, "top1": float((mean.argmax(axis=1) == labels).mean())})
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
        if same and (other["accuracy"] or other.get("average_precision")) and path.parent != folder:
            found.append(summary(path.parent.name, other))
    return [*found, summary(folder.name, results)] if found else []


def summary(name: str, results: Results | dict[str, Any]) -> dict[str, Any]:
    """One line about an evaluation; `top1` is the mAP where videos have several labels."""
    if precision := results.get("average_precision"):
        figures = {"top1": precision["map"], "interval": precision["interval"]}
    else:
        assert results["accuracy"] is not None
        over = results["accuracy"]["over_evaluated"]
        figures = {"top1": over["top1"], "interval": over.get("top1_interval")}
    return figures | {
        "name": name,
        "views": f"{results['views']['num_clips']} x {results['views']['num_crops']}",
        "dilations": str(results["dilations"]),
    }
