"""Average precision (AP) of each class, and their mean (mAP), where a video may have several labels or none.

AP is the area below the steps of precision over recall, without interpolation: the sum over the videos of a class of
the precision at their place in the ranking, divided by their number. Videos of equal probability share one place. It
is scikit-learn's average_precision_score. A class without positive videos has no AP, and is left out of the mean.
"""

from typing import Any

import numpy as np

RESAMPLES = 1000
FEWEST, MOST_CELLS = 200, 10**9  # of large evaluations: so many videos x classes x resamples


def average_precisions(scores: np.ndarray, targets: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """AP of each class, float64 (C,), nan without positives: scores (N, C), targets (N, C) of 0 and 1.

    weights: how often each video counts (N,); None for once.
    """
    return Ranking(scores, targets).average_precisions(weights)


class Ranking:
    """The videos in the order of their scores, class by class, so that they can be weighted again and again."""

    def __init__(self, scores: np.ndarray, targets: np.ndarray) -> None:
        count = len(scores)
        self.order = np.argsort(-scores, axis=0, kind="stable")
        ranked = np.take_along_axis(scores, self.order, axis=0)
        self.positive = np.take_along_axis(targets > 0, self.order, axis=0)
        places = np.arange(count)[:, None]
        last = np.ones_like(self.positive)
        last[:-1] = ranked[:-1] != ranked[1:]
        # the last place of each run of equal scores
        self.end = np.minimum.accumulate(np.where(last, places, count)[::-1], axis=0)[::-1]

    def average_precisions(self, weights: np.ndarray | None = None) -> np.ndarray:
        """See above."""
        count = np.ones(len(self.order)) if weights is None else weights.astype(np.float64)
        each = count[self.order]
        found = each * self.positive
        hits = np.take_along_axis(np.cumsum(found, axis=0), self.end, axis=0)
        shown = np.take_along_axis(np.cumsum(each, axis=0), self.end, axis=0)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray((found * np.nan_to_num(hits / shown)).sum(axis=0) / found.sum(axis=0))


def mean_of_known(values: np.ndarray) -> float | None:
    """The mean of the classes that have an AP; None where none has."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else None


def summary(
    scores: np.ndarray, targets: np.ndarray, groups: np.ndarray, missing: np.ndarray, classes: list[str]
) -> dict[str, Any]:
    """The mAP of the evaluated videos with its 95 % interval, and the AP of each class.

    groups: of each video (N,), any values; videos of a group count together. missing: videos of each class that were
    not evaluated (C,): `missing_counted_wrong` takes them for never found.
    """
    values = average_precisions(scores, targets)
    positives = (targets > 0).sum(axis=0)
    share = np.where(positives > 0, positives / np.maximum(positives + missing, 1), np.where(missing > 0, 0.0, np.nan))
    draws = bootstrap([Ranking(scores, targets)], groups) if len(scores) else np.full((1, 1), np.nan)
    return {
        "map": mean_of_known(values),
        "interval": interval(draws[:, 0], groups, 0.0),
        "missing_counted_wrong": mean_of_known(np.where(positives > 0, values, 0.0) * share),
        "videos": len(scores),
        "classes": int((positives > 0).sum()),
        "without_positives": [name for name, count in zip(classes, positives, strict=True) if not count],
        "per_class": [
            {"class": name, "positives": int(count), "ap": None if np.isnan(value) else float(value)}
            for name, count, value in zip(classes, positives, values, strict=True)
        ],
    }


def bootstrap(rankings: list[Ranking], groups: np.ndarray) -> np.ndarray:
    """mAP of each ranking in resamples of the groups (resamples, rankings), the same resamples for all of them."""
    numbers = np.unique(groups, return_inverse=True)[1]
    count = int(numbers.max()) + 1
    rng = np.random.default_rng(0)
    resamples = min(RESAMPLES, max(FEWEST, MOST_CELLS // max(1, rankings[0].positive.size)))
    found = np.full((resamples, len(rankings)), np.nan)
    for place in range(resamples):
        weights = np.bincount(rng.integers(count, size=count), minlength=count)[numbers]
        means = [mean_of_known(ranking.average_precisions(weights)) for ranking in rankings]
        found[place] = [np.nan if mean is None else mean for mean in means]
    return found


def interval(draws: np.ndarray, groups: np.ndarray, least: float) -> list[float]:
    """The middle 95 % of the resamples; all that is possible, from `least` to 1, where there are not two groups."""
    known = draws[~np.isnan(draws)]
    if len(np.unique(groups)) < 2 or not len(known):
        return [least, 1.0]
    return [float(bound) for bound in np.quantile(known, [0.025, 0.975])]
