"""Checkpoints of a tiny network that has never seen a video, whole or spoilt as a test wants it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from besnet.checkpoints import store
from besnet.checkpoints.header import header
from besnet.models.besnet import BesNet

SMALL = {"dilations": [1, 2], "blocks": [1, 1], "width": 4}
CLIP = {"num_frames": 4, "frame_interval": 8, "target_fps": 30}


def content(classes: list[str], clip: dict[str, Any] = CLIP, **entries: Any) -> dict[str, Any]:
    """What is in such a checkpoint; `entries` take the place of its header's."""
    torch.manual_seed(0)
    arguments = SMALL | {"num_classes": len(classes)}
    config = {
        "data": {"folder": "nowhere", "clip": clip, "crop_size": 32},
        "evaluation": {"num_clips": 2, "num_crops": 3},
    }
    weights = {f"network.{name}": value for name, value in BesNet(**arguments).state_dict().items()}  # type: ignore[arg-type]
    entry = header(arguments, classes, {"source": "", "encode": ""}, config)
    return {"besnet": entry | entries, "state_dict": weights}


def checkpoint(
    folder: Path, classes: list[str], spoil: Callable[[dict[str, Any]], object] = bool, **entries: Any
) -> Path:
    """Save one; `spoil` changes its content before."""
    made = content(classes, **entries)
    spoil(made)
    return store.save(made, folder, 0)
