"""Exact frames with PyAV: decodes from the key frame before, once, and converts only the requested frames."""

from collections.abc import Iterator
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from besnet.video.container import VideoError, words
from besnet.video.formats import CONVERT
from besnet.video.orientation import Orientation, orientation_of
from besnet.video.plain import Plain
from besnet.video.reader import Reader
from besnet.video.references import says_orientation


class PyAVReader(Reader):
    """The default reader."""

    def __init__(self, source: Path | bytes, name: str, deadline_sec: float | None = None) -> None:
        super().__init__(source, name, deadline_sec)
        self._decoder = self._stream.codec_context
        self._plain = Plain(self.time_base)
        first = self._index.packets[0]
        # The stream may give the orientation once for all frames; the decoder passes it on with the first only.
        once = says_orientation(first, self._decoder.name, self._decoder.extradata)
        self._to_rgb = ToRGB(name, self.orientation if once else None)

    @cached_property
    def orientation(self) -> Orientation:
        """How decoded frames are turned upright."""
        return next(orientation_of(frame, self.name) for _, frame in self.frames(0, 0))

    @property
    def coded_size(self) -> tuple[int, int]:
        """(width, height) of decoded frames, before they are turned upright."""
        return self._stream.width, self._stream.height

    @property
    def time_base(self) -> Fraction:
        """Seconds that one tick of the frames' time stamps lasts."""
        return Fraction(self._stream.time_base)

    def after_key_frames(self) -> np.ndarray:
        """Numbers of the frames that are shown right after a key frame other than the first: int64, ascending."""
        keys = [self._index.number_of.get(int(tick), -1) for tick in self._index.ticks[self._index.key]]
        return np.array(sorted(n + 1 for n in keys if 0 < n < len(self) - 1), dtype=np.int64)

    def frames(self, first: int, last: int) -> Iterator[tuple[int, Any]]:
        """(number, decoded av.VideoFrame) of every frame from first to last, in order, one in memory at a time.

        Raises VideoError where one is missing, damaged or of another size.
        """
        index, due, why = self._index, first, ""
        for start in index.starts_for(first) if index.exact else [0]:
            resumed = due
            try:
                if index.exact:
                    decoded = self._run(start, int(index.position[first : last + 1].max()))
                else:
                    decoded = self._every_frame()
                for count, frame in enumerate(decoded):
                    number = index.number_of.get(frame.pts, -1) if index.exact else count
                    if not resumed <= number <= last:
                        continue
                    if number != due:
                        break
                    if (frame.width, frame.height) != self.coded_size:
                        raise VideoError(f"{self.name}: the frame size changes to {frame.width} x {frame.height}")
                    due += 1
                    yield number, frame
                why = f"frame {due} cannot be decoded" if due <= last else ""
            except av.FFmpegError as error:
                why = f"damaged: {words(error)}"
            finally:
                self._empty()
            if not why:
                return
        raise VideoError(f"{self.name}: {why}")

    def _every_frame(self) -> Iterator[Any]:
        for position in range(len(self._index.packets)):
            yield from self._at(position)
        yield from map(self._plain, self._decoder.decode(None))

    def _at(self, position: int) -> list[Any]:
        """The frames that come out of the decoder when it is given a packet."""
        self._deadline.check()
        try:
            return [self._plain(frame) for frame in self._decoder.decode(self._index.packets[position])]
        except av.FFmpegError:
            if position in self._index.failing:
                return []
            raise

    def _empty(self) -> None:
        """Also after an error or an early stop the next read must find an empty decoder."""
        if self._decoder.is_open:
            self._decoder.flush_buffers()

    def _decode(self, wanted: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        try:
            if self._index.exact:
                keep = ~self._index.spare
                keep[self._index.position[wanted]] = True
                for group in self._groups(wanted):
                    yield from self._group(group, keep)
            else:
                numbers = set(wanted.tolist())
                for number, frame in enumerate(self._every_frame()):
                    if number in numbers:
                        yield number, self._to_rgb(frame)
                    if number == wanted[-1]:
                        break
        except (av.FFmpegError, MemoryError) as error:
            raise VideoError(f"{self.name}: damaged: {words(error)}") from None
        finally:
            self._empty()

    def _groups(self, wanted: np.ndarray) -> Iterator[list[int]]:
        """The wanted frames, split where decoding can leave out packets between them."""
        index = self._index
        group: list[int] = []
        end = -1
        for number in wanted.tolist():
            position = int(index.position[number])
            if position > end:
                if group and index.start_for(number) > end + 1:
                    yield group
                    group = []
                end = position
            group.append(number)
        yield group

    def _group(self, group: list[int], keep: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """(number, picture) of a group; where that fails, once more from further back."""
        index = self._index
        end = int(index.position[group].max())
        left = set(group)
        failure: av.FFmpegError | None = None
        for start in index.starts_for(group[0]):
            try:
                for frame in self._run(start, end, keep):
                    number = index.number_of.get(frame.pts, -1)
                    if number in left:
                        left.remove(number)
                        yield number, self._to_rgb(frame)
                failure = None
            except av.FFmpegError as error:
                failure = error
                self._empty()
            if not left and failure is None:
                return
        if failure:
            raise failure

    def _run(self, start: int, end: int, keep: np.ndarray | None = None) -> Iterator[Any]:
        """Decode the packets start..end that are to be kept, then ask for what the decoder still holds back."""
        index = self._index
        chosen = np.ones(end + 1 - start, dtype=bool)
        if start:  # shown before the key frame that decoding starts at: may refer to frames before it and is not wanted
            chosen = index.ticks[start : end + 1] >= index.ticks[start]
        if keep is not None:
            chosen &= keep[start : end + 1]
        for offset in np.flatnonzero(chosen):
            yield from self._at(start + int(offset))
        yield from map(self._plain, self._decoder.decode(None))
        self._decoder.flush_buffers()


class ToRGB:
    """Turns a decoded frame into an upright RGB array, uint8 (height, width, 3).

    Chroma is not interpolated for 8-bit pictures (libswscale's direct path). Deeper pictures take the path through a
    filter that decord takes too, so that both readers give the same values.
    """

    def __init__(self, name: str, orientation: Orientation | None = None) -> None:
        self._name = name
        self._orientation = orientation  # of all frames; None where each frame has its own
        self._reformatter = VideoReformatter()
        self._graph: Any = None

    def __call__(self, frame: Any) -> np.ndarray:
        try:
            rgb = self._converted(frame)
        except av.FFmpegError as error:
            raise VideoError(
                f"{self._name}: its colours ({frame.format.name}, matrix {int(frame.colorspace)}) cannot be made RGB: "
                f"{words(error)}: {CONVERT}"
            ) from None
        plane = rgb.planes[0]
        rows = np.frombuffer(plane, dtype=np.uint8).reshape(-1, plane.line_size)[: rgb.height, : 3 * rgb.width]
        picture = rows.reshape(rgb.height, rgb.width, 3)
        orientation = orientation_of(frame, self._name) if self._orientation is None else self._orientation
        return orientation.apply(picture)

    def _converted(self, frame: Any) -> Any:
        if frame.format.components[0].bits > 8:
            return self._filter(frame)
        # left to itself libswscale starts a thread a core for every video: five times the CPU time
        return self._reformatter.reformat(frame, format="rgb24", threads=1)

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
