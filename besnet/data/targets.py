"""What a network shall say of videos: which of the classes each of them shows."""

from collections.abc import Sequence

import numpy as np

from besnet.data.manifest import Manifest
from besnet.data.row import Row


def targets(manifest: Manifest, rows: np.ndarray) -> np.ndarray:
    """float32 (N, C) of these rows: 1 for every class that a video has as a label, else 0."""
    found = np.zeros((len(rows), len(manifest.classes)), dtype=np.float32)
    for place, row in enumerate(rows.tolist()):
        found[place, list(labels_of(manifest[row]))] = 1
    return found


def labels_of(facts: Row) -> tuple[int, ...]:
    """The numbers of a video's classes, whether it has one label, several or none."""
    if facts.labels is not None:
        return facts.labels
    return (facts.label,) if facts.label >= 0 else ()


def named(facts: Row, classes: Sequence[str]) -> str:
    """A video's labels as text: `a; b`, `none` for the empty set."""
    return "; ".join(classes[number] for number in labels_of(facts)) or "none"
