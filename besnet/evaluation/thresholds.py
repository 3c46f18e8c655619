"""From which probability on a video of several labels has a label: the threshold of each class with the best F1."""

from collections.abc import Sequence

import numpy as np

from besnet.checkpoints.temperature import UNKNOWN


def best_thresholds(probabilities: np.ndarray, targets: np.ndarray) -> tuple[list[float], list[int]]:
    """The threshold of each class, and the classes without a video of theirs, whose threshold is 0.5.

    probabilities, targets (0 and 1): (N, C). A threshold lies in the middle between two neighbouring probabilities (or
    the lowest one and 0); of several with the same F1 the one nearest to 0.5 is taken.
    """
    found, unknown = [], []
    for number, (shares, wanted) in enumerate(zip(probabilities.T.astype(np.float64), targets.T > 0, strict=True)):
        if wanted.any():
            values = np.unique(shares)[::-1]
            cuts = (values + np.append(values[1:], 0.0)) / 2
            scores = np.array([f1(shares >= cut, wanted) for cut in cuts])
            best = cuts[scores == scores.max()]
            found.append(float(best[np.abs(best - 0.5).argmin()]))
        else:
            unknown.append(number)
            found.append(UNKNOWN)
    return found, unknown


def f1(said: np.ndarray, wanted: np.ndarray) -> float:
    """The harmonic mean of precision and recall, bool (N,) each."""
    return float(2 * (said & wanted).sum() / (said.sum() + wanted.sum()))


def mean_f1(probabilities: np.ndarray, targets: np.ndarray, thresholds: Sequence[float]) -> float:
    """The mean F1 of the classes that have videos."""
    said, wanted = probabilities >= np.array(thresholds), targets > 0
    there = np.flatnonzero(wanted.any(axis=0))
    return float(np.mean([f1(said[:, number], wanted[:, number]) for number in there]))
