"""Which labels are likely wrong, by the probabilities of networks or heads that have not learned from these videos.

Source: C. Northcutt et al., "Confident Learning: Estimating Uncertainty in Dataset Labels", 2021; the score is the
normalised margin of its library cleanlab, with probabilities adjusted by each class's threshold.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from besnet.evaluation.linear_heads import Videos, fit_heads
from besnet.evaluation.probabilities import SMALLEST

FOLDS = 5


@dataclass(frozen=True)
class Doubts:
    """The judged videos, the most doubtful first: place among all, suggested class, and score from 0 (wrong) to 1.

    likely: how many of them, from the first one on, are likely wrong.
    """

    places: np.ndarray
    suggested: np.ndarray
    scores: np.ndarray
    likely: int


def fold_numbers(labels: np.ndarray, groups: Sequence[str], seed: int = 0) -> np.ndarray:
    """The fold of each video, int64 (N,): classes are spread over the folds, and a group is never in two.

    ValueError where there are not two groups.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    numbers = np.unique(np.array(groups), return_inverse=True)[1]
    count = min(FOLDS, int(numbers.max()) + 1)
    if count < 2:
        raise ValueError("all videos are of one group: nothing can be learned without it, so no label can be judged")
    found = np.empty(len(labels), dtype=np.int64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of classes with fewer videos than folds
        split = StratifiedGroupKFold(count, shuffle=True, random_state=seed).split(labels, labels, numbers)
        for number, (_, held_out) in enumerate(split):
            found[held_out] = number
    return found


def judged(labels: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """Which videos can be judged, bool (N,): those whose class is in other folds as well."""
    counts = np.zeros((folds.max() + 1, labels.max() + 1), dtype=np.int64)
    np.add.at(counts, (folds, labels), 1)
    able: np.ndarray = counts.sum(0)[labels] > counts[folds, labels]
    return able


def out_of_fold(videos: Videos, folds: np.ndarray, num_classes: int, strengths: Sequence[float]) -> np.ndarray:
    """Probabilities float32 (N, C) by linear heads that have learned from the other folds.

    The strength is that with the lowest mean of -log(p) on the held-out videos.
    """
    found = {strength: np.zeros((len(folds), num_classes), dtype=np.float32) for strength in strengths}
    for number in range(folds.max() + 1):
        held_out = folds == number
        for strength, head in fit_heads(videos.some(~held_out), num_classes, strengths):
            found[strength][held_out] = head.probabilities(videos.features[held_out]).mean(axis=1)
    able = judged(videos.labels, folds)

    def loss(strength: float) -> float:
        own = np.take_along_axis(found[strength], videos.labels[:, None], axis=1)[able]
        return float(-np.log(np.maximum(own, SMALLEST)).mean())

    return found[min(strengths, key=loss)]


def doubts(probabilities: np.ndarray, labels: np.ndarray, able: np.ndarray) -> Doubts:
    """Order the videos that can be judged (bool (N,)) by how little their labels fit probabilities (N, C)."""
    places = np.flatnonzero(able)
    shares, given = probabilities[places].astype(np.float64), labels[places]
    classes = shares.shape[1]
    own = np.take_along_axis(shares, given[:, None], axis=1)[:, 0]
    counts = np.bincount(given, minlength=classes)
    # what is usual for a class: a shy class is not one of wrong labels
    usual = np.bincount(given, own, classes) / np.maximum(counts, 1)
    usual[counts == 0] = own.mean()
    adjusted = shares - usual + usual.max()
    adjusted /= adjusted.sum(axis=1, keepdims=True)
    others = adjusted.copy()
    np.put_along_axis(others, given[:, None], -1.0, axis=1)
    suggested = others.argmax(axis=1)
    margin = np.take_along_axis(adjusted, given[:, None], axis=1)[:, 0] - others.max(axis=1)
    scores = (margin + 1) / 2
    sure = np.take_along_axis(shares, suggested[:, None], axis=1)[:, 0] >= usual[suggested]
    likely = int((sure & (margin < 0)).sum())
    order = np.argsort(scores, kind="stable")
    return Doubts(places[order], suggested[order], scores[order], likely)
