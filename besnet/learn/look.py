"""What a prepared data set holds, in a few lines."""

import re

import numpy as np

from besnet.data.manifest import Manifest
from besnet.data.targets import targets

SIDES = {"left", "right", "clockwise", "counterclockwise", "anticlockwise"}
UNEVEN = 5  # the largest class has so many times the videos of the smallest


def look(manifest: Manifest) -> None:
    """Print lengths, rates, sizes and the balance of the classes."""
    rows = np.concatenate([manifest.select(split) for split in ("train", "val", "test")])
    facts = [manifest[int(row)] for row in rows]
    length = np.array([one.duration_sec for one in facts])
    print(f"length: {length.min():.1f} to {length.max():.1f} s, half of them up to {np.median(length):.1f} s")
    print(f"frames per second: {spread([round(one.fps, 1) for one in facts])}")
    print(f"size: {spread([one.width for one in facts])} x {spread([one.height for one in facts])} pixels, as prepared")
    counts = targets(manifest, manifest.select("train")).sum(axis=0).astype(np.int64)
    few, many = int(counts.argmin()), int(counts.argmax())
    names = manifest.classes
    print(f"training videos of a class: {counts[few]} ({names[few]}) to {counts[many]} ({names[many]})")
    if counts[many] > UNEVEN * max(1, counts[few]):
        print("WARNING: the classes are uneven: expect more mistakes in the small ones (see data.balance)")


def spread(values: list[float] | list[int]) -> str:
    """The smallest and the largest value, or the only one."""
    low, high = min(values), max(values)
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


def reads_left_and_right(manifest: Manifest) -> bool:
    """Whether the name of a class speaks of left and right, so that no clip may be mirrored."""
    words = {word for name in manifest.classes for word in re.split(r"[^a-z]+", name.lower())}
    return bool(words & SIDES)
