"""The one inference loop: a network on the views of a video, in chunks of one size.

Evaluation, lab, prediction, features and validation all use it, so that a video's probabilities do not depend on which
of them computes them, nor on which other videos are evaluated.
"""

from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from besnet.evaluation.probabilities import check_finite, probabilities

VIEWS_PER_CHUNK = 10

Network = Callable[[Tensor], Tensor]
Precision = Literal["32", "bf16"]


def in_precision(network: Network, precision: Precision) -> Network:
    """A network as it is (32), or under autocast to bfloat16: faster on a GPU, with slightly other answers."""
    if precision == "32":
        return network

    def in_bf16(views: Tensor) -> Tensor:
        with torch.autocast(views.device.type, torch.bfloat16):
            return network(views)

    return in_bf16


@torch.inference_mode()
def forward(network: Network, views: Tensor) -> Tensor:
    """A network's output (N, C) for views (N, 3, T, S, S)."""
    return torch.cat([network(chunk) for chunk in views.split(VIEWS_PER_CHUNK)])


def view_probabilities(network: Network, views: Tensor, what: str, multi_label: bool = False) -> np.ndarray:
    """Probabilities float32 (N, C) of views, with `multi_label` of each class by itself. ValueError that names `what`
    they are of if an output is not finite."""
    return probabilities(forward(network, views), what, multi_label)


def mean_features(features: Network, views: Tensor, what: str) -> np.ndarray:
    """Features float32 (F,), the mean over views. ValueError that names `what` they are of if one is not finite."""
    found = forward(features, views)
    check_finite(found, what)
    mean: np.ndarray = found.float().mean(dim=0).cpu().numpy()
    return mean
