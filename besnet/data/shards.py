"""Shards: plain WebDataset tar files of `key.mp4` + `key.json`, and the index that finds a video in one.

Nothing is ever extracted or unpickled: members are read as bytes, and only those named like videos or labels.
"""

import hashlib
import json
import os
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from besnet.data.manifest import Shard
from besnet.files import replacing

VIDEO_MEMBERS = {
    "mp4", "avi", "webm", "mkv", "mov", "mpg", "mpeg", "mpe", "m4v", "f4v", "flv", "wmv", "3gp", "3g2", "asf", "ts",
    "mts", "m2ts", "vob", "ogv", "divx",
}  # fmt: skip
LABEL_MEMBERS = {"cls", "json", "txt"}
MAX_LABEL_BYTES = 1 << 20


@dataclass(frozen=True)
class Member:
    """One file in a tar: `key.ending`, where its bytes are."""

    key: str
    ending: str
    offset: int
    size: int


def members(path: Path) -> Iterator[Member]:
    """The plain files of a tar in order. ValueError where it is cut short, or where a name leads out of it."""
    try:
        with tarfile.open(path, "r:") as tar:
            end = os.path.getsize(path)
            while (info := tar.next()) is not None:
                vars(tar)["members"] = []  # else it remembers all that it has seen
                pure = PurePosixPath(info.name)
                if info.isdir() or pure.name.startswith("._"):  # what macOS adds to a tar
                    continue
                if pure.is_absolute() or ".." in pure.parts:
                    raise ValueError(f"{path}: the member {info.name!r} leads outside")
                if not info.isreg():
                    raise ValueError(f"{path}: the member {info.name!r} is not a plain file")
                if info.offset_data + info.size > end:
                    raise ValueError(f"{path}: cut short inside {info.name!r}")
                stem, _, ending = pure.name.partition(".")
                yield Member(str(pure.with_name(stem)), ending.lower(), info.offset_data, info.size)
            # A whole tar ends with two empty blocks; one cut between two members has lost the rest in silence.
            if end - tar.offset < 1024:
                raise ValueError(f"{path}: cut short at its end")
    except tarfile.TarError as error:
        raise ValueError(f"{path}: not a tar file that can be read: {error}") from None


def write_shard(path: Path, samples: Iterable[dict[str, Any]]) -> None:
    """Write samples ({"__key__", ending: bytes, ...}) as a WebDataset tar, whole or not at all.

    Owner, mode and time are fixed: the same samples give the same bytes.
    """
    from webdataset import TarWriter  # takes seconds to import

    with replacing(path) as file:
        writer = TarWriter(file, user="besnet", group="besnet", mode=0o444, mtime=0, encoder=False)
        for sample in samples:
            writer.write(sample)
        writer.close()


def describe(path: Path, root: Path) -> Shard:
    """Count, size and hash of a shard."""
    digest = hashlib.blake2b(digest_size=16)
    with open(path, "rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
    count = sum(member.ending in VIDEO_MEMBERS for member in members(path))
    return Shard(str(path.relative_to(root)), count, path.stat().st_size, digest.hexdigest())


def to_json(values: dict[str, Any]) -> bytes:
    """A JSON member's bytes, the same for the same values."""
    return json.dumps(values, sort_keys=True).encode()
