"""The clips of a video for evaluation: at evenly spaced times, nothing random."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from besnet.data.by_shard import wanted_alone
from besnet.data.fetching import Unreachable
from besnet.data.manifest import Manifest
from besnet.data.maps import MapsReader
from besnet.video.reader import Backend, Reader
from besnet.video.sampling import ClipShape, is_short, uniform_clips


@dataclass(frozen=True)
class VideoClips:
    """All clips of one video, or the reason for None: `frames` as of `read_clips`."""

    row: int
    frames: Tensor | None
    looped: bool = False
    why: str = ""

    def pin_memory(self) -> "VideoClips":
        """The same in page-locked memory, from which copies to a GPU overlap with its work."""
        return self if self.frames is None else replace(self, frames=self.frames.pin_memory())


class EvaluationClips(Dataset[VideoClips]):
    """Clips at evenly spaced times of a video, decoded once; nothing is random, and no video is substituted."""

    def __init__(
        self, manifest: Manifest, rows: np.ndarray, shape: ClipShape, num_clips: int, backend: Backend = "pyav"
    ) -> None:
        self.manifest = manifest
        self.rows = rows
        self.shape = shape
        self.num_clips = num_clips
        self.backend: Backend = backend
        self.alone = wanted_alone(manifest, rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, position: int) -> VideoClips:
        row = int(self.rows[position])
        try:
            with self.manifest.open(row, self.backend, row in self.alone) as reader:
                numbers = uniform_clips(reader.times_sec, self.shape, self.num_clips)
                frames = read_clips(reader, numbers)
                looped = is_short(reader.times_sec, self.shape)
        except Unreachable:
            raise
        except (ValueError, OSError) as error:
            return VideoClips(row, None, why=str(error))
        return VideoClips(row, frames, looped)


def read_clips(reader: Reader | MapsReader, numbers: np.ndarray) -> Tensor:
    """Clips of these frame numbers, int64 (num_clips, T): uint8 (num_clips, T, H, W, 3), each frame decoded once; of
    kept maps float32 (num_clips, T, 2, h, w, C).

    Frames that together exceed the limit of one read (ten clips of 16 in 4K) are reduced by a whole factor.
    """
    frames = reader.read(numbers.reshape(-1), shrink=reader.shrinking(numbers.size))
    return torch.from_numpy(frames).unflatten(0, numbers.shape)
