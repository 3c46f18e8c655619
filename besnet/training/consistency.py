"""Whether what a config asks for goes together: by itself, with the data, and with the processes that were started."""

import difflib
import os
from typing import Any

from besnet.environment import refuse_bare_srun, started_as
from besnet.training.data import VideoData
from besnet.training.recipe import Recipe

PRECISIONS = ("32", "32-true", "bf16-mixed", "16-mixed")


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
    if started > 1 and asked * settings["num_nodes"] != started:
        raise ValueError(
            f"trainer.devices {asked} x trainer.num_nodes {settings['num_nodes']}, but {started} processes were "
            f"started, {here} on this machine: make them equal"
        )
    return settings


def check_fits(
    recipe: Recipe, data: VideoData, model: dict[str, Any], trainer: dict[str, Any], pairs: list[list[str]]
) -> None:
    """ValueError if parts of the configuration that are right by themselves do not go together, or are out of range."""
    for name in ("max_epochs", "log_every_n_steps", "limit_train_batches", "accumulate_grad_batches"):
        if trainer[name] is None and name != "max_epochs":
            continue
        if trainer[name] is None or trainer[name] < 1:
            raise ValueError(f"trainer.{name} must be at least 1, not {trainer[name]}")
    precision = str(trainer["precision"] or 32)
    if precision not in PRECISIONS:
        raise ValueError(f"trainer.precision {precision}: {', '.join(PRECISIONS)} are expected")
    if precision == "16-mixed" and trainer["gradient_clip_val"]:
        raise ValueError("trainer.gradient_clip_val does not go with the loss scale of 16-mixed: use bf16-mixed")
    for name in {name for pair in pairs for name in pair} - set(data.manifest.classes):
        near = difflib.get_close_matches(name, data.manifest.classes, n=1)
        hint = f": did you mean {near[0]!r}?" if near else ": mend it, or leave pairs out with --evaluation.pairs '[]'"
        raise ValueError(f"evaluation.pairs: {data.folder} has no class {name!r}{hint}")
    if recipe.hardest is not None and recipe.hardest > data.batch_size:
        raise ValueError(
            f"recipe.hardest {recipe.hardest}: a micro-batch has data.batch_size {data.batch_size} clips only"
        )
    if recipe.precise_bn is not None and model.get("frozen_bn"):
        raise ValueError("recipe.precise_bn would change the statistics that model.frozen_bn keeps: use one of them")
