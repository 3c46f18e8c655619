"""Lists the frames of an open container, without decoding them where its packets suffice.

The container is read (demuxed) once and its packets are kept. Frame n is the n-th picture that is shown, in order of
presentation: packets without a picture of their own, pictures that the container tells a player not to show (an edit
list that begins after the first key frame) and those that cannot be decoded at the start (the file begins in the middle
of a group) have no number.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import av
import numpy as np

from besnet.video.container import MAX_FRAMES, MAX_PACKET_BYTES, VideoError, check_total, words
from besnet.video.deadline import Deadline
from besnet.video.references import SEI_UNITS, hidden, unreferenced
from besnet.video.truncation import missing_end

EMPTY_BYTES = 16  # a packet of MPEG-4 that is no larger may mean only "as before": it gives no picture

NEVER = -(2**62)  # in ticks: of packets without a stamp, which are not shown


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
    dropped: int = 0  # pictures at the start that refer to some before the beginning of the file
    failing: frozenset[int] = frozenset()  # positions at the start where the decoder reports that these are missing

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


def index_frames(container: Any, stream: Any, deadline: Deadline) -> FrameIndex:
    """List the frames of an open container; raises VideoError where there are none or too many."""
    name = deadline.name
    packets = _packets(container, stream, deadline)
    if missing := missing_end(container, stream, packets):
        raise VideoError(f"{name}: {missing}")
    context = stream.codec_context
    late = container.format.name == "avi" and context.has_b_frames
    unseen = hidden(packets, context.name, context.extradata)
    due = [p for p, packet in enumerate(packets) if not packet.is_discard and not unseen[p]]
    if not due:
        raise VideoError(f"{name}: every frame is marked as not to be shown")
    if late or not _tells_all(packets, due, context.name):
        return _index_by_decoding(packets, due, stream, deadline, late)
    return replace(_by_stamps(packets, due, stream), failing=_no_pictures(packets, due, context.name))


def _no_pictures(packets: list[Any], due: list[int], codec: str) -> frozenset[int]:
    """Positions of H.264 and HEVC packets without a picture, which their decoder calls an error."""
    if codec not in SEI_UNITS or len(due) == len(packets):
        return frozenset()
    return frozenset(p for p in set(range(len(packets))) - set(due) if not packets[p].is_discard)


def _packets(container: Any, stream: Any, deadline: Deadline) -> list[Any]:
    name = deadline.name
    packets: list[Any] = []
    size = 0
    try:
        for packet in container.demux(stream):
            deadline.check()
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
    return packets


def _tells_all(packets: list[Any], due: list[int], codec: str) -> bool:
    """Whether the packets `due` hold a picture each, numbered by their stamps: from a key frame on, each with its own.

    Stamps that begin again (files put together end to end) would shuffle the frames.
    """
    decoding = [packet.dts for packet in packets if packet.dts is not None]
    if not packets[0].is_keyframe or any(packet.pts is None for packet in packets) or decoding != sorted(decoding):
        return False
    if codec == "mpeg4" and any(packet.size <= EMPTY_BYTES for packet in packets):
        return False
    # Pictures shown before the first key packet may refer to some before the file begins.
    stamps = {packets[p].pts for p in due}
    return len(stamps) == len(due) and all(packet.pts >= packets[0].pts for packet in packets)


def _by_stamps(packets: list[Any], shown: list[int], stream: Any) -> FrameIndex:
    ticks = np.array([NEVER if packet.pts is None else packet.pts for packet in packets], dtype=np.int64)
    position = np.array(sorted(shown, key=ticks.__getitem__), dtype=np.int64)
    key = np.array([p for p, packet in enumerate(packets) if packet.is_keyframe], dtype=np.int64)
    order = ticks[position]
    times = (order - order[0]) * float(stream.time_base)
    context = stream.codec_context
    spare = unreferenced(packets, context.name, context.extradata)
    numbers = {int(t): n for n, t in enumerate(order)}
    return FrameIndex(packets, position, numbers, ticks, key, times, spare, True)


def _index_by_decoding(packets: list[Any], due: list[int], stream: Any, deadline: Deadline, late: bool) -> FrameIndex:
    """Number the frames of a stream whose packets do not suffice: decode it once.

    Decoders give frames in the order of presentation, so the n-th decoded is frame n.
    """
    context, name = stream.codec_context, deadline.name
    check_total(len(packets), (stream.width, stream.height), name)
    start = _start(packets)
    stamps: list[tuple[int | None, int | None]] = []
    failing = set(_no_pictures(packets, due, context.name))
    try:
        for n, packet in enumerate([*packets, None]):
            deadline.check()
            try:
                stamps += [(frame.pts, frame.dts) for frame in context.decode(packet)]
            except av.FFmpegError:
                if n not in failing and (start == 1 or n >= start):
                    raise
                failing.add(n)
            if start > 1 and not stamps:
                start = max(start, n + 2)  # until the first picture comes out
    except av.FFmpegError as error:
        raise VideoError(f"{name}: damaged after {len(stamps)} decoded frames: {words(error)}") from None
    finally:
        if context.is_open:
            context.flush_buffers()
    shown = [pts for pts, _ in stamps]
    where = {packets[p].pts: p for p in due if packets[p].pts is not None}
    rising = None not in shown and all(a < b for a, b in pairwise(shown))  # type: ignore[operator]
    unstamped = sum(packets[p].pts is None for p in due)
    exact = not late and rising and len(where) + unstamped == len(due) and set(shown) <= set(where)
    # Packets of a few bytes may hold no picture, and so may those at the start.
    full = [p for p in due if packets[p].size > EMPTY_BYTES]
    dropped = max(0, len(full) - len(shown))
    if not shown or dropped > sum(p < start for p in full):
        raise VideoError(f"{name}: {len(shown)} frames decoded of {len(full)}")
    if exact and all(packet.pts is not None for packet in packets if packet.is_keyframe):
        by_stamps = _by_stamps(packets, [where[pts] for pts in shown], stream)
        return replace(by_stamps, dropped=dropped, failing=frozenset(failing))
    times = _times_sec([dts for _, dts in stamps] if late else shown, stream, name)
    none = np.zeros(0, dtype=np.int64)
    numbers, spare = np.arange(len(shown)), none.astype(bool)
    return FrameIndex(packets, numbers, {}, none, none, times, spare, False, dropped, frozenset(failing))


def _start(packets: list[Any]) -> int:
    """How many packets at the beginning may give no picture: those before the first key packet and, after it, those
    that are shown before it."""
    key = next((p for p, packet in enumerate(packets) if packet.is_keyframe), 0)
    end, first = key + 1, packets[key].pts
    if first is None:
        return end
    # Matroska has no stamps before its beginning.
    while end < len(packets) and (packets[end].pts is None or packets[end].pts < first):
        end += 1
    return end


def _times_sec(stamps: list[int | None], stream: Any, name: str) -> np.ndarray:
    """When frames are shown, from their stamps in order of presentation; float64, rising from 0.

    Stamps that restart continue after the ones before. The last frames out of a decoder may have none.
    """
    known = next((n for n, stamp in enumerate(stamps) if stamp is None), len(stamps))
    rate = float(stream.average_rate or stream.guessed_rate or 0)
    if rate <= 0 and known < 2:
        raise VideoError(f"{name}: neither time stamps nor a frame rate")
    if known < 2 or any(stamp is not None for stamp in stamps[known:]):
        return np.arange(len(stamps)) / rate
    steps = np.diff(np.array(stamps[:known], dtype=np.float64)) * float(stream.time_base)
    period = 1 / rate if rate > 0 else float(np.median(steps[steps > 0])) if (steps > 0).any() else 1.0
    times = np.concatenate([[0.0], np.cumsum(np.where(steps < 0, period, steps))])
    times = np.concatenate([times, times[-1] + period * np.arange(1, len(stamps) - known + 1)])
    # Frames with one stamp share the time up to the next.
    first = np.flatnonzero(np.diff(times, prepend=-1) > 0)
    end = times[-1] + period
    spread: np.ndarray = np.interp(np.arange(len(times)), [*first, len(times)], [*times[first], end])
    return spread
