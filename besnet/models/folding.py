"""The inference form of a trained BesNet: the same outputs with less work, and nothing random.

Every BatchNorm is folded into the convolution before it, which is exact because its statistics are fixed; the dilations
are settled (averaged by one pair of shifts, or fixed); the filters lie in memory as the layer uses them.
"""

import copy
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from besnet.models.besnet import BasicBlock, BesNet, Bottleneck, SpatialConv
from besnet.models.dilation import (
    DilationConv,
    TemporalPadding,
    Terms,
    convolve_frames,
    inputs_side_by_side,
    outputs_side_by_side,
    stack_of_shifts,
    sum_of_shifts,
)


def fold(model: BesNet, dilations: Tensor | None = None) -> BesNet:
    """A copy of the network for inference, on the same device; the original stays as it is.

    dilations: int64 (num_temporal_layers,), as in BesNet.forward: the dilations to settle on; None: on the average.
    The copy takes clips only: its forward(x) accepts no draws, and train() changes nothing in it.
    """
    spacing = iter(model.in_frames(dilations))
    # Filters are replaced one by one, so what is copied is the structure and not the parameters.
    memo: dict[int, object] = {id(p): p for p in model.parameters()}
    folded = copy.deepcopy(model, memo).eval()
    for parent, conv_name, bn_name in list(convolutions(folded)):
        conv, bn = parent.get_submodule(conv_name), parent.get_submodule(bn_name)
        assert isinstance(conv, DilationConv | SpatialConv)
        assert isinstance(bn, _BatchNorm)
        terms: Terms | None = None
        if isinstance(conv, DilationConv):
            terms = [(d, float(a)) for d, a in conv.terms(next(spacing))]
        setattr(parent, conv_name, FoldedConv(conv, bn, terms))
        setattr(parent, bn_name, nn.Identity())
    for module in folded.modules():
        if isinstance(module, Bottleneck | BasicBlock | BesNet):
            module.num_temporal_layers = 0
    folded.dropout = nn.Identity()  # type: ignore[assignment]
    folded.hidden, folded.fc = copy.deepcopy(model.hidden), copy.deepcopy(model.fc)
    return folded.requires_grad_(False)


def convolutions(model: BesNet) -> Iterator[tuple[nn.Module, str, str]]:
    """Every convolution with its BatchNorm, as (parent, name, name), the temporal ones in the order of the draws."""
    for parent in model.modules():
        names = [name for name, _ in parent.named_children()]
        if isinstance(parent, nn.Sequential):
            yield parent, "0", "1"
        else:
            yield from ((parent, name, name.replace("conv", "bn")) for name in names if name.startswith("conv"))


class FoldedConv(nn.Module):
    """A DilationConv or SpatialConv with its BatchNorm in its filters and its dilations settled.

    For inference only: no gradients.
    """

    def __init__(self, conv: DilationConv | SpatialConv, bn: _BatchNorm, terms: Terms | None) -> None:
        super().__init__()
        assert bn.running_mean is not None
        assert bn.running_var is not None
        with torch.no_grad():
            # In float64, so that folding adds no rounding of its own.
            scale = bn.weight.double() / (bn.running_var.double() + bn.eps).sqrt()
            bias = bn.bias.double() - bn.running_mean.double() * scale
            weight = conv.weight.double() * scale.view(-1, 1, 1, 1, 1)
            self.narrows = isinstance(conv, DilationConv) and conv.narrows
            if self.narrows:
                weight = outputs_side_by_side(weight)
                bias = torch.cat([torch.zeros_like(bias), bias, torch.zeros_like(bias)])
            else:
                weight = inputs_side_by_side(weight)
        dtype = conv.weight.dtype
        self.weight = nn.Parameter(weight.to(dtype).contiguous(memory_format=torch.channels_last))
        self.bias = nn.Parameter(bias.to(dtype))
        self.stride, self.padding = conv.stride, conv.padding
        self.terms = terms
        self.temporal_padding: TemporalPadding = conv.temporal_padding if isinstance(conv, DilationConv) else "zeros"

    def extra_repr(self) -> str:
        return f"{tuple(self.weight.shape)}, stride={self.stride}, dilations and weights={self.terms}"

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, T, H, W) → (B, C_out, T, h, w)."""
        if self.terms is not None and not self.narrows:
            x = stack_of_shifts(x, self.terms, self.temporal_padding)
        y = convolve_frames(x, self.weight, self.bias, self.stride, self.padding)
        if self.terms is not None and self.narrows:
            y = sum_of_shifts(y, self.terms, self.temporal_padding)
        return y
