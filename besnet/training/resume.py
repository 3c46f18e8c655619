"""Whether a run resumes from its folder: the newest valid checkpoint, and what has changed since."""

import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn, optim

from besnet.checkpoints import store
from besnet.checkpoints.header import TRAINED, header_of
from besnet.checkpoints.pretrained import Start
from besnet.formats import filled
from besnet.models.network import IMAGENET, Normalisation, lay_channels_last
from besnet.reading import read_json

# Settings that may change between a run and its resume without changing the result. The data folder is one of them:
# the passport identifies the data.
FREE = ("out", "accept_changes", "data.folder", "data.workers", "saving", "loggers", "evaluation",
        "trainer.log_every_n_steps")  # fmt: skip
# Other settings may change only with --accept_changes, and these never: the weights and moments would not fit.
FIXED = (
    "model.network",
    "model.backbone",
    "model.block",
    "model.blocks",
    "model.width",
    "recipe.optimizer",
    "recipe.ema",
    "recipe.freeze",
    "recipe.layer_decay",
    "recipe.head_lr",
)


def find_checkpoint(
    run: Path, about: dict[str, Any], accept_changes: bool, defaults: dict[str, Any], say: bool
) -> tuple[Path | None, bool]:
    """The newest valid checkpoint of the run, and whether its settings or data have changed.

    defaults: the values of arguments that an older run does not have. ValueError if anything has changed and that is
    not accepted, or cannot be.
    """
    if (run / "run.json").exists():
        read_json(run / "run.json", dict[str, Any], "run")
    path, damaged = store.newest(run / "checkpoints")
    for file in damaged if say else []:
        print(f"{file}: damaged, skipped", file=sys.stderr)
    if path is None:
        return None, False
    old = header_of(store.read(path).content, str(path))
    if old["classes"] != about["classes"]:
        raise ValueError(f"{path}: trained on other classes than this data has: choose another folder with --out")
    changes = differences(filled(located(old["config"]), defaults), about["config"])
    changes += differences(dict(old["passport"]), about["passport"], "passport.")
    impossible = [change for change in changes if change.startswith(tuple(f"{name}:" for name in FIXED))]
    if impossible:
        raise ValueError(
            f"{run}: the weights of this run do not fit the new settings ({'; '.join(impossible)}): "
            "restore them, or choose another run folder with --out"
        )
    if changes and not accept_changes:
        raise ValueError(
            f"{run}: this run began with other settings or data ({'; '.join(changes)}): "
            "restore them, choose another run folder with --out, or add --accept_changes"
        )
    for change in changes if say else []:
        print(f"accepted: {change}")
    return path, bool(changes)


def located(config: dict[str, Any]) -> dict[str, Any]:
    """A config with the full paths of the data and of the weights to start from: the same from any folder."""
    data, weights = config.get("data"), config.get("pretrained")
    if isinstance(data, dict) and isinstance(data.get("folder"), str):
        config = config | {"data": data | {"folder": str(Path(data["folder"]).resolve())}}
    if isinstance(weights, str) and Path(weights).exists():
        config = config | {"pretrained": str(Path(weights).resolve())}
    return config


def resumed_from(checkpoint: Path) -> Start:
    """What a run goes on from."""
    old = header_of(store.read(checkpoint).content, str(checkpoint))
    mean, std = old["model"].get("mean"), old["model"].get("std")
    return Start(
        "",
        Normalisation(tuple(mean), tuple(std)) if mean and std else IMAGENET,
        old.get("trained_on"),
    )


def lay_out(network: nn.Module, checkpoint: Path | None) -> None:
    """Lay the weights channels-last in memory, or as they lie in a checkpoint: a run that began with the other layout,
    as it could until besnet 0.1, then resumes to the same bits."""
    if checkpoint is None:
        lay_channels_last(network)
        return
    saved = store.read(checkpoint).content["state_dict"]
    for name, weight in network.named_parameters():
        before = saved.get(TRAINED + name)
        if before is not None and before.shape == weight.shape:
            weight.data = torch.empty_like(before, dtype=weight.dtype).copy_(weight.data)


def differences(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> list[str]:
    """What changed between two nested dictionaries, as `key: old → new`, leaving out what does not matter."""
    changes = []
    for key in sorted(old.keys() | new.keys()):
        name = prefix + key
        before, after = old.get(key), new.get(key)
        if name in FREE or before == after:
            continue
        if isinstance(before, dict) and isinstance(after, dict):
            changes += differences(before, after, name + ".")
        else:
            changes.append(f"{name}: {before} → {after}")
    return changes


def obey(fresh: optim.Optimizer, step: int, optimizer: optim.Optimizer, scheduler: optim.lr_scheduler.LambdaLR) -> None:
    """Give a resumed optimiser and its schedule the settings of a new one, at a step of the schedule; keep moments."""
    scheduler.last_epoch = step
    scheduler.base_lrs = [group["lr"] for group in fresh.param_groups]
    for group, now, factor in zip(optimizer.param_groups, fresh.param_groups, scheduler.lr_lambdas, strict=True):
        group.update({name: value for name, value in now.items() if name != "params"})
        group["initial_lr"] = now["lr"]
        group["lr"] = now["lr"] * factor(step)
