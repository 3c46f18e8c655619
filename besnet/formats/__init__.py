"""The formats of besnet's files: a number for each kind, and the migrations that bring older files up to it.

Every file says which format it has and which besnet wrote it; one that does not say is of format 0, as revision
a702f46 wrote them. To change a format: write a migration, put it at the end of its kind's list, and keep a small file
of the old format in tests/formats. A config key that is renamed or dropped needs no more than its line in config_keys.
"""

from collections.abc import Callable
from typing import Any

from besnet import __version__
from besnet.formats.config_keys import with_new_keys
from besnet.formats.migrations import (
    dataset_2,
    dataset_3,
    evaluation_1,
    lab_1,
    lab_2,
    multi_label,
    trained_on,
    unchanged,
)
from besnet.formats.tensors import checkpoint_2, weights_2
from besnet.text import short

Migration = Callable[[dict[str, Any]], dict[str, Any]]

# The migration at place n makes format n + 1 of format n; the newest format is the length of the list.
MIGRATIONS: dict[str, list[Migration]] = {
    "checkpoint": [unchanged, unchanged, multi_label],  # the entry `besnet` of a checkpoint
    "run": [unchanged],  # run.json, config.yaml, metrics.csv
    "dataset": [unchanged, dataset_2, dataset_3, unchanged, unchanged],  # dataset.json, manifest.jsonl, manifest.npy
    # model.json, model.safetensors, trained_on.safetensors; the JSON beside an exported file
    "model": [unchanged, unchanged, multi_label, trained_on],
    "evaluation": [evaluation_1, multi_label],  # results.json, predictions.npz
    "lab": [lab_1, lab_2],  # results.json, evaluation/plan.json
    "calibration": [unchanged, multi_label],  # calibration.json
    "predictions": [unchanged],  # what `besnet predict --json` writes
    "learn": [],  # learn.json
    "logger": [],  # loggers/wandb.jsonl and loggers/mlflow.jsonl of a run
    "benchmark": [unchanged],  # what `besnet bench model --json` writes
}
# The same of the tensors that go with a description: all that a checkpoint holds, the weights of a model folder.
TENSORS: dict[str, list[Migration]] = {
    "checkpoint": [unchanged, checkpoint_2, unchanged],
    "model": [unchanged, weights_2, unchanged, unchanged],
}
STAMP = ("format", "besnet")


def stamp(kind: str) -> dict[str, Any]:
    """What a file of this kind says first: its format, and the besnet that wrote it."""
    return {"format": len(MIGRATIONS[kind]), "besnet": __version__}


def upgraded(content: Any, kind: str, where: str) -> Any:
    """What a file holds in the newest format of its kind, without the stamp; what is no dictionary is for the schema.

    ValueError names the file (`where`) that a newer besnet wrote.
    """
    if not isinstance(content, dict):
        return content
    number, newest = content.get("format", 0), len(MIGRATIONS[kind])
    if type(number) is not int or number < 0:
        raise ValueError(f"{where}: format: a whole number is expected, not {short(repr(number))}")
    if number > newest:
        raise ValueError(
            f"{where}: written by besnet {short(str(content.get('besnet', '?')))} in format {number}; this besnet "
            f"({__version__}) reads up to {newest}: install a newer besnet"
        )
    for migration in MIGRATIONS[kind][number:]:
        content = migration(content)
    content = {name: value for name, value in content.items() if name not in STAMP}
    return with_todays_arguments(content) if kind in ("checkpoint", "model") else content


def upgraded_tensors(content: dict[str, Any], about: dict[str, Any], kind: str) -> dict[str, Any]:
    """Tensors in the newest format of their kind; about: their description as it was read, which `upgraded` takes."""
    for migration in TENSORS[kind][about.get("format", 0) :]:
        content = migration(content)
    return content


def with_todays_arguments(about: dict[str, Any]) -> dict[str, Any]:
    """What describes a network, with today's keys in its config and in the network's own arguments."""
    config, model = about.get("config"), about.get("model")
    if isinstance(config, dict):
        about = about | {"config": with_new_keys(config)[0]}
    if isinstance(model, dict):
        about = about | {"model": with_new_keys({"model": model})[0]["model"]}
    return about


def filled(config: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    """A config with the defaults of what it does not say, so that configs of two releases compare."""
    found = dict(config)
    for name, default in defaults.items():
        if name not in config:
            found[name] = default
        elif isinstance(default, dict) and isinstance(config[name], dict):
            found[name] = filled(config[name], default)
    return found
