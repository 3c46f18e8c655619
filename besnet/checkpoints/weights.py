"""Weights into their network: names and sizes are compared before anything is built."""

from typing import Any

import torch
from torch import Tensor

from besnet.models.build import build, build_shapes
from besnet.models.network import Network
from besnet.schema import said

# what a description may ask for; the weights have to fit it besides
MOST = {"num_classes": 100_000, "width": 8192}
MOST_BLOCKS, MOST_STAGES = 2000, 8
MOST_DILATIONS, LONGEST_DILATION = 64, 4096


def fill(model: dict[str, Any], weights: dict[str, Tensor], where: str, named: str | None = None) -> Network:
    """The network of these arguments (see besnet.models.build) with these weights, in evaluation mode.

    named: what the user calls the network, which alone lets a class of his own be imported. ValueError that names
    `where` and the weight that is missing, too much, of another size or not finite. Until the names and sizes are seen
    to fit, nothing takes memory.
    """
    check_model(model, where)
    check_named(model, where, named)
    if sum(model.get("blocks", ())) > len(weights):
        raise ValueError(f"{where}: the weights do not fit the network: {sum(model['blocks'])} blocks, and "
                         f"{len(weights)} tensors")  # fmt: skip
    try:
        expected = build_shapes(model).state_dict()
    except (ValueError, TypeError, RuntimeError, OverflowError) as error:
        raise ValueError(f"{where}: model: {error}") from None
    check_fit(expected, weights, where)
    check_finite(weights, where)
    network = build(model)
    network.load_state_dict(weights)
    return network.eval()


def check_named(model: dict[str, Any], where: str, named: str | None) -> None:
    """ValueError for a class that the user has not named, and for a network that is another one than he says."""
    own = model.get("network", "besnet")
    if named is not None and named != own:
        raise ValueError(f"--network {named}: {where} holds the network {own}")
    if ":" in own and named is None:
        raise ValueError(
            f"{where}: its network is the class {said(own)}, and a checkpoint imports nothing: if you trust that code, "
            f"name it with --network {own}"
        )


def check_model(model: dict[str, Any], where: str) -> None:
    """ValueError for a network that nobody trains, and that would take hours and all memory to build."""
    for name, most in MOST.items():
        if model.get(name, 1) > most:
            raise ValueError(f"{where}: model.{name}: at most {most} is expected, not {said(model[name])}")
    blocks, dilations = model.get("blocks", [1]), model.get("dilations", [])
    if len(blocks) > MOST_STAGES or sum(blocks) > MOST_BLOCKS:
        raise ValueError(f"{where}: model.blocks: at most {MOST_BLOCKS} blocks in {MOST_STAGES} stages are expected")
    if len(dilations) > MOST_DILATIONS or max(dilations, default=1) > LONGEST_DILATION:
        raise ValueError(
            f"{where}: model.dilations: at most {MOST_DILATIONS} of at most {LONGEST_DILATION} frames are expected"
        )


def check_fit(expected: dict[str, Tensor], weights: dict[str, Tensor], where: str) -> None:
    """ValueError if weights are not those of a network, whose own may be on the device `meta`."""
    if expected.keys() != weights.keys():
        lacking = sorted(expected.keys() - weights.keys())
        what = f"no {lacking[0]}" if lacking else f"{said(min(weights.keys() - expected.keys()))} is not one of its"
        raise ValueError(f"{where}: the weights do not fit the network: {what}")
    for name, wanted in expected.items():
        weight = weights[name]
        if weight.shape != wanted.shape:
            raise ValueError(
                f"{where}: the weights do not fit the network: {name} has the shape {tuple(weight.shape)}, "
                f"not {tuple(wanted.shape)}"
            )
        if weight.layout != torch.strided or weight.is_quantized or weight.is_meta or weight.is_complex():
            raise ValueError(f"{where}: {name}: a plain tensor of numbers is expected")
    # a tensor may claim any size with the bytes of one number
    claimed = sum(weight.numel() * weight.element_size() for weight in weights.values())
    there = {weight.untyped_storage().data_ptr(): weight.untyped_storage().nbytes() for weight in weights.values()}
    if claimed > sum(there.values()):
        raise ValueError(f"{where}: the weights claim {claimed:,} bytes, and {sum(there.values()):,} are there")


def check_finite(weights: dict[str, Tensor], where: str) -> None:
    """ValueError that names the first weight that is not finite, or the first variance below 0."""
    for name, weight in weights.items():
        if not weight.isfinite().all():
            bad = int((~weight.isfinite()).sum())
            raise ValueError(f"{where}: {bad} of {weight.numel()} numbers of {said(name)} are not finite: not usable")
        if name.endswith("running_var") and (weight < 0).any():
            raise ValueError(f"{where}: {said(name)} holds a variance below 0: not usable")
