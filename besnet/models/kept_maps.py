"""Kept maps: what the first layers of a network put out, computed once for every frame, in place of clips.

Where these layers are frozen, most of a fine-tuning's time goes into computing the same again. A network that takes
kept maps lets them pass by its first layers, whose weights stay where they are: it takes clips as well.
"""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from besnet.models.depth import depths
from besnet.models.network import Network

SIDE = 64  # pixels of the clip that a network is tried with


class _Reached(Exception):  # noqa: N818  (not an error: the rest of the network need not run)
    """The maps are there."""

    def __init__(self, maps: Tensor) -> None:
        self.maps = maps


def first_modules(network: Network, blocks: int) -> tuple[str, ...]:
    """The names of the modules of the stem and so many blocks, counted as besnet.models.depth does.

    ValueError where there are fewer blocks, or where one of these modules has taps in time and sees more than a frame.
    """
    body = depths(network)[:-1]
    if blocks >= len(body):
        raise ValueError(f"maps after {blocks} blocks: the network has {len(body) - 1} blocks after its stem")
    names = tuple(name for depth in body[: blocks + 1] for name in depth.modules)
    inside = tuple(f"{name}." for name in names)
    if any(f"backbone.{layer}.".startswith(inside) for layer in network.temporal_layers):
        raise ValueError(f"model.taps_after must be at least {blocks}: maps are kept after {blocks} blocks, of frames")
    return names


@contextmanager
def passed_by(network: nn.Module, names: Sequence[str]) -> Iterator[None]:
    """Let these modules hand on what they are given meanwhile."""
    before = [network.get_submodule(name) for name in names]
    nothing = nn.Identity()
    try:
        for name in names:
            network.set_submodule(name, nothing)
        yield
    finally:
        for name, module in zip(names, before, strict=True):
            network.set_submodule(name, module)


@torch.no_grad()
def kept_maps(network: Network, clips: Tensor) -> Tensor:
    """The maps of clips (B, 3, T, H, W), normalised → (B, C, T, h, w), for a network that takes them."""

    def reached(_module: nn.Module, _inputs: object, output: Tensor) -> None:
        raise _Reached(output)

    hook = network.get_submodule(network.passed[-1]).register_forward_hook(reached)
    try:
        network(clips)
    except _Reached as found:
        return found.maps.unflatten(0, (len(clips), -1)).transpose(1, 2)
    finally:
        hook.remove()
    raise ValueError(f"{network.passed[-1]} does not run")


@torch.no_grad()
def check_passing(network: Network) -> None:
    """ValueError unless a network goes on from kept maps as it does from the clip that they are of, bit by bit."""
    device = next(network.parameters()).device
    clip = torch.randn(1, 3, 2, SIDE, SIDE, generator=torch.Generator().manual_seed(0)).to(device)
    training = network.training
    try:
        network.eval()
        same = torch.equal(network(kept_maps(network, clip)), network(clip))
    except (RuntimeError, TypeError, ValueError, AssertionError):
        same = False
    finally:
        network.train(training)
    if not same:
        raise ValueError(
            f"the network does not go on from the maps after {network.passed[-1].removeprefix('backbone.')}: it does "
            "more with them than its next layers say: train on the prepared videos"
        )


def passed_hash(network: Network) -> str:
    """A hash of the weights and statistics of the modules that kept maps pass by."""
    digest = hashlib.blake2b(digest_size=16)
    for name in network.passed:
        for own, value in network.get_submodule(name).state_dict().items():
            if not own.endswith("num_batches_tracked"):
                digest.update(f"{name}.{own} {tuple(value.shape)} {value.dtype}\n".encode())
                digest.update(value.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
