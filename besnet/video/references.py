"""Properties of a stream's pictures, read without decoding: not referred to, not shown, turned.

The decoder can skip pictures that are not requested and that no other refers to, and what it gives for the others stays
the same bits: an H.264 stream marks each picture that is used for reference (nal_ref_idc, Rec. ITU-T H.264,
7.4.1). VP8 and VP9 have pictures that are only referred to and never shown (show_frame; RFC 6386, 9.1; VP9 bitstream
specification, 7.2).
"""

from collections.abc import Container, Iterator
from typing import Any

import numpy as np

SEI_UNITS = {"h264": (6,), "hevc": (39, 40)}
SLICES = {"h264": range(1, 6), "hevc": range(32)}  # units that hold a piece of a picture
SMALL = 1024  # a larger packet holds a picture: delimiters, parameters and messages alone are small
DISPLAY_ORIENTATION = 47  # payload type of the SEI message, in both


def hidden(packets: list[Any], codec: str, extradata: bytes | None = None) -> np.ndarray:
    """bool (packets,): True where a packet holds no picture, or only one that is never shown."""
    if codec in SEI_UNITS:
        length_bytes = _length_bytes(codec, extradata)
        empty = [p.size <= SMALL and not any(_kinds(p, codec, length_bytes, SLICES[codec])) for p in packets]
        return np.array(empty, dtype=bool)
    test = {"vp8": _hidden_vp8, "vp9": _hidden_vp9}.get(codec)
    if test is None:
        return np.zeros(len(packets), dtype=bool)
    return np.array([test(memoryview(packet)) for packet in packets], dtype=bool)


def _hidden_vp8(data: memoryview) -> bool:
    return not data[0] & 0x10


def _hidden_vp9(data: memoryview) -> bool:
    if data[-1] & 0xE0 == 0xC0:
        return False  # several frames in one packet, of which the last is shown
    profile_3 = data[0] & 0x30 == 0x30  # has one reserved bit more
    show_existing, show = (0x04, 0x01) if profile_3 else (0x08, 0x02)
    return data[0] >> 6 == 2 and not data[0] & show_existing and not data[0] & show


def unreferenced(packets: list[Any], codec: str, extradata: bytes | None) -> np.ndarray:
    """bool (packets,): True where the picture may be left out without touching another; False where unknown."""
    found = np.zeros(len(packets), dtype=bool)
    length_bytes = _length_bytes(codec, extradata)
    if codec != "h264" or not length_bytes:
        return found
    for n, packet in enumerate(packets):
        found[n] = not _is_reference(memoryview(packet), length_bytes)
    return found


def says_orientation(packet: Any, codec: str, extradata: bytes | None) -> bool:
    """Whether a packet of H.264 or HEVC gives the orientation of its pictures and of those after it."""
    if codec not in SEI_UNITS:
        return False
    units = _kinds(packet, codec, _length_bytes(codec, extradata), SEI_UNITS[codec])
    return any(DISPLAY_ORIENTATION in _messages(unit.replace(b"\0\0\3", b"\0\0")) for unit in units)


def _kinds(packet: Any, codec: str, length_bytes: int, wanted: Container[int]) -> Iterator[bytes]:
    """The units of a packet whose type is among those wanted, from behind their header on."""
    units = _units(bytes(packet), length_bytes) if length_bytes else bytes(packet).split(b"\0\0\1")[1:]
    for unit in units:
        if unit and (unit[0] & 31 if codec == "h264" else unit[0] >> 1 & 63) in wanted:
            yield unit[1:] if codec == "h264" else unit[2:]


def _messages(payload: bytes) -> Iterator[int]:
    """Payload types of an SEI unit's messages: each type and size is a sum of bytes that ends with one below 255."""
    at = 0

    def number() -> int:
        nonlocal at
        total = 0
        while at < len(payload) and payload[at] == 255:
            total, at = total + 255, at + 1
        total, at = total + (payload[at] if at < len(payload) else 0), at + 1
        return total

    while at + 2 < len(payload):
        yield number()
        size = number()
        at += size


def _length_bytes(codec: str, extradata: bytes | None) -> int:
    """How many bytes before each unit hold its length; 0 where units begin with a start code instead."""
    # Extradata that begins with 1 is an avcC or hvcC record: each unit of the stream is preceded by its length.
    at = {"h264": 4, "hevc": 21}.get(codec, 0)
    if not at or not extradata or extradata[0] != 1 or len(extradata) <= at:
        return 0
    return (extradata[at] & 3) + 1


def _units(data: bytes, length_bytes: int) -> Iterator[bytes]:
    at = 0
    while at + length_bytes < len(data):
        end = at + length_bytes + int.from_bytes(data[at : at + length_bytes], "big")
        yield data[at + length_bytes : end]
        at = end


def _is_reference(data: memoryview, length_bytes: int) -> bool:
    """Whether a picture's slices are marked as used for reference; True where that cannot be read."""
    at, end, slices = 0, len(data), 0
    while at + length_bytes < end:
        header = data[at + length_bytes]
        if 1 <= header & 31 <= 5:
            if header & 0x60:
                return True
            slices += 1  # no break: a packet can hold two fields, of which only the second is referred to
        at += length_bytes + int.from_bytes(data[at : at + length_bytes], "big")
    return slices == 0
