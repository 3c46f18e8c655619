"""What a checkpoint says about itself besides its weights: enough to rebuild, to evaluate and to trust it."""

import os
import platform
import subprocess
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from torch import Tensor

from besnet.models.besnet import BesNet

# what stands before the network's own names in a checkpoint
TRAINED, AVERAGED = "network.", "ema.network."


@dataclass(frozen=True)
class Trained:
    """A network with what it was trained on: `config` is the run's resolved configuration.

    model: keyword arguments of BesNet. ema: the decay of the moving average that its weights are; None for the weights
    as the optimiser left them. revision, versions: of the code that trained it.
    """

    network: BesNet
    model: dict[str, Any]
    classes: list[str]
    passport: dict[str, str]
    config: dict[str, Any]
    position: dict[str, int]
    ema: float | None
    revision: str
    versions: dict[str, str]


def header(
    model: dict[str, Any], classes: list[str], passport: dict[str, str], config: dict[str, Any]
) -> dict[str, Any]:
    """The `besnet` entry of a checkpoint: plain values only.

    model: keyword arguments of BesNet, num_classes among them.
    """
    return {
        "model": model,
        "classes": classes,
        "passport": passport,
        "config": config,
        "revision": revision(),
        "versions": {name: package_version(name) for name in ("besnet", "torch", "torchvision", "av")}
        | {"python": platform.python_version()},
    }


def rebuild(checkpoint: dict[str, Any], raw: bool = False) -> Trained:
    """The network of a checkpoint, in evaluation mode. ValueError if its weights do not fit its description.

    raw: take the weights as the optimiser left them, even where the checkpoint has their moving average.
    """
    entry = checkpoint["besnet"]
    ema = None if raw else entry.get("ema")
    prefix = TRAINED if ema is None else AVERAGED
    network = BesNet(**entry["model"])
    weights: dict[str, Tensor] = {
        name.removeprefix(prefix): weight
        for name, weight in checkpoint["state_dict"].items()
        if name.startswith(prefix)
    }
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(
            f"the checkpoint's weights do not fit its network: {str(error).splitlines()[-1].strip()}"
        ) from error
    network.eval()
    return Trained(
        network=network,
        ema=ema,
        position=entry.get("position", {}),
        **{key: entry[key] for key in ("model", "classes", "passport", "config", "revision", "versions")},
    )


def package_version(name: str) -> str:
    """A package's installed version, or `unknown`."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "unknown"


def revision() -> str:
    """The source revision of besnet, with `+changes` where files differ from it.

    Outside a checkout what BESNET_REVISION says, which a container's build sets, else besnet's version.
    """
    folder = Path(__file__).resolve().parents[2]
    built = os.environ.get("BESNET_REVISION") or package_version("besnet")
    if not (folder / ".git").exists():
        return built
    try:
        commit = subprocess.check_output(
            ["git", "rev-parse", "--short=12", "HEAD"], cwd=folder, text=True, stderr=subprocess.DEVNULL
        )
        status = ["git", "status", "--porcelain", "--untracked-files=no"]
        changed = subprocess.check_output(status, cwd=folder, text=True, stderr=subprocess.DEVNULL)
    except (OSError, subprocess.CalledProcessError):
        return built
    return commit.strip() + ("+changes" if changed.strip() else "")
