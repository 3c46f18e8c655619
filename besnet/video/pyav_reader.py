"""Exact frames with PyAV: decodes from the key frame before, once, and converts only the frames asked for."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from besnet.video.container import VideoError, words
from besnet.video.reader import Reader


class PyAVReader(Reader):
    """The default reader."""

    def __init__(self, source: Path | bytes, name: str) -> None:
        super().__init__(source, name)
        self._decoder = self._stream.codec_context
        self._to_rgb = ToRGB()

    @property
    def rotation(self) -> int:
        """Degrees anticlockwise by which decoded frames are turned to stand upright."""
        if self._to_rgb.rotation is None:
            self.read([0])
        return self._to_rgb.rotation or 0

    def count_decoded(self) -> int:
        """Decode every frame and count those that carry the time stamp and the size they should."""
        if not self._index.exact:
            return len(self)  # its frames were numbered by decoding all of them
        seen: set[int] = set()
        try:
            for frame in self._run(0, len(self._index.packets) - 1):
                if (frame.width, frame.height) != (self._stream.width, self._stream.height):
                    raise VideoError(f"{self.name}: the frame size changes to {frame.width} x {frame.height}")
                seen.add(self._index.number_of.get(frame.pts, -1))
        except av.FFmpegError as error:
            raise VideoError(f"{self.name}: damaged: {words(error)}") from None
        finally:
            if self._decoder.is_open:
                self._decoder.flush_buffers()
        return len(seen - {-1})

    def _decode(self, wanted: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        numbers = set(wanted.tolist())
        try:
            if not self._index.exact:
                frames = (frame for packet in [*self._index.packets, None] for frame in self._decoder.decode(packet))
                for number, frame in enumerate(frames):
                    if number in numbers:
                        yield number, self._to_rgb(frame)
                    if number == wanted[-1]:
                        break
            else:
                for frame in self._frames(wanted):
                    number = self._index.number_of.get(frame.pts, -1)
                    if number in numbers:
                        numbers.remove(number)
                        yield number, self._to_rgb(frame)
        except (av.FFmpegError, MemoryError) as error:
            raise VideoError(f"{self.name}: damaged: {words(error)}") from None
        finally:
            # Also after an error or an early stop the next read must find an empty decoder.
            if self._decoder.is_open:
                self._decoder.flush_buffers()

    def _frames(self, wanted: np.ndarray) -> Iterator[Any]:
        """Decoded frames that include the wanted ones, group of pictures by group."""
        index = self._index
        start, end = -1, -1
        for number in wanted:
            position = int(index.position[number])
            if position <= end:
                continue
            key = index.start_for(number)
            if key > end + 1 or start < 0:
                if start >= 0:
                    yield from self._run(start, end)
                start = key
            end = position
        yield from self._run(start, end)

    def _run(self, start: int, end: int) -> Iterator[Any]:
        """Decode packets start..end, then ask for what the decoder still holds back."""
        first = self._index.ticks[start]
        for position in range(start, end + 1):
            # Shown before the key frame that decoding starts at: may refer to frames before it and is not wanted.
            if self._index.ticks[position] >= first:
                yield from self._decoder.decode(self._index.packets[position])
        yield from self._decoder.decode(None)
        self._decoder.flush_buffers()


class ToRGB:
    """Turns a decoded frame into an upright RGB array, uint8 (height, width, 3).

    Chroma is not interpolated for 8-bit pictures (libswscale's direct path). Deeper pictures take the path through a
    filter that decord takes too, so that both readers give the same values.
    """

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()
        self._graph: Any = None
        self.rotation: int | None = None  # of the last frame, 0, 90, 180 or 270

    def __call__(self, frame: Any) -> np.ndarray:
        if frame.format.components[0].bits > 8:
            rgb = self._filter(frame)
        else:
            rgb = self._reformatter.reformat(frame, format="rgb24")
        plane = rgb.planes[0]
        rows = np.frombuffer(plane, dtype=np.uint8).reshape(-1, plane.line_size)[: rgb.height, : 3 * rgb.width]
        picture = rows.reshape(rgb.height, rgb.width, 3)
        turns = round(frame.rotation / 90) % 4
        self.rotation = 90 * turns
        return np.rot90(picture, turns) if turns else picture

    def _filter(self, frame: Any) -> Any:
        if self._graph is None:
            graph = av.filter.Graph()
            source = graph.add_buffer(
                width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1, 1000)
            )
            change, sink = graph.add("format", "rgb24"), graph.add("buffersink")
            source.link_to(change)
            change.link_to(sink)
            graph.configure()
            self._graph = graph
        self._graph.push(frame)
        return self._graph.pull()
