"""What a video looks like in 64 bytes, so that the same pictures are known again when they have been re-encoded.

Nine moments spread over the video are scaled to a few grey pixels, each with its brightness and contrast taken out. The
pictures, and the changes from each to the next, are projected on random directions, of which the signs are kept: two
videos differ in a share of the bits that is the angle between them, in half turns. A fixed camera gives many videos the
same pictures; their changes tell them apart.
Source of the signs: M. Charikar, "Similarity Estimation Techniques from Rounding Algorithms", 2002.
"""

import base64
import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from av.video.reformatter import VideoReformatter
from PIL import Image

from besnet.video.orientation import Orientation

MOMENTS = 9
SIDE = 32  # of the small picture that is taken while the video is decoded, pixels
GRID = 12  # of what is compared
FLAT = 4.0  # levels of grey: a picture of less contrast shows nothing
STILL_BITS, MOTION_BITS = 128, 384
WORDS = (STILL_BITS + MOTION_BITS) // 64
STILL_WORDS = STILL_BITS // 64
MOST_APART = 0.12  # share of the bits, of the pictures and of the changes
SAME_LENGTH, SAME_LENGTH_SEC = 0.02, 0.2


See = Callable[[int, Any], None]  # what a frame's number and the frame are shown to


class Looks:
    """Collects the moments while a video's frames go by."""

    def __init__(self, times_sec: np.ndarray, orientation: Orientation, first: int, last: int) -> None:
        own = times_sec[first : last + 1] - times_sec[first]
        moments = (np.arange(MOMENTS) + 0.5) / MOMENTS * own[-1]
        self.numbers = (first + np.searchsorted(own, moments + 1e-6, side="right") - 1).tolist()
        self.orientation = orientation
        self.pictures: dict[int, np.ndarray] = {}
        self.scaler = VideoReformatter()

    def see(self, number: int, frame: Any) -> None:
        """Look at a decoded frame; only a few are."""
        if number in self.numbers and number not in self.pictures:
            small = self.scaler.reformat(frame, SIDE, SIDE, "gray", interpolation="AREA", threads=1)
            self.pictures[number] = self.orientation.apply(small.to_ndarray()).copy()

    @property
    def text(self) -> str:
        """The 64 bytes as text; empty where there is nothing to see, as in a black video."""
        grids = np.stack([grid(self.pictures[number]) for number in self.numbers])
        contrast = grids.std(axis=(1, 2), keepdims=True)
        if np.median(contrast) < FLAT:
            return ""
        even = (grids - grids.mean(axis=(1, 2), keepdims=True)) / np.maximum(contrast, FLAT)
        bits = [signs(even, STILL_BITS), signs(np.diff(even, axis=0), MOTION_BITS)]
        return base64.b64encode(np.packbits(np.concatenate(bits)).tobytes()).decode()


def grid(picture: np.ndarray) -> np.ndarray:
    """Grey levels float64 (GRID, GRID): means over the picture's parts."""
    small = Image.fromarray(picture).convert("F").resize((GRID, GRID), Image.Resampling.BOX)
    return np.asarray(small, dtype=np.float64)


def signs(values: np.ndarray, bits: int) -> np.ndarray:
    """On which side of each of so many random directions the values lie: bool (bits,)."""
    whole = np.round(values.ravel() * 1000).astype(np.int64)  # so that sums are the same on every machine
    found: np.ndarray = directions(bits, len(whole)) @ whole > 0
    return found


@functools.cache
def directions(bits: int, length: int) -> np.ndarray:
    """Random directions of -1 and 1, int64 (bits, length), the same ones always."""
    raw = np.random.PCG64(0).random_raw(bits * length)
    return np.where(raw >> 63, 1, -1).reshape(bits, length)


def unpacked(texts: list[str]) -> np.ndarray:
    """The bits of videos, uint64 (N, WORDS)."""
    return np.frombuffer(b"".join(map(base64.b64decode, texts)), dtype=np.uint64).reshape(len(texts), WORDS)


def alike(texts: list[str], lengths_sec: np.ndarray, splits: np.ndarray) -> list[tuple[int, ...]]:
    """Pairs of videos in different splits that show the same and are equally long, as places in the lists.

    texts: what Looks gives. splits: a number for each video.
    """
    order = np.argsort(lengths_sec, kind="stable")
    words, lengths, sides = unpacked(texts)[order], lengths_sec[order], splits[order]
    ends = np.searchsorted(lengths, lengths + np.maximum(SAME_LENGTH_SEC, SAME_LENGTH * lengths), side="right")
    found: list[tuple[int, ...]] = []
    for place, end in enumerate(ends.tolist()):
        others = place + 1 + np.flatnonzero(sides[place + 1 : end] != sides[place])
        for first, last in ((0, STILL_WORDS), (STILL_WORDS, WORDS)):
            apart = np.bitwise_count(words[others, first:last] ^ words[place, first:last]).sum(axis=1)
            others = others[apart <= MOST_APART * 64 * (last - first)]
        found += [tuple(sorted((int(order[place]), int(order[other])))) for other in others]
    return sorted(found)
