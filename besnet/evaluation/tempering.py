"""Probabilities with a temperature, and the temperature that fits best.

Source: C. Guo et al., "On Calibration of Modern Neural Networks", 2017. Probabilities are the mean over a video's
views; a temperature T turns them into softmax(log p / T), which for a single view divides the logits by T.
"""

import math

import numpy as np

from besnet.checkpoints.temperature import LEAST, MOST
from besnet.evaluation.probabilities import SMALLEST


def tempered(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """softmax(log p / T) of probabilities (N, C): the same predictions, with less confidence for T > 1."""
    logits = np.log(np.maximum(probabilities.astype(np.float64), SMALLEST)) / temperature
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: np.ndarray = powers / powers.sum(axis=1, keepdims=True)
    return shares


def fit_temperature(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """The temperature within its bounds that makes the labels most likely."""
    logs = np.log(np.maximum(probabilities.astype(np.float64), SMALLEST))
    own = np.take_along_axis(logs, labels[:, None], axis=1).mean()
    low, high = math.log(LEAST), math.log(MOST)
    # the likelihood is concave in 1 / T: its slope has one zero
    for _ in range(60):
        middle = (low + high) / 2
        expected = (tempered(probabilities, math.exp(middle)) * logs).sum(axis=1).mean()
        low, high = (low, middle) if expected < own else (middle, high)
    return min(max(math.exp((low + high) / 2), LEAST), MOST)
