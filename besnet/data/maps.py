"""Files of kept maps, one for each video: what a network's first layers put out for each of its frames.

A safetensors file of two arrays: `maps`, float32 (frames, 2, h, w, C), of the picture and of its mirror image, and
`times_sec`, float64 (frames,), when each frame is shown. dataset.json says which layers of which network they are of.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from besnet.data.row import MAX_FILE_BYTES
from besnet.reading import read_bytes
from besnet.video.container import VideoError
from besnet.video.reader import MAX_READ_BYTES, Box


def maps_file(maps: np.ndarray, times_sec: np.ndarray) -> bytes:
    """The bytes of a file of maps: the same for the same maps."""
    return save({"maps": np.ascontiguousarray(maps, np.float32), "times_sec": np.asarray(times_sec, np.float64)})


class MapsReader:
    """The kept maps of one video, read as a besnet.video.reader.Reader reads its frames."""

    def __init__(self, source: Path | bytes, name: str) -> None:
        self.name = name
        try:
            held = load(source if isinstance(source, bytes) else read_bytes(source, MAX_FILE_BYTES))
            self.times_sec, self._maps = held["times_sec"], held["maps"]
        except (SafetensorError, KeyError) as error:
            raise VideoError(f"{name}: holds no kept maps ({str(error).splitlines()[0]})") from None
        maps, times = self._maps, self.times_sec
        if (maps.ndim, maps.dtype, times.dtype) != (5, np.float32, np.float64) or maps.shape[1] != 2:
            raise VideoError(f"{name}: holds no kept maps ({maps.dtype} of the shape {maps.shape})")
        if not len(maps) or times.shape != (len(maps),) or (np.diff(times) < 0).any() or not np.isfinite(times).all():
            raise VideoError(f"{name}: holds no kept maps (maps of {len(maps)} frames at {len(times)} times)")

    def __len__(self) -> int:
        return len(self.times_sec)

    def shrinking(self, count: int) -> int:
        """Maps are never reduced."""
        return 1

    def read(self, frames: Sequence[int] | np.ndarray, box: Box | None = None, shrink: int = 1) -> np.ndarray:
        """The maps of the frames with these numbers: float32 (N, 2, h, w, C). `box` is the whole picture's.

        VideoError where a frame does not exist.
        """
        numbers = np.asarray(frames, dtype=np.int64)
        if len(numbers) and not 0 <= numbers.min() <= numbers.max() < len(self):
            raise VideoError(f"{self.name}: frames {numbers.min()} to {numbers.max()}: the video has {len(self)}")
        if self._maps[:1].nbytes * len(numbers) > MAX_READ_BYTES:
            raise VideoError(f"{self.name}: the maps of {len(numbers)} frames are more than {MAX_READ_BYTES} bytes")
        return np.asarray(self._maps[numbers])

    def close(self) -> None:
        """Nothing is open."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
