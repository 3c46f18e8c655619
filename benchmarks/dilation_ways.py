"""Four ways to compute the dilation layer, with one interface; tests hold them equal.

    way(x, weight, terms, padding) -> y

x (B, C_in, T, H, W); weight (C_out, C_in, 3, k, k); terms: dilations in frames with their weights, which sum to 1;
padding "zeros" or "replicate"; y (B, C_out, T, H, W). The product ships the first one until a device's figures say
otherwise (benchmarks/gpu measures them).
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from besnet.models.dilation import (
    TemporalPadding,
    Terms,
    convolve_frames,
    inputs_side_by_side,
    outputs_side_by_side,
    shift,
    stack_of_shifts,
    sum_of_shifts,
)

Way = Callable[[Tensor, Tensor, Terms, TemporalPadding], Tensor]


def stacked(x: Tensor, weight: Tensor, terms: Terms, padding: TemporalPadding) -> Tensor:
    """The product's way: one 2D convolution, and shifts of the thinner side."""
    side = weight.shape[-1] // 2
    if weight.shape[1] > weight.shape[0]:
        taps = convolve_frames(x, outputs_side_by_side(weight), None, 1, side)
        return sum_of_shifts(taps, terms, padding)
    return convolve_frames(stack_of_shifts(x, terms, padding), inputs_side_by_side(weight), None, 1, side)


def conv3d(x: Tensor, weight: Tensor, terms: Terms, padding: TemporalPadding) -> Tensor:
    """The library's 3D convolution; an average is one with taps at every dilation of the set."""
    reach, side = max(d for d, _ in terms), weight.shape[-1] // 2
    if padding == "replicate":
        x = torch.cat([x[:, :, :1].expand(-1, -1, reach, -1, -1), x, x[:, :, -1:].expand(-1, -1, reach, -1, -1)], 2)
        beyond = 0
    else:
        beyond = reach
    if len(terms) == 1:
        return F.conv3d(x, weight, padding=(beyond, side, side), dilation=(reach, 1, 1))
    wide = weight.new_zeros(*weight.shape[:2], 2 * reach + 1, *weight.shape[3:])
    wide[:, :, reach] = weight[:, :, 1]
    for d, a in terms:
        wide[:, :, reach - d] += a * weight[:, :, 0]
        wide[:, :, reach + d] += a * weight[:, :, 2]
    return F.conv3d(x, wide, padding=(beyond, side, side))


def accumulated(x: Tensor, weight: Tensor, terms: Terms, padding: TemporalPadding) -> Tensor:
    """Three 2D convolutions, whose outputs are shifted and added."""
    side = weight.shape[-1] // 2
    past, present, future = (convolve_frames(x, weight[:, :, tap], None, 1, side) for tap in range(3))
    for d, a in terms:
        present = present + a * shift(past, -d, padding) + a * shift(future, d, padding)
    return present


def gathered(x: Tensor, weight: Tensor, terms: Terms, padding: TemporalPadding) -> Tensor:
    """A Triton kernel that gathers rows at t-d, t and t+d into one product; filters of one pixel only."""
    from benchmarks.dilation_triton import gathered_product

    return gathered_product(x, weight, terms, padding)


WAYS: dict[str, Way] = {"stacked": stacked, "conv3d": conv3d, "accumulated": accumulated, "gathered": gathered}
