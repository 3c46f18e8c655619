"""A trained network to give away: a folder with model.safetensors and model.json, read without executing anything."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save

from besnet.checkpoints import store
from besnet.checkpoints.header import Trained, rebuild
from besnet.files import replacing, write_json
from besnet.models.besnet import BesNet

WEIGHTS, ABOUT = "model.safetensors", "model.json"
# what `Trained` holds besides the network
DESCRIBED = ("model", "classes", "passport", "config", "position", "ema", "revision", "versions")


@dataclass(frozen=True)
class Given:
    """A network as a user names it: from a run, a checkpoint or a model folder.

    temperature: what its probabilities were calibrated with; None if they were not. hash: of the checkpoint that it
    came from.
    """

    trained: Trained
    hash: str
    run: Path | None
    temperature: float | None = None


def is_model_folder(path: Path) -> bool:
    """Whether a folder was written by `write`."""
    return (path / ABOUT).is_file()


def write(folder: Path, given: Given, transforms: dict[str, Any], metrics: dict[str, Any]) -> None:
    """Write a model folder.

    transforms: what happens to frames before the network and what comes out; metrics: what evaluations of this
    checkpoint found. OSError if it cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    trained = given.trained
    weights = {name: weight.contiguous() for name, weight in trained.network.state_dict().items()}
    with replacing(folder / WEIGHTS) as file:
        file.write(save(weights))
    about = {
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
        "weights": store.file_hash(folder / WEIGHTS),
    }
    write_json(folder / ABOUT, about)


def read(folder: Path) -> Given:
    """The network of a model folder. ValueError if a file is missing, damaged, or does not fit the other."""
    try:
        about: dict[str, Any] = json.loads((folder / ABOUT).read_text())
    except (OSError, ValueError) as error:
        raise ValueError(f"{folder / ABOUT}: not readable ({error})") from error
    file = folder / WEIGHTS
    if not file.is_file():
        raise ValueError(f"{file}: there is no such file: copy the whole model folder")
    try:
        if store.file_hash(file) != about["weights"]:
            raise ValueError(f"{file}: damaged, or not the weights that {ABOUT} describes: copy the folder again")
        classes, model = about["classes"], about["model"]
        if len(classes) != model["num_classes"]:
            raise ValueError(
                f"{folder / ABOUT}: {len(classes)} class names for a network of {model['num_classes']} classes"
            )
        network = BesNet(**model)
        network.load_state_dict(load_file(file))
        network.eval()
        trained = Trained(network, **{key: about[key] for key in DESCRIBED})
        return Given(trained, about["checkpoint"], None, about["temperature"])
    except (KeyError, TypeError) as error:
        raise ValueError(f"{folder / ABOUT}: not a model folder's description ({error!r})") from error
    except (SafetensorError, RuntimeError) as error:
        raise ValueError(f"{file}: does not fit {ABOUT}: {str(error).splitlines()[-1].strip()}") from error


def given(path: Path) -> Given:
    """The network at a path: a model folder, a run folder (its newest good checkpoint) or a checkpoint.

    ValueError says what is wrong with it.
    """
    if is_model_folder(path):
        return read(path)
    checkpoint = store.load(path)
    file = store.resolve(path)
    run = file.parent.parent if file.parent.name == "checkpoints" else file.parent
    return Given(rebuild(checkpoint), store.file_hash(file), run)
