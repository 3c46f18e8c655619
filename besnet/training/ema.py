"""A second set of weights: the exponential moving average (EMA) of those that are trained."""

import copy

import torch
from torch import nn


class Average(nn.Module):
    """The moving average of a network's weights, and of its BatchNorms' statistics, as a network of its own.

    After optimiser step n (from 0) the average moves by 1 - min(decay, (1 + n) / (10 + n)) towards the weights: the
    start, which is worth little, is soon forgotten, and a short training needs no other decay than a long one.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        super().__init__()
        self.decay = decay
        self.network = copy.deepcopy(network).requires_grad_(False)

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Move towards `network` as it is after optimiser step number `step`."""
        decay = min(self.decay, (1 + step) / (10 + step))
        now = network.state_dict()
        averages, weights = [], []
        for name, value in self.network.state_dict().items():
            if value.is_floating_point():
                averages.append(value)
                weights.append(now[name])
            else:
                value.copy_(now[name])  # BatchNorm's count of batches
        torch._foreach_lerp_(averages, weights, 1 - decay)
