"""A 2D network's weights → the weights of its inflated form: what an ImageNet start needs.

A 2D filter fills the three taps of a temporal layer: copied along time and divided by their number, so that on a still
video the layer answers as the 2D one did, or as the middle tap alone, so that every frame of any video does.
Source: J. Carreira and A. Zisserman, "Quo Vadis, Action Recognition?", 2017 (the copies).
"""

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from besnet.models.inflate import InflatedNetwork

Inflation = Literal["average", "centre"]


def inflate_weights(
    flat: Mapping[str, Tensor], network: InflatedNetwork, inflation: Inflation = "average"
) -> dict[str, Tensor]:
    """The state dict of a 2D network, with the names of its library → that of `network`, its inflated form.

    The last layer keeps the network's values where the numbers of classes differ, as do parameters that no 2D network
    has (a learned mixture's, a hidden layer's). ValueError where names or shapes show that it is another network.
    """
    target = network.state_dict()
    names = {name: own_name(name, network.anatomy.head) for name in target}
    unknown = sorted(set(flat) - set(names.values()))
    if unknown:
        raise ValueError(f"weights: {unknown[0]!r} has no place in this network ({len(unknown)} such names): {ADVICE}")
    found = {}
    for name, value in target.items():
        flat_name = names[name]
        if flat_name not in flat:
            if name.endswith((".mixture_logits", ".num_batches_tracked")) or name.startswith("hidden."):
                found[name] = value
                continue
            raise ValueError(f"weights: {flat_name!r} is missing: {ADVICE}")
        source = flat[flat_name]
        if value.ndim == 5 and source.ndim in (2, 4):
            source = taps(source if source.ndim == 4 else source[..., None, None], inflation)
        if source.shape == value.shape:
            found[name] = source.to(value.dtype)
        elif name.startswith("fc.") and source.shape[1:] == value.shape[1:]:
            found[name] = value
        else:
            raise ValueError(
                f"weights: {flat_name!r} has shape {tuple(flat[flat_name].shape)}, "
                f"which cannot fill {tuple(value.shape)}: {ADVICE}"
            )
    return found


def own_name(name: str, head: str) -> str:
    """The name that a weight of an inflated network has in its 2D network."""
    if name.startswith("fc."):
        return f"{head}.{name.removeprefix('fc.')}"
    return name.removeprefix("backbone.")


def taps(weight: Tensor, inflation: Inflation) -> Tensor:
    """A filter (C_out, C_in, k, k) in three taps: (C_out, C_in, 3, k, k)."""
    if inflation == "average":
        return (weight / 3).unsqueeze(2).repeat(1, 1, 3, 1, 1)
    return torch.stack([torch.zeros_like(weight), weight, torch.zeros_like(weight)], 2)


ADVICE = "give the weights of the 2D network that the config's model names (backbone, or block, blocks and width)"
