"""Probabilities and labels → accuracies, each with the number of videos behind it."""

from typing import Any

import numpy as np

from besnet.evaluation.statistics import wilson, wilson_of_groups


def top_k(probabilities: np.ndarray, labels: np.ndarray, k: int) -> np.ndarray:
    """Whether each label is among the k most probable classes: (N, C), (N,) → bool (N,).

    Ties count against the label unless its class comes first, so that a constant prediction is never right by luck. A
    row that is not finite is never right.
    """
    own = np.take_along_axis(probabilities, labels[:, None], axis=1)
    classes = np.arange(probabilities.shape[1])
    behind = (probabilities < own) | ((probabilities == own) & (classes >= labels[:, None]))
    return ((~behind).sum(axis=1) < k) & np.isfinite(probabilities).all(axis=1)


def accuracies(
    probabilities: np.ndarray,
    labels: np.ndarray,
    expected: int,
    groups: np.ndarray | None = None,
    missing_groups: np.ndarray | None = None,
) -> dict[str, Any]:
    """Top-1, top-5 and their mean, over the evaluated videos and with the missing ones counted wrong; and the
    number of labelled videos and of groups behind each share.

    probabilities (N, C) of the evaluated videos, labels (N,); expected: number of labelled videos in the split. groups
    (N,), missing_groups (expected - N,): the group of each video, which counts together in the intervals; None where
    each is a group of its own. Shares in 0..1, None without any video.
    """
    right1, right5 = top_k(probabilities, labels, 1), top_k(probabilities, labels, 5)
    missing = expected - len(labels)
    of = np.arange(len(labels)) if groups is None else groups
    lost = np.arange(len(labels), expected) if missing_groups is None else missing_groups

    def shares(wrong: int) -> dict[str, Any]:
        total, group = len(labels) + wrong, np.concatenate([of, lost[:wrong]])
        if not total:
            return {"videos": 0, "top1": None, "top5": None, "mean": None}
        top1, top5 = (np.concatenate([right, np.zeros(wrong, dtype=bool)]) for right in (right1, right5))
        return {
            "videos": total, "groups": len(np.unique(group)),
            "top1": float(top1.mean()), "top1_interval": wilson_of_groups(top1, group),
            "top5": float(top5.mean()), "top5_interval": wilson_of_groups(top5, group),
            "mean": float(top1.mean() + top5.mean()) / 2,
        }  # fmt: skip

    return {"over_evaluated": shares(0), "missing_counted_wrong": shares(missing)}


def confusion(guesses: np.ndarray, labels: np.ndarray, num_classes: int) -> np.ndarray:
    """The confusion of classes, int64 (pairs, 3): true class, predicted class and number of videos of each pair that
    occurs. A square matrix would not fit into memory for the largest lists of classes."""
    pairs, counts = np.unique(labels.astype(np.int64) * num_classes + guesses, return_counts=True)
    return np.stack([*np.divmod(pairs, num_classes), counts], axis=1).reshape(-1, 3)


def per_class(pairs: np.ndarray, classes: list[str]) -> list[dict[str, Any]]:
    """Videos and top-1 share of every class, from `confusion`; None for a class without videos."""
    totals = np.bincount(pairs[:, 0], pairs[:, 2], len(classes)).astype(np.int64)
    mine = pairs[pairs[:, 0] == pairs[:, 1]]
    right = np.bincount(mine[:, 0], mine[:, 2], len(classes))
    return [
        {"class": name, "videos": int(total), "top1": float(share / total) if total else None}
        for name, total, share in zip(classes, totals, right, strict=True)
    ]


def pairwise_accuracy(
    probabilities: np.ndarray, labels: np.ndarray, classes: list[str], pairs: list[tuple[str, str]]
) -> list[dict[str, Any]]:
    """For pairs of classes: the share of their videos whose own class beats the other's. Chance: 0.5."""
    rows = []
    for pair in pairs:
        first, second = (classes.index(name) for name in pair)
        mine = np.isin(labels, [first, second])
        own = probabilities[mine, labels[mine]]
        other = probabilities[mine, first + second - labels[mine]]
        right, count = int((own > other).sum()), int(mine.sum())
        rows.append({"pair": list(pair), "videos": count, "share": right / count if count else None,
                     "interval": wilson(right, count)})  # fmt: skip
    return rows
