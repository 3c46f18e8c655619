"""Shards: plain WebDataset tar files of `key.mp4` + `key.json`, and the index that finds a video in one.

Nothing is ever extracted or unpickled: members are read as bytes, and only those named like videos or labels.
"""

import hashlib
import json
import os
import tarfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from besnet.data.dataset import Shard
from besnet.files import replacing

VIDEO_MEMBERS = {
    "mp4", "avi", "webm", "mkv", "mov", "mpg", "mpeg", "mpe", "m4v", "f4v", "flv", "wmv", "3gp", "3g2", "asf", "ts",
    "mts", "m2ts", "vob", "ogv", "divx", "dv", "mxf", "gif", "y4m",
}  # fmt: skip
LABEL_MEMBERS = {"cls", "json", "txt"}
MAX_LABEL_BYTES = 1 << 20
MOST_PADDING = 64 << 20  # empty blocks at the end
LISTING_SEC = 600.0
PLAIN_TYPES = {tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE, tarfile.DIRTYPE}


@dataclass(frozen=True)
class Member:
    """One file in a tar: `key.extension`, where its bytes are."""

    key: str
    extension: str
    offset: int
    size: int


class _Header(tarfile.TarInfo):
    """A member's header, whose size is believed only within bounds: tarfile reads long names and PAX headers whole."""

    @classmethod
    def frombuf(cls, buf: Any, encoding: str, errors: str) -> Any:
        info = super().frombuf(buf, encoding, errors)
        if info.size < 0 or (info.type not in PLAIN_TYPES and info.size > MAX_LABEL_BYTES):
            raise ValueError(f"the header of {info.name!r:.60} claims {info.size} bytes")
        return info


def members(path: Path, deadline_sec: float = LISTING_SEC) -> Iterator[Member]:
    """The plain files of a tar in order.

    ValueError where it is cut short, where a name leads out of it, where something follows its end, or where listing it
    takes longer than `deadline_sec`.
    """
    end_sec = time.monotonic() + deadline_sec
    if not path.is_file():  # a fifo would be waited for
        raise ValueError(f"{path}: not a regular file")
    try:
        with tarfile.open(path, "r:", tarinfo=_Header) as tar:
            end, before = os.path.getsize(path), -1
            while (info := tar.next()) is not None:
                vars(tar)["members"] = []  # else it keeps every member in memory
                if info.size < 0 or tar.offset <= before:
                    raise ValueError(f"the header of {info.name!r:.60} leads backwards")
                if time.monotonic() > end_sec:
                    raise ValueError(f"listing it did not finish within {deadline_sec:g} s")
                before = tar.offset
                pure = PurePosixPath(info.name)
                if info.isdir() or pure.name.startswith("._"):  # what macOS adds to a tar
                    continue
                if pure.is_absolute() or ".." in pure.parts:
                    raise ValueError(f"the member {info.name!r} leads outside")
                if not info.isreg() or info.issparse():
                    raise ValueError(f"the member {info.name!r} is not a plain file")
                if info.offset_data + info.size > end:
                    raise ValueError(f"cut short inside {info.name!r}")
                stem, _, extension = pure.name.partition(".")
                yield Member(str(pure.with_name(stem)), extension.lower(), info.offset_data, info.size)
            _check_end(path, tar.offset, end)
    except (tarfile.TarError, ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not a tar file that can be read: {error}") from None


def _check_end(path: Path, at: int, end: int) -> None:
    """ValueError unless a tar ends here, with two empty blocks or more and nothing else: what comes after would be
    lost in silence."""
    if end - at < 1024:
        raise ValueError("cut short at its end")
    if end - at > MOST_PADDING:
        raise ValueError(f"{end - at} bytes follow its end")
    with open(path, "rb") as file:
        file.seek(at)
        while block := file.read(1 << 20):
            if block.strip(b"\0"):
                raise ValueError(f"something follows its end at byte {at}: put tars together with tar --concatenate")


def write_shard(path: Path, samples: Iterable[dict[str, Any]], writer_name: str = "") -> None:
    """Write samples ({"__key__", extension: bytes, ...}) as a WebDataset tar, whole or not at all.

    Owner, mode and time are fixed: the same samples give the same bytes. writer_name: of this process, where another
    one may write the same shard at the same time.
    """
    from webdataset import TarWriter  # takes seconds to import

    unfinished = path.with_name(f"{path.name}.{writer_name}") if writer_name else path
    with replacing(unfinished, lambda _: path) as file:
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
    count = sum(member.extension in VIDEO_MEMBERS for member in members(path))
    return Shard(str(path.relative_to(root)), count, path.stat().st_size, digest.hexdigest())


def to_json(values: dict[str, Any]) -> bytes:
    """A JSON member's bytes, the same for the same values."""
    return json.dumps(values, sort_keys=True).encode()
