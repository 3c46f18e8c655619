"""Training clips: one drawn clip of a video, and batches of them.

Frames stay uint8 (T, H, W, 3); resizing, flips and normalisation happen on the device (besnet.data.transforms). Kept
maps may be in their place, float32 (T, 2, h, w, C).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from besnet.data.augment import Augmentation, Change
from besnet.data.crop import RandomCrop
from besnet.data.failures import Failure
from besnet.data.fetching import Unreachable
from besnet.data.manifest import Manifest
from besnet.data.order import AUGMENT, CLIP, INTERVAL, SUBSTITUTE, Key, generator
from besnet.data.targets import labels_of, targets
from besnet.data.transfer import to_device
from besnet.video.reader import Backend
from besnet.video.sampling import ClipShape, is_short, random_clip

MOST_SUBSTITUTES = 10


@dataclass(frozen=True)
class Clip:
    """One clip as a worker returns it: `frames` uint8 (T, h, w, 3); `flip` and `changes` are still to be made.

    label: the class number; float32 (C,) with a 1 for each label where a video has several.
    """

    row: int
    label: int | Tensor
    frames: Tensor
    flip: bool
    looped: bool
    failures: tuple[Failure, ...] = ()
    changes: tuple[Change, ...] = ()


@dataclass(frozen=True)
class ClipBatch:
    """Clips of one micro-batch, still ragged: a list of uint8 (T, h, w, 3) whose h and w differ.

    labels: int64 (B,), or float32 (B, C) of sets of labels.
    """

    rows: list[int]
    labels: Tensor
    frames: list[Tensor]
    flips: list[bool]
    looped: int
    failures: list[Failure]
    changes: list[tuple[Change, ...]]

    def to(self, device: torch.device) -> "ClipBatch":
        """The same batch with its tensors on a device."""
        labels, *frames = to_device([self.labels, *self.frames], device)
        return replace(self, labels=labels, frames=frames)

    def pin_memory(self) -> "ClipBatch":
        """The same batch in page-locked memory, from which copies to a GPU overlap with its work."""
        return replace(self, labels=self.labels.pin_memory(), frames=[clip.pin_memory() for clip in self.frames])


def collate(clips: Sequence[Clip]) -> ClipBatch:
    """Put clips together without touching their frames."""
    return ClipBatch(
        rows=[clip.row for clip in clips],
        labels=torch.stack([torch.as_tensor(clip.label) for clip in clips]),
        frames=[clip.frames for clip in clips],
        flips=[clip.flip for clip in clips],
        looped=sum(clip.looped for clip in clips),
        failures=[failure for clip in clips for failure in clip.failures],
        changes=[clip.changes for clip in clips],
    )


@dataclass(frozen=True)
class ClipDraw:
    """What is drawn for a training clip: its place in time and its crop, and with an augmentation more changes.

    no_flip: labels of clips that are never mirrored. intervals: factors on the clip's frame interval, of which each
    clip draws one; empty for none.
    """

    shape: ClipShape
    crop: RandomCrop
    augmentation: Augmentation | None = None
    no_flip: frozenset[int] = frozenset()
    intervals: tuple[float, ...] = ()


class TrainingClips(Dataset[Clip]):
    """One randomly drawn clip of a video; what is drawn is a function of (seed, epoch, video, repeat).

    A video that cannot be read is replaced by another one, also a function of (seed, epoch, video), and the failure is
    returned with the clip. `substitutes` from the run's failure log are used again, so that a replay is exact.
    """

    def __init__(
        self,
        manifest: Manifest,
        rows: np.ndarray,
        draw: ClipDraw,
        seed: int,
        backend: Backend = "pyav",
        substitutes: dict[Key, int] | None = None,
    ) -> None:
        self.manifest = manifest
        self.rows = rows
        self.draw = draw
        self.seed = seed
        self.backend: Backend = backend
        self.substitutes = substitutes or {}

    def __getitem__(self, key: Key) -> Clip:
        epoch, first, repeat = key
        why = ""
        if key in self.substitutes:
            try:
                return self.read((epoch, self.substitutes[key], repeat), (), alone=True)
            except Unreachable:
                raise
            except (ValueError, OSError) as error:  # lost as well since then: another one is tried
                why = str(error)
        candidates = generator(self.seed, SUBSTITUTE, epoch, first).choice(self.rows, MOST_SUBSTITUTES)
        for row in [first, *map(int, candidates)]:
            try:
                failures = (Failure(epoch, first, self.manifest[first].id, why, row, repeat),) if why else ()
                return self.read((epoch, row, repeat), failures, alone=row != first)
            except Unreachable:
                raise  # the storage fails, not this video: another one would fail, too
            except (ValueError, OSError) as error:
                why = why or str(error)
        raise ValueError(f"{self.manifest[first].id}: {why}; none of {MOST_SUBSTITUTES} substitutes could be read")

    def read(self, key: Key, failures: tuple[Failure, ...], alone: bool = False) -> Clip:
        """The clip that a row has in an epoch; alone: see Manifest.open. ValueError if the video cannot be read."""
        position = key if key[2] else key[:2]
        rng = generator(self.seed, CLIP, *position)
        row = key[1]
        facts = self.manifest[row]
        shape = self.draw.shape.paced(rng)
        if self.draw.intervals:
            factors = generator(self.seed, INTERVAL, *position)
            shape = shape.spaced(self.draw.intervals[factors.integers(len(self.draw.intervals))])
        with self.manifest.open(row, self.backend, alone) as reader:
            numbers = random_clip(reader.times_sec, shape, rng)
            box, flip = self.draw.crop.draw(facts.height, facts.width, rng)
            frames = torch.from_numpy(reader.read(numbers, box))
            looped = is_short(reader.times_sec, shape)
        flip = flip and self.draw.no_flip.isdisjoint(labels_of(facts))
        changes: tuple[Change, ...] = ()
        if self.draw.augmentation is not None:
            changes = self.draw.augmentation.draw(generator(self.seed, AUGMENT, *position))
        label: int | Tensor = facts.label
        if self.manifest.multi_label:
            label = torch.from_numpy(targets(self.manifest, np.array([row]))[0])
        return Clip(row, label, frames, flip, looped, failures, changes)
