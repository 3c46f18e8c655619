"""Videos as the network's loaders want them: drawn clips for training, all views for evaluation.

Frames stay uint8 (T, H, W, 3); resizing, flips and normalisation happen on the device (besnet.data.transforms).
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from besnet.data.augment import Augmentation, Change
from besnet.data.failures import Failure
from besnet.data.fetching import Unreachable
from besnet.data.manifest import Manifest
from besnet.data.order import AUGMENT, CLIP, SUBSTITUTE, Key, generator
from besnet.data.parcel import Packed, as_it_is
from besnet.ranges import check_section
from besnet.supervision import EndWithReader, start_fork_server
from besnet.video.reader import Backend, Box, Reader
from besnet.video.sampling import ClipShape, is_short, random_clip, uniform_clips

MOST_SUBSTITUTES = 10


@dataclass(frozen=True)
class RandomCrop:
    """The rectangle and the mirroring that training draws for a clip; the same for all its frames.

    Args:
        kind: `jitter` takes a square of crop_size after scaling the short side to a drawn length;
            `resized` takes a rectangle of a drawn area and aspect ratio.
        short_side: smallest and largest short side that `jitter` draws, in multiples of crop_size.
        area: smallest and largest share of the frame that `resized` draws.
        aspect: smallest and largest width / height that `resized` draws.
        flip: probability of a left-right mirror image.
    """

    kind: Literal["jitter", "resized"] = "jitter"
    short_side: tuple[float, float] = (256 / 224, 320 / 224)
    area: tuple[float, float] = (0.3, 1.0)
    aspect: tuple[float, float] = (3 / 4, 4 / 3)
    flip: float = 0.5

    def __post_init__(self) -> None:
        check_section("data.crop", vars(self))
        for name in ("short_side", "area", "aspect"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"data.crop.{name}: two rising numbers are expected, not {[low, high]}")

    def draw(self, height: int, width: int, rng: np.random.Generator) -> tuple[Box, bool]:
        """A box (top, left, height, width) inside a frame, and whether to mirror it."""
        if self.kind == "jitter":
            side = min(height, width) / rng.uniform(*self.short_side)
            box_height = box_width = max(1, round(side))
        else:
            box_height, box_width = self._resized(height, width, rng)
        top = int(rng.integers(height - box_height + 1))
        left = int(rng.integers(width - box_width + 1))
        return (top, left, box_height, box_width), bool(rng.random() < self.flip)

    def _resized(self, height: int, width: int, rng: np.random.Generator) -> tuple[int, int]:
        for _ in range(10):
            area = height * width * rng.uniform(*self.area)
            aspect = np.exp(rng.uniform(*np.log(self.aspect)))
            box_width, box_height = round(np.sqrt(area * aspect)), round(np.sqrt(area / aspect))
            if 0 < box_width <= width and 0 < box_height <= height:
                return box_height, box_width
        side = min(height, width)
        return side, side


@dataclass(frozen=True)
class Clip:
    """One clip as a worker hands it over: `frames` uint8 (T, h, w, 3); `flip` and `changes` are still to be made."""

    row: int
    label: int
    frames: Tensor
    flip: bool
    looped: bool
    failures: tuple[Failure, ...] = ()
    changes: tuple[Change, ...] = ()


@dataclass(frozen=True)
class ClipBatch:
    """Clips of one micro-batch, still ragged: a list of uint8 (T, h, w, 3) whose h and w differ."""

    rows: list[int]
    labels: Tensor
    frames: list[Tensor]
    flips: list[bool]
    looped: int
    failures: list[Failure]
    changes: list[tuple[Change, ...]]

    def to(self, device: torch.device) -> "ClipBatch":
        """The same batch with its tensors on a device."""
        frames = [clip.to(device, non_blocking=True) for clip in self.frames]
        return replace(self, labels=self.labels.to(device, non_blocking=True), frames=frames)

    def pin_memory(self) -> "ClipBatch":
        """The same batch in page-locked memory, from which copies to a GPU overlap with its work."""
        return replace(self, labels=self.labels.pin_memory(), frames=[clip.pin_memory() for clip in self.frames])


def collate(clips: Sequence[Clip]) -> ClipBatch:
    """Put clips together without touching their frames."""
    return ClipBatch(
        rows=[clip.row for clip in clips],
        labels=torch.tensor([clip.label for clip in clips]),
        frames=[clip.frames for clip in clips],
        flips=[clip.flip for clip in clips],
        looped=sum(clip.looped for clip in clips),
        failures=[failure for clip in clips for failure in clip.failures],
        changes=[clip.changes for clip in clips],
    )


class TrainingClips(Dataset[Clip]):
    """One randomly drawn clip of a video; what is drawn is a function of (seed, epoch, video, repeat).

    augmentation: what else than the crop and its mirroring is drawn. no_flip: labels of clips that are never mirrored.
    A video that cannot be read is replaced by another one, also a function of (seed, epoch, video), and the failure
    travels with the clip; `substitutes` (from the run's failure log) are obeyed, so that a replay is exact.
    """

    def __init__(
        self,
        manifest: Manifest,
        rows: np.ndarray,
        shape: ClipShape,
        crop: RandomCrop,
        seed: int,
        backend: Backend = "pyav",
        substitutes: dict[Key, int] | None = None,
        augmentation: Augmentation | None = None,
        no_flip: frozenset[int] = frozenset(),
    ) -> None:
        self.manifest = manifest
        self.rows = rows
        self.shape = shape
        self.crop = crop
        self.seed = seed
        self.backend: Backend = backend
        self.substitutes = substitutes or {}
        self.augmentation = augmentation
        self.no_flip = no_flip

    def __getitem__(self, key: Key) -> Clip:
        epoch, asked, repeat = key
        why = ""
        if key in self.substitutes:
            try:
                return self.read((epoch, self.substitutes[key], repeat), ())
            except (ValueError, OSError) as error:  # gone as well since then: another one is looked for
                why = str(error)
        candidates = generator(self.seed, SUBSTITUTE, epoch, asked).choice(self.rows, MOST_SUBSTITUTES)
        for row in [asked, *map(int, candidates)]:
            try:
                failures = (Failure(epoch, asked, self.manifest[asked].id, why, row, repeat),) if why else ()
                return self.read((epoch, row, repeat), failures)
            except Unreachable:
                raise  # no fault of this video's: another could be had as little
            except (ValueError, OSError) as error:
                why = why or str(error)
        raise ValueError(f"{self.manifest[asked].id}: {why}; none of {MOST_SUBSTITUTES} substitutes could be read")

    def read(self, key: Key, failures: tuple[Failure, ...]) -> Clip:
        """The clip that a row has in an epoch. ValueError if the video cannot be read."""
        position = key if key[2] else key[:2]
        rng = generator(self.seed, CLIP, *position)
        row = key[1]
        facts = self.manifest[row]
        shape = self.shape.paced(rng)
        with self.manifest.open(row, self.backend) as reader:
            numbers = random_clip(reader.times_sec, shape, rng)
            box, flip = self.crop.draw(facts.height, facts.width, rng)
            frames = torch.from_numpy(reader.read(numbers, box))
            looped = is_short(reader.times_sec, shape)
        flip = flip and facts.label not in self.no_flip
        changes: tuple[Change, ...] = ()
        if self.augmentation is not None:
            changes = self.augmentation.draw(generator(self.seed, AUGMENT, *position))
        return Clip(row, facts.label, frames, flip, looped, failures, changes)


@dataclass(frozen=True)
class VideoClips:
    """All clips of one video, or why there are none: `frames` uint8 (num_clips, T, H, W, 3)."""

    row: int
    frames: Tensor | None
    looped: bool = False
    why: str = ""


class EvaluationClips(Dataset[VideoClips]):
    """Clips at evenly spaced times of a video, decoded once; nothing is random and nothing is ever substituted."""

    def __init__(
        self, manifest: Manifest, rows: np.ndarray, shape: ClipShape, num_clips: int, backend: Backend = "pyav"
    ) -> None:
        self.manifest = manifest
        self.rows = rows
        self.shape = shape
        self.num_clips = num_clips
        self.backend: Backend = backend

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, position: int) -> VideoClips:
        row = int(self.rows[position])
        try:
            with self.manifest.open(row, self.backend) as reader:
                numbers = uniform_clips(reader.times_sec, self.shape, self.num_clips)
                frames = read_clips(reader, numbers)
                looped = is_short(reader.times_sec, self.shape)
        except Unreachable:
            raise
        except (ValueError, OSError) as error:
            return VideoClips(row, None, why=str(error))
        return VideoClips(row, frames, looped)


def read_clips(reader: Reader, numbers: np.ndarray) -> Tensor:
    """Clips of these frame numbers, int64 (num_clips, T): uint8 (num_clips, T, H, W, 3), each frame decoded once.

    Frames that together are above the limit of one read (ten clips of 16 in 4K) come smaller by a whole number.
    """
    frames = reader.read(numbers.reshape(-1), shrink=reader.shrinking(numbers.size))
    return torch.from_numpy(frames).unflatten(0, numbers.shape)


def loader_settings(workers: int, device: torch.device, collate: Callable[[Any], object] = as_it_is) -> dict[str, Any]:
    """DataLoader arguments that are the same for training and evaluation; collate: what puts a batch together."""
    settings: dict[str, Any] = {"num_workers": workers, "pin_memory": device.type == "cuda"}
    settings["collate_fn"] = Packed(collate)
    if workers:
        start_fork_server()
        # fork would copy the parent's threads and locks, on which decoders hang
        settings |= {"multiprocessing_context": "forkserver", "prefetch_factor": 2, "persistent_workers": True}
        settings["worker_init_fn"] = EndWithReader(os.getpid())
    return settings
