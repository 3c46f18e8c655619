"""Room in the cache of shards: its bound, its locks, and which copies give way.

Locks save work. Where a file system has none, a copy may give way while it is read, and its reader asks for it again.
"""

import fcntl
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from besnet.data.fetching import Unreachable

ROOM_SEC = 120.0  # to wait for others to finish reading
OURS = re.compile(r"(besnet-[0-9a-f]{32})\.(tar|reserved|partial.*)")


def cache_bytes() -> int:
    """The bound on the cache: $BESNET_CACHE_GB gigabytes, else 50."""
    given = os.environ.get("BESNET_CACHE_GB", "50")
    try:
        return int(float(given) * 1e9)
    except (ValueError, OverflowError):
        raise ValueError(f"BESNET_CACHE_GB={given}: give a number of gigabytes") from None


class Full(Unreachable):
    """The cache is full of shards that are being read."""


def make_room(folder: Path, size: int, reserved: Path, wait_sec: float) -> None:
    """Reserve `size` bytes: a sparse file of that size is counted until the shard has taken its place. Full where
    others have not finished reading within `wait_sec`."""
    bound, end = cache_bytes(), time.monotonic() + wait_sec
    if size > bound:
        raise Unreachable(f"a shard of {size} bytes does not fit the cache of {bound} bytes: raise BESNET_CACHE_GB")
    while True:
        with locked(folder / "room.lock"):
            if _free(folder, bound - size):
                with open(reserved, "wb") as file:
                    file.truncate(size)
                return
        if time.monotonic() > end:
            raise Full(f"the cache of {bound} bytes is full of shards being read: raise BESNET_CACHE_GB")
        time.sleep(0.05)


def _free(folder: Path, most: int) -> bool:
    """Remove shards that are not being read until at most `most` bytes are left; whether that was possible."""
    kept, total = [], 0
    for match in [found for path in folder.iterdir() if (found := OURS.fullmatch(path.name))]:
        path, kind = folder / match[0], match[2]
        with suppress(FileNotFoundError):
            facts = path.stat()
            if kind == "tar":
                total += facts.st_size
                kept.append((facts.st_mtime_ns, facts.st_size, path))
                continue
            alone = _alone(folder / f"{match[1]}.lock")
            if alone:
                _remove(path)  # a killed process left it
            elif alone is False and kind == "reserved":  # without locks nobody knows whether it still counts
                total += facts.st_size
    for _, bytes_freed, path in sorted(kept):
        if total <= most:
            break
        if _alone(path, remove=True):
            total -= bytes_freed
    return total <= most


def _remove(path: Path) -> bool:
    """Remove a file, where that is allowed: in a shared folder it may be another user's."""
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return False
    return True


def _alone(path: Path, remove: bool = False) -> bool | None:
    """Whether no process holds a lock on a file and, if it is to be removed, it was; None without locks."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    try:
        taken = lock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if remove and taken is not False:
            return _remove(path)
        return taken
    finally:
        os.close(descriptor)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Alone with a name, on this machine; the file may be another user's."""
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o666)
    except PermissionError:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        lock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def lock(descriptor: int, kind: int) -> bool | None:
    """Take a lock: True; False where another process has it (with LOCK_NB), None where the file system has no locks."""
    try:
        fcntl.flock(descriptor, kind)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True
