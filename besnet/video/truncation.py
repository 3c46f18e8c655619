"""Does a video end earlier than its header claims? A broken download decodes without an error in most formats."""

import re
from typing import Any

import numpy as np

SHARE = 0.05
FRAMES = 3


def missing_end(container: Any, stream: Any, packets: list[Any]) -> str:
    """How much of the picture stream is missing, in words; "" where it is whole or its header cannot be relied on.

    It counts as cut short where more than 5 % and more than three of its longest frames are missing.
    """
    claimed = _claimed_sec(container, stream)
    if claimed is None or 0 < stream.frames <= len(packets):
        return ""
    base = float(stream.time_base)
    shown = [(packet.pts if packet.pts is not None else packet.dts, packet.duration or 0) for packet in packets]
    stamps = np.sort([stamp for stamp, _ in shown if stamp is not None])
    if not len(stamps):
        return ""
    # A picture stream may begin later than the sound: then its end counts from the beginning of the file.
    end = base * float(max(stamp + length for stamp, length in shown if stamp is not None) - min(stamps[0], 0))
    if len(stamps) > 1:
        longest = base * float(np.diff(stamps).max())
    elif stream.average_rate:
        longest = 1 / float(stream.average_rate)
    else:
        return ""
    if end >= (1 - SHARE) * claimed or end >= claimed - FRAMES * longest:
        return ""
    return f"ends after {end:.1f} of {claimed:.1f} s: truncated"


def _claimed_sec(container: Any, stream: Any) -> float | None:
    """The duration of the pictures in the header; None without one."""
    kind = container.format.name
    if "mov" in kind:
        # Without a count of frames the file is in fragments and its duration is that of the fragments which are there.
        return float(stream.duration * stream.time_base) if stream.frames and stream.duration else None
    if kind == "avi":
        # Headers can be wrong. libavformat shortens the duration where the file is shorter than its header claims.
        cut = stream.duration is not None and stream.duration < stream.frames
        return float(stream.frames * stream.time_base) if cut else None
    if "matroska" in kind:
        found = re.fullmatch(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)", stream.metadata.get("DURATION", ""))
        if found:
            return 3600 * int(found[1]) + 60 * int(found[2]) + float(found[3])
    if "matroska" in kind or kind == "flv":
        # The whole file's: sound may be longer. With a bit rate at hand it may be no more than a guess from that.
        alone = len(container.streams) == 1 and not stream.codec_context.bit_rate
        return container.duration / 1_000_000 if alone and container.duration else None
    return None
