"""A 2D network's weights → the weights of the same network with time: what an ImageNet start needs.

A filter is copied along time and divided by the number of copies, so that on a still video the output
stays the same. Source: J. Carreira and A. Zisserman, "Quo Vadis, Action Recognition?", 2017.
"""

from collections.abc import Mapping

from torch import Tensor


def inflate(flat: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """State dict of a torchvision ResNet + the state dict of a BesNet → the latter with the former's values.

    Filters (C_out, C_in, k, k) become (C_out, C_in, t, k, k). The last layer (fc) keeps the target's values where the
    numbers of classes differ, as do parameters that no 2D network has (a learned mixture's, a hidden layer's).
    Raises ValueError where names or shapes show that it is another network.
    """
    unknown = sorted(set(flat) - set(target))
    if unknown:
        raise ValueError(f"weights: {unknown[0]!r} has no place in this network ({len(unknown)} such names): {ADVICE}")
    inflated = {}
    for name, value in target.items():
        if name not in flat:
            if name.endswith((".mixture_logits", ".num_batches_tracked")) or name.startswith("hidden."):
                inflated[name] = value
                continue
            raise ValueError(f"weights: {name!r} is missing: {ADVICE}")
        source = flat[name]
        if value.ndim == 5 and source.ndim == 4:
            frames = value.shape[2]
            source = (source / frames).unsqueeze(2).repeat(1, 1, frames, 1, 1)
        if source.shape == value.shape:
            inflated[name] = source.to(value.dtype)
        elif name.startswith("fc.") and source.shape[1:] == value.shape[1:]:
            inflated[name] = value
        else:
            raise ValueError(
                f"weights: {name!r} has shape {tuple(flat[name].shape)}, "
                f"which cannot fill {tuple(value.shape)}: {ADVICE}"
            )
    return inflated


ADVICE = "give the weights of the torchvision ResNet with the same block, blocks and width"
