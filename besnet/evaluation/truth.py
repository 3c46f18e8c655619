"""What a data set says of its videos, in a network's own class numbers; and which of them the network knows."""

import numpy as np

from besnet.checkpoints.header import LoadedCheckpoint
from besnet.data.known import count_known
from besnet.data.labels import canonical
from besnet.data.manifest import Manifest
from besnet.data.targets import targets


def own_labels(manifest: Manifest, rows: np.ndarray, classes: list[str]) -> np.ndarray:
    """The data's labels as the network's class numbers, -1 without a label."""
    return np.append(own_numbers(manifest, classes), -1)[manifest.labels[rows]]


def own_sets(manifest: Manifest, rows: np.ndarray, classes: list[str]) -> np.ndarray:
    """The data's labels as sets of the network's classes: uint8 (N, C), 1 for each label of a video.

    ValueError for a video without a label in data that has one a video: it is not known what it shows.
    """
    if not manifest.multi_label and (manifest.labels[rows] < 0).any():
        raise ValueError(f"{manifest.folder}: videos without a label: average precision needs the labels of all")
    found = np.zeros((len(rows), len(classes)), dtype=np.uint8)
    found[:, own_numbers(manifest, classes)] = targets(manifest, rows)
    return found


def own_numbers(manifest: Manifest, classes: list[str]) -> np.ndarray:
    """The network's number of each class of the data, int64; classes are matched by name, without regard to capitals
    and underscores. ValueError for one that the network does not know."""
    numbers = {canonical(name): number for number, name in enumerate(classes)}
    unknown = [name for name in manifest.classes if canonical(name) not in numbers]
    if unknown:
        raise ValueError(
            f"{manifest.folder}: the network does not know {len(unknown)} of its {len(manifest.classes)} classes "
            f"(the first: {unknown[0]!r}): evaluate on data with the classes it was trained on"
        )
    return np.array([numbers[canonical(name)] for name in manifest.classes], dtype=np.int64)


def check_new(manifest: Manifest, split: str, known: int | None, allowed: bool) -> None:
    """ValueError for a split with videos that the network was trained on, where that is not allowed."""
    if known and not allowed:
        raise ValueError(
            f"{manifest.folder}: the network was trained on {known} of the videos of the split {split}: evaluate on "
            "others, or add --allow_training_videos"
        )


def training_videos(trained: LoadedCheckpoint, manifest: Manifest, split: str) -> int | None:
    """How many readable videos of a split the network was trained on; None where its checkpoint does not record it."""
    ready = manifest.select(split)
    if trained.trained_on is not None:
        return count_known(manifest, ready, trained.trained_on.numpy())
    if trained.passport["source"] == manifest.passport.source:
        return len(ready) if split == "train" else 0
    return None
