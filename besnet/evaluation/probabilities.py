"""Logits → probabilities, and what may be called so: nothing that is not finite is ever counted, stored or shown."""

import numpy as np
from torch import Tensor

OFF = 0.01  # what float32 and half precision may add up to besides 1


def softmax(logits: Tensor, what: str) -> np.ndarray:
    """Probabilities float32 (N, C) of logits. ValueError that names `what` they are of if one is not finite."""
    check_finite(logits, what)
    shares: np.ndarray = logits.float().softmax(dim=1).cpu().numpy()
    return shares


def check_finite(answer: Tensor, what: str) -> None:
    """ValueError if a network's output holds a number that is not finite."""
    if not answer.isfinite().all():
        raise ValueError(
            f"{what}: the network's output is not finite: nothing can be said with these weights; use an earlier "
            "checkpoint"
        )


def check_probabilities(shares: np.ndarray, where: str) -> None:
    """ValueError that names `where` they were read if the last axis does not hold probabilities."""
    if shares.dtype.kind != "f" or not np.isfinite(shares).all():
        raise ValueError(f"{where}: its probabilities are not finite numbers: evaluate again")
    if shares.size and (shares.min() < 0 or np.abs(shares.sum(axis=-1, dtype=np.float64) - 1).max() > OFF):
        raise ValueError(f"{where}: its probabilities are below 0 or do not add up to 1: evaluate again")
