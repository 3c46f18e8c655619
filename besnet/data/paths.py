"""Where a manifest's rows lead: never out of their root, and to files that are still those which were prepared."""

import hashlib
import json
import os
import stat
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any

from besnet.data.row import MAX_FILE_BYTES

MAX_LIST_BYTES = 500_000_000  # a table or an annotation file; Kinetics-700's are a tenth


def inside(root: str, path: str, id: str) -> str:
    """The full path of a row; ValueError where it would lead out of the root."""
    pure = PurePosixPath(path)
    if not path or pure.is_absolute() or ".." in pure.parts or "://" in path or "\0" in path:
        raise ValueError(f"{id}: the path {path!r} in the manifest leads outside {root}")
    return f"{root.rstrip('/')}/{path}"


def check_size(path: str, size: int) -> None:
    """ValueError where a file has another size than it was prepared with; whether it is there its reader will see."""
    with suppress(OSError):
        found = os.stat(path).st_size
        if found != size:
            raise ValueError(f"{path}: changed since it was prepared ({found} bytes, not {size}): run `besnet verify`")


def read_range(path: str, offset: int, size: int) -> bytes:
    """`size` bytes of a file from `offset`. ValueError where there are fewer."""
    with open(path, "rb", buffering=0) as file:
        # before anything is allocated for what a row or a tar claims
        if size > MAX_FILE_BYTES or not 0 <= offset <= offset + size <= os.fstat(file.fileno()).st_size:
            raise ValueError(f"{path}: ends before byte {offset + size}: run `besnet verify`")
        data = os.pread(file.fileno(), size, offset)
    if len(data) != size:
        raise ValueError(f"{path}: ends before byte {offset + size}: run `besnet verify`")
    return data


def read_text(path: Path, first: int | None = None) -> str:
    """The text of a list, or its `first` bytes. ValueError where it is no regular file, too large, or no text."""
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            facts = os.fstat(file.fileno())
            if not stat.S_ISREG(facts.st_mode):
                raise ValueError(f"{path}: not a regular file")
            if first is None and facts.st_size > MAX_LIST_BYTES:
                raise ValueError(f"{path}: {facts.st_size} bytes are above the limit of {MAX_LIST_BYTES} for a list")
            data = file.read(first if first is not None else MAX_LIST_BYTES)
        return data.decode("utf-8-sig", errors="strict" if first is None else "replace")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None


def read_json(path: Path) -> Any:
    """What a JSON file holds. ValueError where it cannot be read."""
    try:
        return json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: cannot be read: {error}") from None
    except RecursionError:
        raise ValueError(f"{path}: cannot be read: brackets within brackets without end") from None


def hash_file(path: Path, most: int | None = None) -> tuple[str, int]:
    """(hash as of row.hash_bytes, bytes) of a regular file. ValueError where it has more than `most` bytes."""
    digest = hashlib.blake2b(digest_size=16)
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb", buffering=0) as file:
        facts = os.fstat(file.fileno())
        if not stat.S_ISREG(facts.st_mode):
            raise ValueError(f"{path.name}: not a regular file")
        if most is not None and facts.st_size > most:
            raise ValueError(f"{path.name}: {facts.st_size} bytes are above the limit of {most}")
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest(), facts.st_size
