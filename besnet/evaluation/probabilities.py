"""Logits → probabilities, and their checks: no output that is not finite is counted, stored or shown."""

import numpy as np
from torch import Tensor

SMALLEST = 1e-12  # before a logarithm: probabilities in float32 can be 0
OFF = 0.01  # how far from 1 the sum may be in float32 and half precision


def probabilities(logits: Tensor, what: str, multi_label: bool = False) -> np.ndarray:
    """Probabilities float32 (N, C) of logits: the softmax, or with `multi_label` the sigmoid of each class by itself.

    ValueError that names `what` they are of if one is not finite.
    """
    check_finite(logits, what)
    shares = logits.float().sigmoid() if multi_label else logits.float().softmax(dim=1)
    found: np.ndarray = shares.cpu().numpy()
    return found


def check_finite(output: Tensor, what: str) -> None:
    """ValueError if a network's output holds a number that is not finite."""
    if not output.isfinite().all():
        raise ValueError(
            f"{what}: the network's output is not finite: its weights are unusable; use an earlier checkpoint"
        )


def check_probabilities(shares: np.ndarray, where: str, multi_label: bool = False) -> None:
    """ValueError that names `where` they were read if the last axis does not hold probabilities.

    multi_label: of each class by itself.
    """
    if shares.dtype.kind != "f" or not np.isfinite(shares).all():
        raise ValueError(f"{where}: its probabilities are not finite numbers: evaluate again")
    if multi_label and shares.size and (shares.min() < 0 or shares.max() > 1):
        raise ValueError(f"{where}: its probabilities are below 0 or above 1: evaluate again")
    if multi_label:
        return
    if shares.size and (shares.min() < 0 or np.abs(shares.sum(axis=-1, dtype=np.float64) - 1).max() > OFF):
        raise ValueError(f"{where}: its probabilities are below 0 or do not add up to 1: evaluate again")
