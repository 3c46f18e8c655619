"""Opens a video container safely and lists its frames without decoding them.

Every reader and the probe start here, so that a file is numbered in one way whatever decodes it: the container is read
(demuxed) once, its packets are kept, and frame n is the n-th time stamp in presentation order. Frames that the
container tells a player not to show (an edit list that begins after the first key frame) have no number.
"""

import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np

from besnet.video.references import unreferenced
from besnet.video.truncation import missing_end

FORMATS = ("mov", "mp4", "matroska", "webm", "avi", "mpeg", "mpegts", "flv", "asf", "ogg")
CODECS = ("h264", "hevc", "libdav1d", "av1", "vp8", "vp9", "mpeg4", "mpeg1video", "mpeg2video", "msmpeg4v1",
          "msmpeg4v2", "msmpeg4", "h263", "flv", "mjpeg", "wmv1", "wmv2", "wmv3", "vc1", "theora")  # fmt: skip
# Opening a container also probes its sound: without a decoder for it libavformat reads on and on to guess.
SOUND = ("aac", "aac_latm", "mp3", "mp3float", "mp2", "mp2float", "mp1float", "ac3", "eac3", "opus", "vorbis", "flac",
         "amrnb", "amrwb", "wmav1", "wmav2", "pcm_s16le", "pcm_s16be", "pcm_u8", "pcm_alaw", "pcm_mulaw", "adpcm_ms",
         "adpcm_ima_wav", "adpcm_swf", "nellymoser", "speex", "alac")  # fmt: skip

MAX_PIXELS = 4096 * 2304  # a frame
MAX_FRAMES = 300_000  # a video; more than two and a half hours at 30 fps
MAX_TOTAL_PIXELS = 60_000_000_000  # decoded in one go, width x height x frames; a quarter of an hour of 1080p at 30 fps
MAX_PACKET_BYTES = 1_000_000_000  # a video's compressed picture stream, held in memory; an hour of 1080p at 2 Mbit/s


# explode: a damaged stream raises instead of being concealed in silence. None of the 1,021 healthy files is rejected.
DECODER = {"err_detect": "explode", "max_pixels": str(MAX_PIXELS)}


class VideoError(ValueError):
    """A video that cannot be read exactly; the message names it and says what is wrong."""


@dataclass(frozen=True)
class FrameIndex:
    """The frames of one video: where each is in the compressed stream and when it is shown.

    Positions count packets in stream (decode) order; numbers count shown frames in presentation order.
    """

    packets: list[Any]  # av.Packet in stream order
    position: np.ndarray  # int64 (frames,): the packet that holds frame n
    number_of: dict[int, int]  # time stamp in ticks → frame number
    ticks: np.ndarray  # int64 (packets,)
    key: np.ndarray  # int64: positions of the key packets, ascending
    times_sec: np.ndarray  # float64 (frames,), the first 0
    spare: np.ndarray  # bool (packets,): no other picture refers to this one
    exact: bool  # False: time stamps are unreliable, frames are numbered by decoding from the beginning

    def start_for(self, number: int) -> int:
        """The packet to decode from so that frame `number` comes out exact.

        The last key packet that is neither decoded after the frame nor shown after it: frames that follow a key
        packet in the stream but are shown before it may refer to the group before (open groups of pictures).
        """
        here = self.position[number]
        for key in self.key[: np.searchsorted(self.key, here, side="right")][::-1]:
            if self.ticks[key] <= self.ticks[here]:
                return int(key)
        return 0

    def starts_for(self, number: int) -> Iterator[int]:
        """`start_for`, then key packets ever further back (1, 2, 4... of them), at last packet 0.

        Not every key packet is one that decoding can begin at: pictures after it may refer to some before it (open
        groups), or be whole only some frames later (intra refresh).
        """
        start = self.start_for(number)
        yield start
        earlier = self.key[(self.key > 0) & (self.key < start)]
        back = 1
        while back <= len(earlier):
            yield int(earlier[-back])
            back *= 2
        if start > 0:
            yield 0


def name_of(source: Path | bytes, name: str | None = None) -> str:
    return name or (f"{len(source)} bytes" if isinstance(source, bytes) else str(source))


@contextmanager
def open_container(source: Path | bytes, name: str) -> Iterator[tuple[Any, Any]]:
    """Yield (container, picture stream) of a regular file or of bytes; formats, codecs and frame size are checked.

    The file is opened here and handed over as an object: no part of libavformat ever sees a path, so no address,
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
            raise VideoError(f"{name}: not a video that can be read: {words(error)}") from None
        with container:
            streams = [s for s in container.streams.video if not s.disposition & av.stream.Disposition.attached_pic]
            if not streams:
                raise VideoError(f"{name}: no picture stream (sound only?)")
            stream = streams[0]
            if stream.codec_context is None:
                raise VideoError(f"{name}: no decoder for its pictures")
            codec = stream.codec_context.name
            if codec not in CODECS:
                raise VideoError(f"{name}: codec {codec} is not on the list of those that are read")
            if not (stream.width > 0 and stream.height > 0):
                raise VideoError(f"{name}: no frame size")
            if stream.width * stream.height > MAX_PIXELS:
                raise VideoError(
                    f"{name}: frames of {stream.width} x {stream.height} are above the limit of {MAX_PIXELS} pixels"
                )
            # One thread: the loader's workers are the parallelism.
            stream.codec_context.thread_count = 1
            stream.codec_context.options = DECODER
            yield container, stream


class _Anonymous(io.FileIO):
    """A file whose name libavformat cannot see (it would use the ending to guess the format)."""

    name = ""


def index_frames(container: Any, stream: Any, name: str) -> FrameIndex:
    """List the frames of an open container; raises VideoError where there are none or too many."""
    packets: list[Any] = []
    size = 0
    try:
        for packet in container.demux(stream):
            if not packet.size:
                continue
            packets.append(packet)
            size += packet.size
            if len(packets) > MAX_FRAMES:
                raise VideoError(f"{name}: more than {MAX_FRAMES} frames are above the limit")
            if size > MAX_PACKET_BYTES:
                raise VideoError(f"{name}: more than {MAX_PACKET_BYTES} bytes of pictures; cut it into pieces first")
    except av.FFmpegError as error:
        raise VideoError(f"{name}: damaged after {len(packets)} frames: {words(error)}") from None
    if not packets:
        raise VideoError(f"{name}: no frames")
    if missing := missing_end(container, stream, packets):
        raise VideoError(f"{name}: {missing}")
    stamps = [packet.pts for packet in packets]
    shown = [p for p, packet in enumerate(packets) if not packet.is_discard]
    late = container.format.name == "avi" and stream.codec_context.has_b_frames
    exact = not late and None not in stamps and len(set(stamps)) == len(stamps)
    if not exact:
        return _index_by_decoding(packets, stream, name)
    if not shown:
        raise VideoError(f"{name}: every frame is marked as not to be shown")
    ticks = np.array(stamps, dtype=np.int64)
    position = np.array(sorted(shown, key=stamps.__getitem__), dtype=np.int64)
    key = np.array([p for p, packet in enumerate(packets) if packet.is_keyframe], dtype=np.int64)
    order = ticks[position]
    times = (order - order[0]) * float(stream.time_base)
    context = stream.codec_context
    spare = unreferenced(packets, context.name, context.extradata)
    return FrameIndex(packets, position, {int(t): n for n, t in enumerate(order)}, ticks, key, times, spare, True)


def _index_by_decoding(packets: list[Any], stream: Any, name: str) -> FrameIndex:
    """Number the frames of a stream whose time stamps cannot be trusted (AVI with B frames): decode it once.

    Decoders give frames in the order of presentation, so the n-th decoded is frame n.
    """
    context = stream.codec_context
    check_total(len(packets), (stream.width, stream.height), name)
    stamps = []
    try:
        for packet in [*packets, None]:
            stamps += [frame.pts for frame in context.decode(packet)]
    except av.FFmpegError as error:
        raise VideoError(f"{name}: damaged after {len(stamps)} decoded frames: {words(error)}") from None
    context.flush_buffers()
    # Packed B frames leave packets of a few bytes behind that hold no picture.
    pictures = sum(packet.size > 16 for packet in packets)
    if len(stamps) < pictures or not stamps:
        raise VideoError(f"{name}: {len(stamps)} frames decoded of {pictures}")
    count = len(stamps)
    if None in stamps or len(set(stamps)) < count:
        rate = float(stream.average_rate or stream.guessed_rate or 0)
        if rate <= 0:
            raise VideoError(f"{name}: neither time stamps nor a frame rate")
        times = np.arange(count) / rate
    else:
        times = np.array(sorted(stamps), dtype=np.float64) * float(stream.time_base)
        times -= times[0]
    none = np.zeros(0, dtype=np.int64)
    return FrameIndex(packets, np.arange(count), {}, none, none, times, none.astype(bool), False)


def check_total(frames: int, size: tuple[int, int], name: str) -> None:
    """VideoError where there is too much to decode from beginning to end."""
    if frames * size[0] * size[1] > MAX_TOTAL_PIXELS:
        raise VideoError(
            f"{name}: {frames} frames of {size[0]} x {size[1]} are above the limit; cut it into pieces first"
        )


def words(error: BaseException) -> str:
    return str(getattr(error, "strerror", None) or error or type(error).__name__)
