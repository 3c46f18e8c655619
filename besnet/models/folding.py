"""The inference form of a trained network: the same answers with less work, and nothing random or undecided in it.

Every BatchNorm is folded into the convolution before it, which is exact because its statistics are fixed; the dilations
are settled (averaged by one pair of shifts, or fixed); the filters lie in memory as the layer uses them.
"""

import copy

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from besnet.models.dilation import (
    TemporalPadding,
    Terms,
    convolve_frames,
    inputs_side_by_side,
    outputs_side_by_side,
    stack_of_shifts,
    sum_of_shifts,
)
from besnet.models.inflate import InflatedConv, InflatedNetwork
from besnet.models.network import Network


def fold(model: Network, dilations: Tensor | None = None) -> Network:
    """A copy of the network for inference, on the same device; the original stays as it is.

    dilations: int64 (num_temporal_layers,), as in forward: the dilations to settle on; None: on the average.
    The copy takes clips only: its forward(x) accepts no draws, and train() changes nothing in it. A network without
    dilations is copied as it is.
    """
    if isinstance(model, InflatedNetwork):
        folded = folded_layers(model, dilations)
    else:
        folded = copy.deepcopy(model).eval()
    folded.for_inference = True
    return folded.requires_grad_(False)


def folded_layers(model: InflatedNetwork, dilations: Tensor | None) -> Network:
    """A copy with folded convolutions and settled dilations."""
    spacing = dict(zip(model.temporal_layers, model.in_frames(dilations), strict=True))
    # Filters are replaced one by one, so what is copied is the structure and not the parameters.
    memo: dict[int, object] = {id(p): p for p in model.parameters()}
    folded = copy.deepcopy(model, memo).eval()
    network, norms = folded.backbone, dict(folded.anatomy.norms)
    for name, module in list(network.named_modules()):
        norm = network.get_submodule(norms[name]) if name in norms else None
        if not isinstance(module, InflatedConv | nn.Conv2d) or (norm is None and name not in spacing):
            continue
        assert norm is None or isinstance(norm, _BatchNorm)
        if isinstance(module, InflatedConv):
            terms = [(d, a if isinstance(a, Tensor) and a.ndim else float(a)) for d, a in module.terms(spacing[name])]
            network.set_submodule(name, FoldedConv(module, norm, terms))
        else:
            weight, bias = normalised(module.weight, module.bias, norm)
            module.weight, module.bias = nn.Parameter(weight), nn.Parameter(bias)
        if norm is not None:
            network.set_submodule(norms[name], activation(norm))
    folded.temporal_layers, folded.num_temporal_layers = (), 0
    folded.dropout = nn.Identity()  # type: ignore[assignment]
    for name, head in model.named_children():
        if isinstance(head, nn.Linear):
            folded.add_module(name, copy.deepcopy(head))
    return folded


def normalised(weight: Tensor, bias: Tensor | None, norm: _BatchNorm | None) -> tuple[Tensor, Tensor]:
    """A filter (C_out, ...) and its bias with the BatchNorm that follows; folded in float64, to round once."""
    with torch.no_grad():
        filters = weight.double()
        offset = torch.zeros(len(weight), dtype=torch.float64, device=weight.device) if bias is None else bias.double()
        if norm is not None:
            assert norm.running_mean is not None
            assert norm.running_var is not None
            scale = (norm.running_var.double() + norm.eps).rsqrt()
            if norm.affine:
                scale = scale * norm.weight.double()
            filters = filters * scale.view(-1, *[1] * (weight.ndim - 1))
            offset = (offset - norm.running_mean.double()) * scale
            if norm.affine:
                offset = offset + norm.bias.double()
        return filters.to(weight.dtype), offset.to(weight.dtype)


def activation(norm: _BatchNorm) -> nn.Module:
    """What stays of a BatchNorm that has been folded: the activation that some libraries' BatchNorms bring along."""
    act = getattr(norm, "act", None)
    return act if isinstance(act, nn.Module) else nn.Identity()


class FoldedConv(nn.Module):
    """An InflatedConv with the BatchNorm after it in its filters and its dilations settled.

    For inference only: no gradients.
    """

    def __init__(self, conv: InflatedConv, norm: _BatchNorm | None, terms: Terms) -> None:
        super().__init__()
        weight, bias = normalised(conv.weight, conv.bias, norm)
        self.narrows = conv.narrows
        if self.narrows:
            weight = outputs_side_by_side(weight)
            bias = torch.cat([torch.zeros_like(bias), bias, torch.zeros_like(bias)])
        else:
            weight = inputs_side_by_side(weight)
        self.weight = nn.Parameter(weight.contiguous(memory_format=torch.channels_last))
        self.bias = nn.Parameter(bias)
        self.stride, self.padding, self.channels_innermost = conv.stride, conv.padding, conv.channels_innermost
        self.terms = terms
        self.temporal_padding: TemporalPadding = conv.temporal_padding
        self.num_frames = 1
        self.dilation = None  # told as to an InflatedConv, and settled already

    def extra_repr(self) -> str:
        return f"{tuple(self.weight.shape)}, stride={self.stride}, dilations and weights={self.terms}"

    def forward(self, x: Tensor) -> Tensor:
        """(B * T, C_in, H, W) → (B * T, C_out, h, w), or both with the channels innermost."""
        if self.channels_innermost:
            x = x.permute(0, 3, 1, 2)
        clips = x.unflatten(0, (-1, self.num_frames)).transpose(1, 2)
        if not self.narrows:
            clips = stack_of_shifts(clips, self.terms, self.temporal_padding)
        y = convolve_frames(clips, self.weight, self.bias, self.stride, self.padding)
        if self.narrows:
            y = sum_of_shifts(y, self.terms, self.temporal_padding)
        y = y.transpose(1, 2).flatten(0, 1)
        return y.permute(0, 2, 3, 1) if self.channels_innermost else y
