"""Exact frames with decord; equal to PyAV's, tested on every real file.

decord seeks by its own count of frames. Where that count is not the shown frames in order (frames marked as hidden,
unreliable time stamps, transport streams) it returns other frames than requested without an error, it does not mirror
pictures, and its choice among several streams is its own: a video whose first frame is not PyAV's is refused.
"""

import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from besnet.video.container import VideoError
from besnet.video.pyav_reader import PyAVReader

AT_ONCE = 32  # frames that decord holds beside those it returns


class DecordReader(PyAVReader):
    """Reads with decord; the container is still checked and numbered in the same way as for PyAV."""

    def __init__(self, source: Path | bytes, name: str, deadline_sec: float | None = None) -> None:
        try:
            import decord
        except ImportError:
            raise VideoError("backend decord: the package decord2 is not installed; use backend pyav") from None
        super().__init__(source, name, deadline_sec)
        try:
            self._decord: Any = decord.VideoReader(
                io.BytesIO(source) if isinstance(source, bytes) else os.path.abspath(source), num_threads=1
            )
            starts = self._decord.get_frame_timestamp(range(len(self._decord)))[:, 0].astype(np.float64)
        except (decord.DECORDError, RuntimeError) as error:
            self.close()
            raise VideoError(f"{name}: decord cannot open it: {str(error).splitlines()[0]}") from None
        same = len(starts) == len(self) and self._index.exact
        if not same or np.abs(starts - starts[0] - self.times_sec).max() > 0.002:
            self.close()
            raise VideoError(f"{name}: decord does not number its frames exactly; read it with backend pyav")
        try:
            (_, expected), (_, found) = next(super()._decode(np.array([0]))), next(self._decode(np.array([0])))
        except VideoError as error:
            self.close()
            raise VideoError(f"{name}: decord cannot read it ({error}): read it with backend pyav") from None
        if not np.array_equal(expected, found):
            self.close()
            raise VideoError(f"{name}: decord shows another first frame; read it with backend pyav")

    def _decode(self, wanted: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        import decord

        for some in np.split(wanted, range(AT_ONCE, len(wanted), AT_ONCE)):
            self._deadline.check()
            try:
                pictures = self._decord.get_batch(some.tolist()).asnumpy()
            except (decord.DECORDError, RuntimeError) as error:
                raise VideoError(f"{self.name}: damaged: {str(error).splitlines()[0].rpartition('] ')[2]}") from None
            yield from zip(some.tolist(), pictures, strict=True)

    def close(self) -> None:
        self._decord = None
        super().close()
