"""Opens a video container safely and chooses its picture stream.

Every reader and the probe start here, so that a file is read and numbered in the same way by every decoder.
"""

import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
from av.stream import Disposition

from besnet.video.formats import CODECS, CONVERT, FORMATS, SOUND

MAX_PIXELS = 4096 * 2304  # a frame
MAX_ASPECT = 16  # the long side over the short one
MAX_FRAMES = 300_000  # a video; more than two and a half hours at 30 fps
MAX_TOTAL_PIXELS = 60_000_000_000  # decoded in one go, width x height x frames; a quarter of an hour of 1080p at 30 fps
MAX_PACKET_BYTES = 1_000_000_000  # a video's compressed picture stream, held in memory; an hour of 1080p at 2 Mbit/s


NO_FILM = Disposition.attached_pic | Disposition.timed_thumbnails
DEFAULT_BONUS = 5_000_000  # pixels that the mark "default" outweighs, in ffmpeg and here

# explode: a damaged stream raises instead of being concealed in silence. None of the 1,021 healthy files is rejected.
DECODER = {"err_detect": "explode", "max_pixels": str(MAX_PIXELS)}


class VideoError(ValueError):
    """A video that cannot be read exactly; the message names it and the reason."""


def name_of(source: Path | bytes, name: str | None = None) -> str:
    return name or (f"{len(source)} bytes" if isinstance(source, bytes) else str(source))


@contextmanager
def open_container(source: Path | bytes, name: str) -> Iterator[tuple[Any, Any]]:
    """Yield (container, picture stream) of a regular file or of bytes; formats, codecs and frame size are checked.

    The file is opened here and passed as an object: libavformat never gets a path, so no address,
    playlist or device name inside a file is followed.
    """
    if isinstance(source, bytes):
        file: Any = io.BytesIO(source)
    else:
        try:
            # Non-blocking, so that a fifo without a writer is refused instead of waited for.
            descriptor = os.open(source, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except (OSError, ValueError) as error:
            raise VideoError(f"{name}: cannot be opened: {getattr(error, 'strerror', None) or error}") from None
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise VideoError(f"{name}: not a regular file")
        file = _Anonymous(descriptor)
    with file:
        if not file.read(1):
            raise VideoError(f"{name}: empty (0 bytes)")
        file.seek(0)
        options = {
            "format_whitelist": ",".join(FORMATS),
            "codec_whitelist": ",".join(CODECS + SOUND),
            "protocol_whitelist": "",
        }
        try:
            container = av.open(file, metadata_errors="ignore", container_options=options, options=DECODER)
        except (av.FFmpegError, ValueError, OverflowError, MemoryError) as error:
            raise VideoError(f"{name}: not a video that can be read: {words(error)} (if it plays, {CONVERT})") from None
        with container:
            stream = best_stream(container, name)
            if stream.codec_context is None:
                raise VideoError(f"{name}: no decoder for its pictures: {CONVERT}")
            codec = stream.codec_context.name
            if codec not in CODECS:
                raise VideoError(f"{name}: codec {codec} is not on the list of those that are read: {CONVERT}")
            if not (stream.width > 0 and stream.height > 0):
                raise VideoError(f"{name}: no frame size")
            if stream.width * stream.height > MAX_PIXELS:
                raise VideoError(
                    f"{name}: frames of {stream.width} x {stream.height} are above the limit of {MAX_PIXELS} pixels"
                )
            if max(stream.width, stream.height) > MAX_ASPECT * min(stream.width, stream.height):
                # scaled to a given short side, a few bytes would become gigabytes
                raise VideoError(
                    f"{name}: frames of {stream.width} x {stream.height}: "
                    f"one side is more than {MAX_ASPECT} times the other"
                )
            # One thread: the loader's workers are the parallelism.
            stream.codec_context.thread_count = 1
            stream.codec_context.options = DECODER
            yield container, stream


def best_stream(container: Any, name: str) -> Any:
    """The picture stream that ffmpeg takes by itself: one that is marked as default, then the largest, then the first
    (but no single picture before a film of its size).

    Covers and thumbnails are none. VideoError where there is no picture stream.
    """
    films = [stream for stream in container.streams.video if not stream.disposition & NO_FILM]
    if not films:
        raise VideoError(f"{name}: no picture stream (sound only?)")

    def score(stream: Any) -> tuple[int, bool]:
        context = stream.codec_context
        size: int = context.width * context.height if context is not None else 0
        return size + DEFAULT_BONUS * bool(stream.disposition & Disposition.default), stream.frames != 1

    return max(films, key=score)  # of equals the first


class _Anonymous(io.FileIO):
    """A file without a name for libavformat (which would guess the format from the extension)."""

    name = ""


def check_total(frames: int, size: tuple[int, int], name: str) -> None:
    """VideoError where there is too much to decode from beginning to end."""
    if frames * size[0] * size[1] > MAX_TOTAL_PIXELS:
        raise VideoError(
            f"{name}: {frames} frames of {size[0]} x {size[1]} are above the limit; cut it into pieces first"
        )


def words(error: BaseException) -> str:
    return str(getattr(error, "strerror", None) or error or type(error).__name__)
