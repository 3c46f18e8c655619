"""The one inference loop: a network on the views of videos, in chunks of one size.

Evaluation, lab, prediction, features and validation all use it, so that a video's probabilities do not depend on which
of them computes them (on a GPU, but for rounding), nor on which other videos are evaluated.
"""

from collections import deque
from collections.abc import Callable
from typing import Generic, Literal, TypeVar

import numpy as np
import torch
from torch import Tensor

from besnet.evaluation.probabilities import check_finite, probabilities

VIEWS_PER_CHUNK = 10

Network = Callable[[Tensor], Tensor]
Video = TypeVar("Video")
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


class Chunks(Generic[Video]):
    """A network on the views of many videos. A chunk holds views of several; the last one is filled up.

    All chunks have one shape, so that no output depends on what else is in its chunk. The outputs of a chunk are given
    back when the next one is on its way, because reading them waits for the device.
    """

    def __init__(self, network: Network) -> None:
        self.network = network
        self.waiting: deque[tuple[Video, int]] = deque()  # with the number of their views
        self.views: list[Tensor] = []  # which no chunk has had yet
        self.outputs: list[Tensor] = []  # for the first views of those that wait

    def add(self, video: Video, views: Tensor) -> list[tuple[Video, Tensor]]:
        """Take a video's views (N, 3, T, S, S); give back the videos that are complete, with their outputs (N, C)."""
        self.waiting.append((video, len(views)))
        self.views += views
        done = []
        while len(self.views) >= VIEWS_PER_CHUNK:
            fresh = self._run(self.views[:VIEWS_PER_CHUNK])
            del self.views[:VIEWS_PER_CHUNK]
            done += self._complete()
            self.outputs += fresh
        return done

    def rest(self) -> list[tuple[Video, Tensor]]:
        """Give back all that are left."""
        if self.views:
            filling = self.views[-1:] * (VIEWS_PER_CHUNK - len(self.views))
            self.outputs += self._run(self.views + filling)[: len(self.views)]
            self.views = []
        return self._complete()

    @torch.inference_mode()
    def _run(self, views: list[Tensor]) -> Tensor:
        return self.network(torch.stack(views))

    def _complete(self) -> list[tuple[Video, Tensor]]:
        done = []
        while self.waiting and self.waiting[0][1] <= len(self.outputs):
            video, count = self.waiting.popleft()
            done.append((video, torch.stack(self.outputs[:count])))
            del self.outputs[:count]
        return done


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
