"""The interface of all readers of frames; besnet.video.opening opens a video with one of them."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np

from besnet.video.container import VideoError, open_container
from besnet.video.deadline import Deadline
from besnet.video.frame_index import FrameIndex, index_frames

Backend = Literal["pyav", "decord"]
Box = tuple[int, int, int, int]  # top, left, height, width in pixels of the upright frame

MAX_READ_BYTES = 2_000_000_000  # one read's frames as RGB, repeats included


class Reader(ABC):
    """One open video. Use it in a `with` statement; it belongs to the process that opened it.

    Attributes: `times_sec`, float64 (frames,), when each frame is shown, ascending, the first 0; `name`.
    """

    def __init__(self, source: Path | bytes, name: str, deadline_sec: float | None = None) -> None:
        self.name = name
        self._deadline = Deadline(name, deadline_sec)
        self._source = source
        self._stack = ExitStack()
        try:
            self._container, self._stream = self._stack.enter_context(open_container(source, name))
            self._index: FrameIndex = index_frames(self._container, self._stream, self._deadline)
        except BaseException:
            self._stack.close()
            raise
        self.times_sec = self._index.times_sec
        self._size: tuple[int, int] | None = None

    def __len__(self) -> int:
        return len(self.times_sec)

    @property
    def dropped(self) -> int:
        """Pictures before the first frame that refer to some before the beginning of the file: they have no number."""
        return self._index.dropped

    @property
    def height(self) -> int:
        """Pixels, after rotation. The first use decodes one frame: a manifest row has the same number for nothing."""
        return self._upright_size()[0]

    @property
    def width(self) -> int:
        """Pixels, after rotation. See `height`."""
        return self._upright_size()[1]

    def _upright_size(self) -> tuple[int, int]:
        if self._size is None:
            height, width = self.read([0]).shape[1:3]
            self._size = height, width
        return self._size

    def shrinking(self, count: int) -> int:
        """The least `shrink` with which `count` frames may be read at once; 1 but for the largest videos."""
        size = 3 * self._stream.width * self._stream.height * count
        return max(1, math.ceil(math.sqrt(size / MAX_READ_BYTES)))

    def read(self, frames: Sequence[int] | np.ndarray, box: Box | None = None, shrink: int = 1) -> np.ndarray:
        """The frames with these numbers (any order, repeats allowed): uint8 (N, height, width, 3), RGB, upright.

        `box` cuts (top, left, height, width) out of each; `shrink` 2 halves height and width of each. Raises VideoError
        where a frame does not exist, cannot be decoded without damage, or has another size; never returns fewer frames
        or another frame in its place.
        """
        numbers = np.asarray(frames, dtype=np.int64)
        assert numbers.ndim == 1, f"frame numbers must be a list, not {numbers.shape}"
        wanted = np.unique(numbers)
        if len(wanted) == 0:
            return np.zeros((0, *(box[2:] if box else (self._stream.height, self._stream.width)), 3), dtype=np.uint8)
        if wanted[0] < 0 or wanted[-1] >= len(self):
            outside = int(wanted[0] if wanted[0] < 0 else wanted[-1])
            raise VideoError(f"{self.name}: no frame {outside}: the video has {len(self)}")
        pixels = box[2] * box[3] if box else self._stream.width * self._stream.height
        if 3 * pixels * len(numbers) > MAX_READ_BYTES * shrink**2:
            raise VideoError(f"{self.name}: {len(numbers)} frames at once are more than {MAX_READ_BYTES} bytes")
        self._deadline.restart()
        out: np.ndarray | None = None
        order = np.argsort(numbers, kind="stable")
        starts = np.searchsorted(numbers[order], wanted)
        ends = np.searchsorted(numbers[order], wanted, side="right")
        rank = {int(n): i for i, n in enumerate(wanted)}
        for number, picture in self._decode(wanted):
            if box is not None:
                top, left, height, width = box
                whole = picture.shape
                if not (0 <= top <= top + height <= whole[0] and 0 <= left <= left + width <= whole[1]):
                    raise VideoError(f"{self.name}: the box {box} is outside a frame of {whole[0]} x {whole[1]}")
                picture = picture[top : top + height, left : left + width]
            if shrink > 1:
                picture = shrunk(picture, shrink)
            if out is None:
                out = np.empty((len(numbers), *picture.shape), dtype=np.uint8)
            if picture.shape != out.shape[1:]:
                raise VideoError(
                    f"{self.name}: frame {number} is {picture.shape[1]} x {picture.shape[0]}, others are not"
                )
            i = rank.pop(number)
            for j in order[starts[i] : ends[i]]:
                out[j] = picture
        if rank:
            raise VideoError(f"{self.name}: frame {min(rank)} cannot be decoded")
        assert out is not None
        return out

    @abstractmethod
    def _decode(self, wanted: np.ndarray) -> Any:
        """Yield (number, uint8 (height, width, 3)) once for each of the ascending numbers, in any order."""

    def close(self) -> None:
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def shrunk(picture: np.ndarray, by: int) -> np.ndarray:
    """Every square of `by` x `by` pixels as its mean: uint8 (h, w, 3) → (h // by, w // by, 3)."""
    height, width = picture.shape[0] // by * by, picture.shape[1] // by * by
    total = np.full((height // by, width // by, 3), by * by // 2, dtype=np.uint32 if by > 16 else np.uint16)
    for row in range(by):
        for column in range(by):
            total += picture[row:height:by, column:width:by]
    return (total // (by * by)).astype(np.uint8)
