"""Which pictures of an H.264 stream no other picture refers to.

The decoder can be spared those that nobody asked for, and what it gives for the others stays the same bits: the
stream itself says of each picture whether it is used for reference (nal_ref_idc, Rec. ITU-T H.264, 7.4.1).
"""

from typing import Any

import numpy as np


def unreferenced(packets: list[Any], codec: str, extradata: bytes | None) -> np.ndarray:
    """bool (packets,): True where the picture may be left out without touching another; False where unknown."""
    found = np.zeros(len(packets), dtype=bool)
    # Extradata that begins with 1 is an avcC record: each unit of the stream is preceded by its length.
    if codec != "h264" or not extradata or extradata[0] != 1 or len(extradata) < 5:
        return found
    length_bytes = (extradata[4] & 3) + 1
    for n, packet in enumerate(packets):
        found[n] = not _is_reference(memoryview(packet), length_bytes)
    return found


def _is_reference(data: memoryview, length_bytes: int) -> bool:
    """Whether a picture's slices are marked as used for reference; True where that cannot be read."""
    at, end, slices = 0, len(data), 0
    while at + length_bytes < end:
        header = data[at + length_bytes]
        if 1 <= header & 31 <= 5:
            if header & 0x60:
                return True
            slices += 1  # go on: a packet can hold two fields, of which only the second is referred to
        at += length_bytes + int.from_bytes(data[at : at + length_bytes], "big")
    return slices == 0
