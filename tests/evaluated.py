"""Writes the folder of a finished evaluation, as `besnet evaluate` leaves it, without any network."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from besnet.checkpoints.store import file_hash

PASSPORT = {"source": "0" * 32, "encode": "1" * 32}


def results(count: int, views: int, classes: list[str], **changes: Any) -> dict[str, Any]:
    """results.json of an evaluation of so many videos."""
    facts: dict[str, Any] = {
        "data": {"name": "some", "passport": PASSPORT},
        "split": "test",
        "checkpoint": {
            "file": "step_000000009-0000000000000000.ckpt", "hash": "0" * 16, "revision": "1", "passport": PASSPORT,
            "network": "BesNet", "position": {"micro_batch": 9},
        },
        "views": {"num_clips": views, "num_crops": 1, "crop_size": 32, "pairs": []},
        "clip": {"num_frames": 4, "frame_interval": 2, "target_fps": 30.0, "sampling": "dense"},
        "dilations": [1, 2],
        "classes": classes,
        "coverage": {"expected": count, "evaluated": count, "missing": 0, "undecodable": 0, "looped": 0},
        "accuracy": None,
        "trained_on": 0,
    }  # fmt: skip
    return facts | changes


def write(
    folder: Path, probabilities: np.ndarray, labels: list[int], classes: list[str], ids: list[str] | None = None,
    **changes: Any,
) -> Path:  # fmt: skip
    """An evaluation's folder with these answers: probabilities (N, V, C)."""
    folder.mkdir(parents=True)
    names = ids or [f"video{number}" for number in range(len(labels))]
    arrays = {"ids": np.array(names, dtype=np.str_), "labels": np.array(labels, dtype=np.int64)}
    np.savez(folder / "predictions.npz", probabilities=probabilities.astype(np.float32), **arrays)
    facts = results(len(labels), probabilities.shape[1], classes, **changes)
    facts["predictions"] = file_hash(folder / "predictions.npz")
    (folder / "results.json").write_text(json.dumps(facts))
    return folder
