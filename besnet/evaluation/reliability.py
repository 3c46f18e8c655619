"""Confidence compared with accuracy: the expected calibration error and the negative log-likelihood."""

from typing import Any

import numpy as np

from besnet.evaluation.probabilities import SMALLEST

BINS = 15


def reliability(probabilities: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """The expected calibration error and its bins: probabilities (N, C), labels (N,), N >= 1.

    Videos are put into 15 bins of equal width by confidence; each bin has its number of videos,
    their mean confidence and their accuracy (None where it is empty). The error is the mean distance of the two.
    """
    confidences = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    where = np.minimum((confidences * BINS).astype(np.int64), BINS - 1)
    bins = []
    error = 0.0
    for number in range(BINS):
        mine = where == number
        count = int(mine.sum())
        confidence = float(confidences[mine].mean()) if count else None
        accuracy = float(right[mine].mean()) if count else None
        bins.append({"videos": count, "confidence": confidence, "accuracy": accuracy})
        if confidence is not None and accuracy is not None:
            error += count / len(labels) * abs(confidence - accuracy)
    return {"ece": error, "bins": bins, "negative_log_likelihood": negative_log_likelihood(probabilities, labels)}


def negative_log_likelihood(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """The mean of -log(probability of the true class)."""
    own = np.take_along_axis(probabilities, labels[:, None], axis=1)
    return float(-np.log(np.maximum(own, SMALLEST)).mean())
