"""Inference variants of one trained network: dilations, padding, BatchNorm statistics, frame interval."""

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from besnet.checkpoints import store
from besnet.checkpoints.arrays import read_arrays
from besnet.checkpoints.header import header_of, rebuild
from besnet.checkpoints.weights import check_finite
from besnet.lab.plan import Checkpoint
from besnet.models.folding import fold
from besnet.models.network import Network
from besnet.models.recalibration import set_statistics
from besnet.reading import read_bytes
from besnet.video.sampling import ClipShape

LARGEST = 2**30  # bytes of a file of statistics


@dataclass(frozen=True)
class InferenceVariant:
    """One way to run a trained network; the defaults are those of its training.

    dilations: the set to average over in place of its own. padding: the temporal padding in place of its own.
    recalibrated: with BatchNorm statistics measured again for this variant. factor: on the frame interval.
    """

    dilations: tuple[int, ...] | None = None
    padding: str | None = None
    recalibrated: bool = False
    factor: float = 1.0


def inference_variants(
    checkpoint: dict[str, Any], fixed: list[int], factors: list[float]
) -> dict[str, InferenceVariant]:
    """Every inference variant of a checkpoint's network by name; equal ones share one object.

    fixed: dilations to evaluate one at a time.
    """
    model = checkpoint["besnet"]["model"]
    found = {"averaged": InferenceVariant()}
    norms = any(name.endswith(".running_var") for name in checkpoint["state_dict"])
    if norms and not model.get("frame_features"):  # its BatchNorms are frozen by definition
        found["recalibrated"] = InferenceVariant(recalibrated=True)
    own = list(model.get("dilations", ()))
    for dilation in fixed if own else []:
        found[f"dilation_{dilation}"] = (
            InferenceVariant() if own == [dilation] else InferenceVariant(dilations=(dilation,))
        )
    for padding in ("zeros", "replicate") if own else ():
        other = None if padding == model["temporal_padding"] else padding
        found[f"padding_{padding}"] = InferenceVariant(padding=other)
        found[f"padding_{padding}_recalibrated"] = InferenceVariant(padding=other, recalibrated=True)
    return found | {f"interval_{factor:g}": InferenceVariant(factor=factor) for factor in factors}


def loaded(checkpoint: Checkpoint) -> dict[str, Any]:
    """A checkpoint of the lab. ValueError if its bytes have changed since the lab started."""
    stored = store.read(Path(checkpoint.file))
    if stored.hash != checkpoint.hash:
        raise ValueError(f"{checkpoint.file}: the file has changed since the lab started: start the lab again")
    header_of(stored.content, checkpoint.file)
    return stored.content


def network_for(checkpoint: dict[str, Any], variant: InferenceVariant, named: str | None = None) -> Network:
    """The network of a checkpoint as a variant, with the BatchNorm statistics of its training.

    named: its class, where it is one of the user's own.
    """
    entry = checkpoint["besnet"]
    model, weights = dict(entry["model"]), checkpoint["state_dict"]
    if variant.padding is not None:
        model["temporal_padding"] = variant.padding
    if variant.dilations is not None:
        # a learned mixture has no use for its weights at a single dilation
        model |= {"dilations": list(variant.dilations), "mixture": "uniform"}
        weights = {name: value for name, value in weights.items() if not name.endswith("mixture_logits")}
    return rebuild(checkpoint | {"besnet": entry | {"model": model}, "state_dict": weights}, named=named).network


def ready_network(
    checkpoint: dict[str, Any],
    variant: InferenceVariant,
    statistics: Path,
    device: torch.device,
    named: str | None = None,
) -> Network:
    """The folded network of a variant; statistics: the file of its BatchNorm statistics, if it is recalibrated."""
    network = network_for(checkpoint, variant, named)
    if variant.recalibrated:
        found = read_arrays(statistics, read_bytes(statistics, LARGEST))
        set_statistics(network, torch.from_numpy(found["measured"]), torch.from_numpy(found["clips"]))
        check_finite(network.state_dict(), str(statistics))
    return fold(network.to(device))


def cannot_show(shape: ClipShape, factor: float) -> str:
    """Why clips cannot have their frames exactly `factor` times as far apart in time; empty where they can."""
    if factor == 1:
        return ""
    if shape.sampling == "uniform":
        return "with data.clip.sampling uniform a clip spans the whole video at any interval"
    interval = shape.frame_interval * factor
    if shape.target_fps is not None and shape.grid == 1:
        return ""  # frames are picked by time
    whole = shape.grid * max(1, round(interval / shape.grid))
    if math.isclose(interval, whole):
        return ""
    reason = f"data.clip.grid {shape.grid}" if shape.grid > 1 else "data.clip.target_fps null"
    return f"{interval:g} frames apart cannot be picked with {reason}"


def at_factor(shape: ClipShape, factor: float) -> ClipShape:
    """A clip whose frames are `factor` times as far apart in time, which `cannot_show` must allow."""
    assert not cannot_show(shape, factor)
    if factor == 1:
        return shape
    if shape.target_fps is not None:
        return replace(shape, target_fps=shape.target_fps / factor)
    return replace(shape, frame_interval=round(shape.frame_interval * factor))
