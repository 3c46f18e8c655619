"""Whether what a config asks for goes together: by itself, with the data, and with the processes that were started."""

import difflib
import os
from typing import Any

from besnet.environment import refuse_bare_srun, started_as
from besnet.ranges import shown
from besnet.training.data import VideoData
from besnet.training.recipe import Recipe

# What the house's runs are made and tested for. Of the strategies only these give every rank its own clips.
CHOICES: dict[str, tuple[str | None, ...]] = {
    "accelerator": ("auto", "cpu", "gpu", "cuda"),
    "strategy": ("auto", "ddp"),
    "precision": ("32", "32-true", "bf16-mixed", "16-mixed", None),
    "gradient_clip_algorithm": ("norm", "value", None),
}
MOST_DEVICES = 1024


def as_launched(settings: dict[str, Any]) -> dict[str, Any]:
    """The trainer's settings with the processes that torchrun has started, where they leave that open.

    ValueError if they ask for another number: each process would train by itself, in the same folder.
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
            f"trainer.num_nodes {settings['num_nodes']}, but this is the only process: start it on every machine with "
            "torchrun, or besnet launch"
        )
    if started > 1 and asked * settings["num_nodes"] != started:
        raise ValueError(
            f"trainer.devices {asked} x trainer.num_nodes {settings['num_nodes']}, but {started} processes were "
            f"started, {here} on this machine: make them equal"
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
            f"trainer.devices {shown(devices)}: auto, a count from 1 to {MOST_DEVICES}, or a list of them is expected"
        )


def check_fits(
    recipe: Recipe, data: VideoData, model: dict[str, Any], trainer: dict[str, Any], pairs: list[list[str]]
) -> None:
    """ValueError if parts of the configuration that are right by themselves do not go together, or are out of range."""
    if trainer["max_epochs"] is None:
        raise ValueError("trainer.max_epochs must be at least 1, not null; trainer.max_steps can end a run before")
    check_devices(trainer["devices"])
    for name, choices in CHOICES.items():
        value = trainer[name] if trainer[name] is None or name != "precision" else str(trainer[name])
        if value not in choices:
            listed = ", ".join("null" if choice is None else choice for choice in choices)
            raise ValueError(f"trainer.{name} {shown(trainer[name])}: {listed} are expected")
    precision = str(trainer["precision"])
    if precision == "16-mixed" and trainer["gradient_clip_val"]:
        raise ValueError("trainer.gradient_clip_val does not go with the loss scale of 16-mixed: use bf16-mixed")
    for name in {name for pair in pairs for name in pair} - set(data.manifest.classes):
        near = difflib.get_close_matches(name, data.manifest.classes, n=1)
        hint = f": did you mean {near[0]!r}?" if near else ": fix it, or leave pairs out with --evaluation.pairs '[]'"
        raise ValueError(f"evaluation.pairs: {data.folder} has no class {name!r}{hint}")
    if recipe.ohem is not None and recipe.ohem > data.batch_size:
        raise ValueError(f"recipe.ohem {recipe.ohem}: a micro-batch has data.batch_size {data.batch_size} clips only")
    if recipe.precise_bn is not None and model.get("frozen_bn"):
        raise ValueError("recipe.precise_bn would change the statistics that model.frozen_bn keeps: use one of them")
