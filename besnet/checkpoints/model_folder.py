"""A trained network to give away: a folder with model.safetensors, model.json and, in trained_on.safetensors, the
fingerprints of its training videos; read without executing anything."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NotRequired, TypedDict

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from besnet.checkpoints import store
from besnet.checkpoints.header import LoadedCheckpoint, PassportValues, check_fingerprints, model_of, rebuild
from besnet.checkpoints.temperature import Temperature, Thresholds, check_thresholds
from besnet.checkpoints.weights import check_model, fill
from besnet.files import replacing, write_json
from besnet.formats import stamp, upgraded, upgraded_tensors
from besnet.reading import parse_json, read_bytes
from besnet.schema import Classes, Count, Hash, Name, Within, checked

WEIGHTS, ABOUT, KNOWN = "model.safetensors", "model.json", "trained_on.safetensors"
LARGEST_WEIGHTS, LARGEST_KNOWN = 16 * 2**30, 2**30  # bytes


class About(TypedDict):
    """model.json. weights, trained_on: hashes of the files beside it; trained_on: None where nobody recorded it."""

    model: dict[str, Any]
    classes: Classes
    transforms: dict[str, Any]
    temperature: Temperature | None
    metrics: dict[str, Any]
    passport: PassportValues
    config: dict[str, Any]
    position: dict[str, Count]
    ema: Annotated[float, Within(0, 1)] | None
    checkpoint: Hash
    revision: Name
    versions: dict[str, Name]
    weights: Hash
    multi_label: NotRequired[bool]
    thresholds: NotRequired[Thresholds | None]
    trained_on: NotRequired[Hash | None]


@dataclass(frozen=True)
class LoadedModel:
    """A network as a user names it: from a run, a checkpoint or a model folder.

    temperature: what its probabilities were calibrated with; None if they were not. thresholds: the probability of each
    class from which on a video of several labels has it; None if they were not chosen. hash: of the checkpoint that it
    came from. name: the file that describes it, for messages. said: what to tell the user of published weights. named:
    whether its classes have names, and not only numbers.
    """

    trained: LoadedCheckpoint
    hash: str
    run: Path | None
    name: str
    temperature: float | None = None
    said: str = ""
    named: bool = True
    thresholds: list[float] | None = None


def folder_of(path: Path) -> Path | None:
    """The model folder that a path names, by itself or by one of its files; None for another path."""
    folder = path.parent if path.name in (WEIGHTS, ABOUT) else path
    return folder if (folder / ABOUT).is_file() else None


def write(folder: Path, given: LoadedModel, transforms: dict[str, Any], metrics: dict[str, Any]) -> None:
    """Write a model folder.

    transforms: what happens to frames before the network and what comes out; metrics: what evaluations of this
    checkpoint found. OSError if it cannot be written.
    """
    trained = given.trained
    weights = save({name: weight.contiguous() for name, weight in trained.network.state_dict().items()})
    with replacing(folder / WEIGHTS) as file:
        file.write(weights)
    known = None if trained.trained_on is None else save({"trained_on": trained.trained_on})
    if known is None:
        (folder / KNOWN).unlink(missing_ok=True)
    else:
        with replacing(folder / KNOWN) as file:
            file.write(known)
    about = stamp("model") | {
        "model": trained.model,
        "classes": trained.classes,
        "transforms": transforms,
        "temperature": given.temperature,
        "metrics": metrics,
        "passport": trained.passport,
        "config": trained.config,
        "position": trained.position,
        "ema": trained.ema,
        "checkpoint": given.hash,
        "revision": trained.revision,
        "versions": trained.versions,
        "weights": store.bytes_hash(weights),
        "multi_label": trained.multi_label,
        "thresholds": given.thresholds,
        "trained_on": known and store.bytes_hash(known),
    }
    write_json(folder / ABOUT, about)


def read(folder: Path, named: str | None = None) -> LoadedModel:
    """The network of a model folder. ValueError if a file is missing, damaged, or does not fit the other.

    named: what the user calls the network, see besnet.checkpoints.weights.fill.
    """
    stored = parse_json(folder / ABOUT)
    about: About = checked(upgraded(stored, "model", str(folder / ABOUT)), About, str(folder / ABOUT))
    model = model_of(about["model"], about["classes"], str(folder / ABOUT))
    check_model(model, str(folder / ABOUT))
    weights = upgraded_tensors(tensors(folder / WEIGHTS, about["weights"], LARGEST_WEIGHTS), stored, "model")
    known = None
    if digest := about.get("trained_on"):
        known = tensors(folder / KNOWN, digest, LARGEST_KNOWN).get("trained_on", torch.empty(0))
        check_fingerprints(known, str(folder / KNOWN))
    network = fill(model, weights, f"{folder / WEIGHTS} with {ABOUT}", named)
    trained = LoadedCheckpoint(
        network=network,
        model=model,
        classes=about["classes"],
        passport={"source": about["passport"]["source"], "encode": about["passport"]["encode"]},
        config=about["config"],
        position=about["position"],
        ema=about["ema"],
        revision=about["revision"],
        versions=about["versions"],
        trained_on=known,
        multi_label=about.get("multi_label", False),
    )
    thresholds = about.get("thresholds")
    check_thresholds(thresholds, about["classes"], str(folder / ABOUT))
    name, temperature = str(folder / ABOUT), about["temperature"]
    return LoadedModel(trained, about["checkpoint"], None, name, temperature, thresholds=thresholds)


def tensors(file: Path, digest: str, most: int) -> dict[str, Tensor]:
    """What a file of a model folder holds. ValueError unless it is there, with this hash and at most so many bytes."""
    if not file.is_file():
        raise ValueError(f"{file}: there is no such file: copy the whole model folder")
    data = read_bytes(file, most)
    if store.bytes_hash(data) != digest:
        raise ValueError(f"{file}: damaged, or not the file that {ABOUT} describes: copy the folder again")
    try:
        return load(data)
    except (SafetensorError, RuntimeError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{file}: not readable as safetensors ({str(error).splitlines()[0]})") from None


def given(path: Path, named: str | None = None) -> LoadedModel:
    """The network at a path: a model folder, a run folder (its newest good checkpoint) or a checkpoint.

    named: what the user calls the network, see besnet.checkpoints.weights.fill. ValueError names the fault.
    """
    if (folder := folder_of(path)) is not None:
        return read(folder, named)
    stored = store.read(path)
    name = str(stored.path)
    return LoadedModel(rebuild(stored.content, where=name, named=named), stored.hash, run_of(stored.path), name)


def run_of(checkpoint: Path) -> Path:
    """The run that a checkpoint belongs to, or the folder it lies in."""
    return checkpoint.parent.parent if checkpoint.parent.name == "checkpoints" else checkpoint.parent
