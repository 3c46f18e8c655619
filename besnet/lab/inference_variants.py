"""Inference variants of one trained network: dilations, padding, BatchNorm statistics, frame interval."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from besnet.checkpoints import store
from besnet.checkpoints.arrays import read_arrays
from besnet.checkpoints.header import header_of, rebuild
from besnet.checkpoints.weights import check_finite
from besnet.data.manifest import Manifest
from besnet.evaluation.kept_maps import take_maps
from besnet.lab.plan import Checkpoint, Family, Plan
from besnet.models.folding import fold
from besnet.models.network import Network
from besnet.models.recalibration import set_statistics
from besnet.reading import read_bytes

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
    checkpoint: dict[str, Any], fixed: list[int], factors: list[float], families: Sequence[Family]
) -> dict[str, InferenceVariant]:
    """The inference variants of a checkpoint's network by name; equal ones share one object.

    fixed: dilations to evaluate one at a time, and averaged. factors: on the frame interval. families: of variants, see
    Plan.
    """
    model = checkpoint["besnet"]["model"]
    found = {"averaged": InferenceVariant()}
    norms = any(name.endswith(".running_var") for name in checkpoint["state_dict"])
    own = list(model.get("dilations", ()))
    if "dilations" in families and own:
        for name, some in [*((f"dilation_{d}", [d]) for d in fixed), ("averaged_all", fixed)]:
            same = own == some and (len(some) == 1 or model["mixture"] == "uniform")
            found[name] = InferenceVariant() if same else InferenceVariant(dilations=tuple(some))
    for padding in ("zeros", "replicate") if "padding" in families and own else ():
        other = None if padding == model["temporal_padding"] else padding
        found[f"padding_{padding}"] = InferenceVariant(padding=other)
    if (
        "recalibrated" in families and norms and not model.get("frame_features")
    ):  # its BatchNorms are frozen by definition
        again = {f"{name}_recalibrated": replace(variant, recalibrated=True) for name, variant in found.items()}
        found |= {"recalibrated": again.pop("averaged_recalibrated")} | again
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


def seeing(plan: Plan, network: Network) -> Network:
    """The network, which takes what the plan's data holds: maps, where these are kept."""
    take_maps(network, Manifest.load(Path(plan.folder)), plan.crop_size, plan.whole)
    return network


def ready_network(
    checkpoint: dict[str, Any],
    variant: InferenceVariant,
    statistics: Path,
    device: torch.device,
    plan: Plan,
    named: str | None = None,
) -> Network:
    """The folded network of a variant; statistics: the file of its BatchNorm statistics, if it is recalibrated."""
    network = seeing(plan, network_for(checkpoint, variant, named))
    if variant.recalibrated:
        found = read_arrays(statistics, read_bytes(statistics, LARGEST))
        set_statistics(network, torch.from_numpy(found["measured"]), torch.from_numpy(found["clips"]))
        check_finite(network.state_dict(), str(statistics))
    return fold(network.to(device))
