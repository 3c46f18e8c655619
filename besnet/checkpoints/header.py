"""The header of a checkpoint: what is needed to rebuild its network, to evaluate it and to trace it."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any, NotRequired, TypedDict

import numpy as np
import torch
from torch import Tensor

from besnet.checkpoints.weights import fill
from besnet.data.known import UNRECORDED
from besnet.formats import stamp
from besnet.models.build import ModelArguments, applicable
from besnet.models.network import Network
from besnet.schema import Classes, Count, Hash, Name, Within, checked
from besnet.version import revision, versions

# what stands before the network's own names in a checkpoint
TRAINED, AVERAGED = "network.", "ema.network."


class PassportValues(TypedDict):
    """The data passport, see besnet.data.manifest.Passport."""

    source: Hash
    encode: Hash


class Validation(TypedDict):
    """The figures of one validation, by their names in metrics.csv; None for one that is not a number."""

    step: Count
    figures: dict[str, float | None]


class Header(TypedDict):
    """The `besnet` entry of a checkpoint: plain values, and the fingerprints of the training videos.

    model: what the network is built from, see besnet.models.build. config: the run's resolved configuration. ema: the
    decay of the moving average that is beside the weights. validations: of the run so far. trained_on: see
    besnet.data.known. revision, versions: of the code that trained it. multi_label: its probabilities are sigmoids, of
    each class by itself.
    """

    model: dict[str, Any]
    classes: Classes
    passport: PassportValues
    config: dict[str, Any]
    revision: Name
    versions: dict[str, Name]
    position: NotRequired[dict[str, Count]]
    ema: NotRequired[Annotated[float, Within(0, 1)] | None]
    validations: NotRequired[list[Validation]]
    trained_on: NotRequired[Tensor | None]
    multi_label: NotRequired[bool]


@dataclass(frozen=True)
class LoadedCheckpoint:
    """A network with what it was trained on: `config` is the run's resolved configuration.

    model: what the network is built from, see besnet.models.build. ema: the decay of the moving average that its
    weights are; None for the weights as the optimiser left them. trained_on: fingerprints of its training videos; None
    if unknown. revision, versions: of the code that trained it. multi_label: see Header.
    """

    network: Network
    model: dict[str, Any]
    classes: list[str]
    passport: dict[str, str]
    config: dict[str, Any]
    position: dict[str, int]
    ema: float | None
    revision: str
    versions: dict[str, str]
    trained_on: Tensor | None = None
    multi_label: bool = False

    @property
    def inherited(self) -> Tensor | None:
        """`trained_on` of what is trained from it: a network of besnet that does not record its videos has learned from
        some, and published weights have not learned from the user's."""
        if self.trained_on is None and self.passport["source"]:
            return torch.tensor([UNRECORDED])
        return self.trained_on


def header(
    model: dict[str, Any],
    classes: list[str],
    passport: dict[str, str],
    config: dict[str, Any],
    multi_label: bool = False,
) -> dict[str, Any]:
    """The `besnet` entry of a checkpoint: plain values only.

    model: what the network is built from (see besnet.models.build), num_classes among them.
    """
    return stamp("checkpoint") | {
        "model": model,
        "classes": classes,
        "passport": passport,
        "config": config,
        "revision": revision(),
        "versions": versions(),
        "multi_label": multi_label,
    }


def header_of(checkpoint: dict[str, Any], where: str = "the checkpoint") -> Header:
    """The `besnet` entry of a checkpoint. ValueError that names `where` and the field if it is not as it has to be."""
    entry: Header = checked(checkpoint["besnet"], Header, where)
    entry["model"] = model_of(entry["model"], entry["classes"], where)
    check_fingerprints(entry.get("trained_on"), where)
    return entry


def check_fingerprints(known: Tensor | None, where: str) -> None:
    """ValueError that names `where` they are unless these are fingerprints, or not recorded."""
    if known is not None and (known.dtype != torch.int64 or known.ndim != 1):
        raise ValueError(f"{where}: trained_on: int64 of one dimension is expected")


def united(own: np.ndarray, before: Tensor | None) -> Tensor:
    """Fingerprints of what a training learns from, and those of the weights that it starts from."""
    known = torch.from_numpy(own)
    return known if before is None else torch.cat([known, before]).unique()


def model_of(model: dict[str, Any], classes: list[str], where: str) -> dict[str, Any]:
    """A network's arguments that fit their schema and a list of classes. ValueError names `where` and the field."""
    found: dict[str, Any] = checked(model, ModelArguments.__init__, f"{where}: model")
    try:
        found = applicable(found)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    if len(classes) != found["num_classes"]:
        raise ValueError(f"{where}: {len(classes)} class names for a network of {found['num_classes']} classes")
    return found


def rebuild(
    checkpoint: dict[str, Any],
    raw: bool = False,
    where: str = "the checkpoint",
    changed: Mapping[str, Any] = MappingProxyType({}),
    named: str | None = None,
) -> LoadedCheckpoint:
    """The network of a checkpoint, in evaluation mode. ValueError if its weights do not fit its description, or hold a
    number that is not finite.

    raw: take the weights as the optimiser left them, even where the checkpoint has their moving average.
    where: the file, for messages. changed: arguments that take the place of the network's own. named: what the user
    calls the network: a class of his own is imported only if he does.
    """
    entry = header_of(checkpoint, where)
    for name in changed.keys() - ModelArguments(**entry["model"]).applicable:
        raise ValueError(f"{where}: its network has no {name}: leave --{name} out")
    entry["model"] |= changed
    ema = None if raw else entry.get("ema")
    prefix = TRAINED if ema is None else AVERAGED
    weights = checked(checkpoint.get("state_dict"), dict[str, Tensor], f"{where}: state_dict")
    weights = {name.removeprefix(prefix): weight for name, weight in weights.items() if name.startswith(prefix)}
    return LoadedCheckpoint(
        network=fill(entry["model"], weights, where, named),
        ema=ema,
        position=entry.get("position", {}),
        trained_on=entry.get("trained_on"),
        model=entry["model"],
        classes=entry["classes"],
        passport={"source": entry["passport"]["source"], "encode": entry["passport"]["encode"]},
        config=entry["config"],
        revision=entry["revision"],
        versions=entry["versions"],
        multi_label=entry.get("multi_label", False),
    )
