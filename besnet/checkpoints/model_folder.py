"""A trained network to give away: a folder with model.safetensors and model.json, read without executing anything."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NotRequired, TypedDict

from safetensors import SafetensorError
from safetensors.torch import load, save

from besnet.checkpoints import store
from besnet.checkpoints.header import LoadedCheckpoint, PassportValues, model_of, rebuild
from besnet.checkpoints.temperature import Temperature, Thresholds, check_thresholds
from besnet.checkpoints.weights import check_model, fill
from besnet.files import replacing, write_json
from besnet.formats import stamp, upgraded, upgraded_tensors
from besnet.reading import parse_json, read_bytes
from besnet.schema import Classes, Count, Hash, Name, Within, checked

WEIGHTS, ABOUT = "model.safetensors", "model.json"
LARGEST_WEIGHTS = 16 * 2**30  # bytes


class About(TypedDict):
    """model.json."""

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


def is_model_folder(path: Path) -> bool:
    """Whether a folder was written by `write`."""
    return (path / ABOUT).is_file()


def write(folder: Path, given: LoadedModel, transforms: dict[str, Any], metrics: dict[str, Any]) -> None:
    """Write a model folder.

    transforms: what happens to frames before the network and what comes out; metrics: what evaluations of this
    checkpoint found. OSError if it cannot be written.
    """
    trained = given.trained
    weights = save({name: weight.contiguous() for name, weight in trained.network.state_dict().items()})
    with replacing(folder / WEIGHTS) as file:
        file.write(weights)
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
    }
    write_json(folder / ABOUT, about)


def read(folder: Path, named: str | None = None) -> LoadedModel:
    """The network of a model folder. ValueError if a file is missing, damaged, or does not fit the other.

    named: what the user calls the network, see besnet.checkpoints.weights.fill.
    """
    stored = parse_json(folder / ABOUT)
    about: About = checked(upgraded(stored, "model", str(folder / ABOUT)), About, str(folder / ABOUT))
    model = model_of(about["model"], about["classes"], str(folder / ABOUT))
    file = folder / WEIGHTS
    if not file.is_file():
        raise ValueError(f"{file}: there is no such file: copy the whole model folder")
    check_model(model, str(folder / ABOUT))
    data = read_bytes(file, LARGEST_WEIGHTS)
    if store.bytes_hash(data) != about["weights"]:
        raise ValueError(f"{file}: damaged, or not the weights that {ABOUT} describes: copy the folder again")
    try:
        weights = load(data)
    except (SafetensorError, RuntimeError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{file}: not readable as safetensors ({str(error).splitlines()[0]})") from None
    weights = upgraded_tensors(weights, stored, "model")
    network = fill(model, weights, f"{file} with {ABOUT}", named)
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
        multi_label=about.get("multi_label", False),
    )
    thresholds = about.get("thresholds")
    check_thresholds(thresholds, about["classes"], str(folder / ABOUT))
    name, temperature = str(folder / ABOUT), about["temperature"]
    return LoadedModel(trained, about["checkpoint"], None, name, temperature, thresholds=thresholds)


def given(path: Path, named: str | None = None) -> LoadedModel:
    """The network at a path: a model folder, a run folder (its newest good checkpoint) or a checkpoint.

    named: what the user calls the network, see besnet.checkpoints.weights.fill. ValueError names the fault.
    """
    if is_model_folder(path):
        return read(path, named)
    stored = store.read(path)
    name = str(stored.path)
    return LoadedModel(rebuild(stored.content, where=name, named=named), stored.hash, run_of(stored.path), name)


def run_of(checkpoint: Path) -> Path:
    """The run that a checkpoint belongs to, or the folder it lies in."""
    return checkpoint.parent.parent if checkpoint.parent.name == "checkpoints" else checkpoint.parent
