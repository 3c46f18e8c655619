"""Opening a video with the requested backend."""

from pathlib import Path

from besnet.video.container import name_of
from besnet.video.deadline import READ_SEC
from besnet.video.decord_reader import DecordReader
from besnet.video.pyav_reader import PyAVReader
from besnet.video.reader import Backend, Reader


def open_video(
    source: Path | bytes, backend: Backend = "pyav", name: str | None = None, deadline_sec: float | None = READ_SEC
) -> Reader:
    """Open a video, a regular file or its bytes, for reading exact frames.

    `name` is what messages call it (by default the path). Raises VideoError where the file is no video, is not on the
    lists of formats and codecs, is larger than the limits, or cannot be numbered exactly by the backend; later where
    a read takes longer than `deadline_sec`.
    """
    called = name_of(source, name)
    if backend == "pyav":
        return PyAVReader(source, called, deadline_sec)
    if backend == "decord":
        return DecordReader(source, called, deadline_sec)
    raise ValueError(f"backend {backend!r}: it is pyav or decord")
