"""Checks that the parts of a config fit each other, the data, and the started processes."""

import difflib
import os
from typing import Any

import numpy as np

from besnet.environment import refuse_bare_srun, started_as
from besnet.evaluation.kept_maps import check_pictures
from besnet.evaluation.views import check_shapes, evaluation_crop_size, settings
from besnet.models.network import Network
from besnet.models.recalibration import norm_channels
from besnet.ranges import shown
from besnet.training.data import VideoData
from besnet.training.recipe import Recipe
from besnet.training.saving import Saving
from besnet.training.validation_metrics import figures_of

# The values that besnet is tested with. Only these strategies give every rank its own clips.
CHOICES: dict[str, tuple[str | None, ...]] = {
    "accelerator": ("auto", "cpu", "gpu", "cuda"),
    "strategy": ("auto", "ddp"),
    "precision": ("32", "32-true", "bf16-mixed", "16-mixed", None),
    "gradient_clip_algorithm": ("norm", "value", None),
}
MOST_DEVICES = 1024


def as_launched(settings: dict[str, Any]) -> dict[str, Any]:
    """The trainer's settings, with the number of processes that torchrun has started where they leave it open.

    ValueError if the numbers differ: each process would train by itself, in the same folder.
    """
    refuse_bare_srun()
    ranks = started_as()
    started, here = ranks.world_size, ranks.local_world_size
    if "TORCHELASTIC_RUN_ID" in os.environ and settings["devices"] in ("auto", -1, "-1"):
        settings = settings | {"devices": here}
        if settings["num_nodes"] == 1:
            settings["num_nodes"] = started // here
    devices = settings["devices"]
    asked = len(devices) if isinstance(devices, list) else int(devices) if str(devices).isdecimal() else here
    if started == 1 and settings["num_nodes"] > 1:
        raise ValueError(
            f"trainer.num_nodes {settings['num_nodes']}, but only this process was started: start it on every machine "
            "with besnet launch or torchrun"
        )
    if started > 1 and asked * settings["num_nodes"] != started:
        raise ValueError(
            f"trainer.devices {asked} x trainer.num_nodes {settings['num_nodes']} do not match the {started} "
            f"started processes ({here} on this machine)"
        )
    return settings


def check_devices(devices: Any) -> None:
    """ValueError unless it is a count of devices, a list of their numbers, or `auto` or -1 for all there are."""
    text = str(devices).strip()
    numbers = devices if isinstance(devices, list) else text.split(",")
    named = (isinstance(devices, list) or "," in text) and all(
        str(number).strip().isdecimal() and int(number) < MOST_DEVICES for number in numbers
    )
    counted = text in ("auto", "-1") or (text.isdecimal() and len(text) < 9 and 1 <= int(text) <= MOST_DEVICES)
    if not counted and not (named and numbers):
        raise ValueError(
            f"trainer.devices must be auto, a number from 1 to {MOST_DEVICES} or a list, not {shown(devices)}"
        )


def check_network(network: Network, data: VideoData, config: dict[str, Any]) -> None:
    """ValueError, before anything is decoded, if a config's clips do not go into the network or have views that no
    evaluation can have, or its recipe needs layers that the network has not."""
    views = settings(config, "training")
    every = np.concatenate([data.train_rows, data.val_rows])
    check_shapes(data.manifest, every, data.crop.whole, data.crop_size)
    if data.manifest.maps is not None:
        check_maps(data, config, data.manifest.maps.blocks)
        check_pictures(data.manifest, evaluation_crop_size(views), views["evaluation"].whole or False)
        network.take_maps(data.manifest.maps.blocks)
    if config["recipe"]["precise_bn"] is not None and not norm_channels(network):
        raise ValueError("recipe.precise_bn: the network has no BatchNorm: leave it out")
    for size in {data.crop_size, config["evaluation"]["crop_size"] or data.crop_size}:
        network.check_clip(data.clip.num_frames, size)


def check_maps(data: VideoData, config: dict[str, Any], blocks: int) -> None:
    """ValueError if a config trains what kept maps have passed by, or changes pictures that are no longer there."""
    check_pictures(data.manifest, data.crop_size, data.crop.whole)
    recipe, kept = config["recipe"], f"{data.folder}: keeps maps after {blocks} blocks"
    freeze = recipe["freeze"]
    if freeze is None or (freeze != "backbone" and freeze < blocks):
        raise ValueError(f"recipe.freeze must be at least {blocks}, not {shown(freeze)}: {kept}, which cannot learn")
    for name, value in {"data.augmentation": data.augmentation, "recipe.mixup": recipe["mixup"],
                        "recipe.cutmix": recipe["cutmix"]}.items():  # fmt: skip
        if value is not None:
            raise ValueError(f"{name} changes pictures: {kept}: leave it out, or train on the prepared videos")
    if config["compile"] is True:
        raise ValueError(f"compile true: {kept}, which pass by a part of the network: use compile blocks, or false")


def check_fits(
    recipe: Recipe,
    data: VideoData,
    saving: Saving,
    model: dict[str, Any],
    trainer: dict[str, Any],
    pairs: list[list[str]],
) -> None:
    """ValueError if parts of the config do not fit each other or the data."""
    if trainer["max_epochs"] is None:
        raise ValueError("trainer.max_epochs must be at least 1, not null; set trainer.max_steps to end a run earlier")
    check_devices(trainer["devices"])
    for name, choices in CHOICES.items():
        value = trainer[name] if trainer[name] is None or name != "precision" else str(trainer[name])
        if value not in choices:
            listed = ", ".join("null" if choice is None else choice for choice in choices)
            raise ValueError(f"trainer.{name} must be one of {listed}, not {shown(trainer[name])}")
    precision = str(trainer["precision"])
    if precision == "16-mixed" and trainer["gradient_clip_val"]:
        raise ValueError("trainer.gradient_clip_val does not work with the loss scale of 16-mixed: use bf16-mixed")
    for name in {name for pair in pairs for name in pair} - set(data.manifest.classes):
        near = difflib.get_close_matches(name, data.manifest.classes, n=1)
        hint = (
            f": did you mean {near[0]!r}?" if near else ": correct it, or leave pairs out with --evaluation.pairs '[]'"
        )
        raise ValueError(f"evaluation.pairs: {data.folder} has no class {name!r}{hint}")
    if data.manifest.multi_label and pairs:
        raise ValueError("evaluation.pairs: pairwise accuracy is for one label per video: leave the pairs out")
    if data.manifest.multi_label and recipe.cutmix is not None:
        raise ValueError(
            f"recipe.cutmix: {data.folder} has several labels per video, and a class is there or not, "
            "whatever its share of the picture: use recipe.mixup, or none"
        )
    if data.manifest.multi_label and recipe.class_weights is not None:
        raise ValueError(f"recipe.class_weights: {data.folder} has several labels per video: leave it out")
    if recipe.ohem is not None and recipe.ohem > data.batch_size:
        raise ValueError(f"recipe.ohem {recipe.ohem} must be at most data.batch_size {data.batch_size}")
    check_choice(saving, recipe, data, trainer)
    power = data.balance.power if data.balance is not None else 0.0
    if power + recipe.weights_power > 1:
        raise ValueError(
            f"data.balance {power:g} and recipe.class_weights {recipe.class_weights} together favour rare classes: "
            "lower them until their sum is at most 1 (balanced counts as 1)"
        )
    if recipe.precise_bn is not None and recipe.freeze is not None:
        raise ValueError("recipe.precise_bn would change the statistics that recipe.freeze keeps: use only one of them")
    if recipe.precise_bn is not None and model.get("frozen_bn"):
        raise ValueError(
            "recipe.precise_bn would change the statistics that model.frozen_bn keeps: use only one of them"
        )


def check_choice(saving: Saving, recipe: Recipe, data: VideoData, trainer: dict[str, Any]) -> None:
    """ValueError if the best checkpoint is wanted, or an early end, and no validation will tell which or when."""
    figures = figures_of(data.manifest.multi_label)
    if saving.metric is not None and saving.metric not in figures:
        near = difflib.get_close_matches(saving.metric, figures, n=1, cutoff=0.3)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(figures)}"
        raise ValueError(f"saving.metric: no validation has a figure {saving.metric!r}: {hint}")
    if not saving.keep_best and saving.patience is None:
        return
    name = "saving.keep_best" if saving.keep_best else "saving.patience"
    if not len(data.val_rows):
        raise ValueError(f"{name} needs validations: set data.val_videos to how many videos they take")
    if trainer["check_val_every_n_epoch"] is None or trainer["check_val_every_n_epoch"] > trainer["max_epochs"]:
        raise ValueError(
            f"{name} needs validations: trainer.check_val_every_n_epoch {trainer['check_val_every_n_epoch']} leaves "
            f"none in {trainer['max_epochs']} epochs: lower it"
        )
    if recipe.precise_bn is not None:
        raise ValueError(
            f"{name} compares validations, and recipe.precise_bn would measure statistics only for the last one: use "
            "only one of them (besnet evaluate --recalibrate measures them for any checkpoint)"
        )
