"""One row of a manifest, and the checks of its fields when it is read."""

import hashlib
import json
import re
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from typing import Literal

from besnet.video.container import MAX_PACKET_BYTES

State = Literal["ready", "missing", "broken"]
STATES: tuple[State, ...] = ("ready", "missing", "broken")
SPLITS = ("train", "val", "test")

MAX_FILE_BYTES = MAX_PACKET_BYTES * 3 // 2  # a video's, sound and padding included
MOST = {"offset": 2**62, "size": MAX_FILE_BYTES, "frames": 2**31, "width": 2**16, "height": 2**16}
LOOKS = re.compile(r"[A-Za-z0-9+/]{86}==")


@dataclass(frozen=True)
class Row:
    """One video: what it shows, where its bytes are, and the facts measured when it was prepared."""

    id: str
    label: int  # index into the classes; -1 without a label, and where videos have several
    split: str
    state: State
    why: str = ""  # why it is missing or broken; of a ready video, what was left out of it
    path: str = ""  # relative to the manifest's root: a video, or the shard that holds it
    offset: int = 0  # first byte of the video in the shard
    size: int = 0  # bytes; of a whole file too
    frames: int = 0
    fps: float = 0.0
    duration_sec: float = 0.0
    width: int = 0  # upright
    height: int = 0
    hash: str = ""  # of the bytes that are read, see hash_bytes
    source_hash: str = ""  # of the file that was prepared
    in_shard: bool = False
    group: str = ""  # who or what it shows, where videos of one film, person or recording are alike; "" if not known
    looks: str = ""  # see besnet.data.looks; "" if not known
    labels: tuple[int, ...] | None = None  # of data with several labels per video: all of them, ascending; maybe none


TYPES = {field.name: {"label": int}.get(field.name, type(field.default)) for field in fields(Row)}
TYPES |= {"id": str, "split": str, "state": str, "labels": list}


def parse(line: bytes, classes: int) -> Row:
    """The row that a line of manifest.jsonl holds. ValueError where a field is missing, unknown or out of its range."""
    try:
        values = json.loads(line)
        row = Row(**values)
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"damaged ({error})") from None
    for name, value in values.items():
        wanted: tuple[type, ...] = (int, float) if TYPES[name] is float else (TYPES[name],)
        if not isinstance(value, wanted) or (isinstance(value, bool) and bool not in wanted):
            raise ValueError(f"{name} {value!r:.40}: not a {wanted[-1].__name__}")
        if isinstance(value, int | float) and not 0 <= value <= MOST.get(name, 1e15) and name != "label":
            raise ValueError(f"{name} {value}: out of its range")
    if row.split not in SPLITS or row.state not in STATES:
        raise ValueError(f"split {row.split!r:.40}, state {row.state!r:.40}: unknown")
    if row.looks and not LOOKS.fullmatch(row.looks):
        raise ValueError(f"looks {row.looks!r:.40}: not 64 bytes in base 64")
    if not -1 <= row.label < classes:
        raise ValueError(f"label {row.label}: there are {classes} classes")
    return row if row.labels is None else replace(row, labels=label_set(row, classes))


def label_set(row: Row, classes: int) -> tuple[int, ...]:
    """The several labels of a row. ValueError unless they are ascending numbers of classes."""
    assert row.labels is not None
    numbers = tuple(row.labels)
    known = all(type(number) is int and 0 <= number < classes for number in numbers)
    if not known or any(one >= other for one, other in pairwise(numbers)) or row.label != -1:
        raise ValueError(f"labels {list(numbers)!r:.60}: not ascending numbers of the {classes} classes")
    return numbers


def hash_bytes(data: bytes | memoryview) -> str:
    """128 bits of BLAKE2b as hexadecimal digits: the hash of every video, row and shard here."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()
