"""Whole shards of a remote data set, kept on the local disk within a bound.

A shard is fetched once for all processes of a machine, compared with the manifest's size and hash, and only then
takes its name. Those that were not used for longest give way, but none that is being read.
"""

import fcntl
import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from besnet.data.fetching import Unreachable, download

PROTOCOLS = ("http", "https", "s3", "gs", "gcs", "az", "abfs", "hf", "file", "memory")


def cache_folder() -> Path:
    """$BESNET_CACHE, else ~/.cache/besnet."""
    return Path(os.environ.get("BESNET_CACHE") or Path.home() / ".cache" / "besnet") / "shards"


def cache_bytes() -> int:
    """The bound on the cache: $BESNET_CACHE_GB gigabytes, else 50."""
    given = os.environ.get("BESNET_CACHE_GB", "50")
    try:
        return int(float(given) * 1e9)
    except ValueError:
        raise ValueError(f"BESNET_CACHE_GB={given}: give a number of gigabytes") from None


def check_address(address: str) -> None:
    """ValueError unless fsspec opens the address by itself: no shell, no chain of file systems."""
    protocol = address.partition("://")[0]
    if protocol not in PROTOCOLS or "::" in address:
        raise ValueError(f"{address}: shards can be at {', '.join(PROTOCOLS)} addresses only")


ROOM_SEC = 120.0  # to wait for others to finish reading
FAILURE_SEC = 300.0  # for which a shard that could not be fetched is not requested again
_failures: dict[Path, tuple[float, str]] = {}


@contextmanager
def pinned(address: str, size: int, digest: str) -> Iterator[Path]:
    """The local copy of a remote shard, which stays where it is inside the `with`.

    Unreachable where it cannot be had or is not the one of the manifest; ValueError where it does not fit the cache.
    """
    check_address(address)
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    here = folder / f"{hashlib.blake2b(f'{address} {digest}'.encode(), digest_size=16).hexdigest()}.tar"
    descriptor = _pin(here, size)
    while descriptor is None:
        _fetch(address, here, size, digest)
        descriptor = _pin(here, size)
    try:
        yield here
    finally:
        os.close(descriptor)


def discard(path: Path) -> None:
    """Remove a copy whose bytes were found to be damaged: the next use fetches it again."""
    path.unlink(missing_ok=True)


def _pin(path: Path, size: int) -> int | None:
    """A descriptor that keeps a shard from giving way until it is closed; None where there is no whole one."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    facts = os.fstat(descriptor)
    if facts.st_nlink and facts.st_size == size:
        with suppress(OSError):
            os.utime(path)
        return descriptor
    os.close(descriptor)
    if facts.st_nlink:  # cut short by a full or failing disk
        discard(path)
    return None


def _fetch(address: str, here: Path, size: int, digest: str) -> None:
    """Fetch a shard unless another process was faster."""
    lock = here.with_suffix(".lock")
    with _locked(lock):
        if here.exists():
            return
        when, why = _failures.get(here, (float("-inf"), ""))
        if time.monotonic() < when + FAILURE_SEC:
            raise Unreachable(why)
        reserved, partial = here.with_suffix(".reserved"), here.with_suffix(".partial")
        try:
            _make_room(here.parent, size, reserved)
            download(address, partial, size, digest)
            os.replace(partial, here)
        except Unreachable as error:
            _failures[here] = time.monotonic(), str(error)
            raise
        finally:
            partial.unlink(missing_ok=True)
            reserved.unlink(missing_ok=True)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _make_room(folder: Path, size: int, reserved: Path) -> None:
    """Reserve `size` bytes: a sparse file of that size is counted until the shard has taken its place."""
    bound, end = cache_bytes(), time.monotonic() + ROOM_SEC
    if size > bound:
        raise ValueError(f"a shard of {size} bytes does not fit the cache of {bound} bytes: raise BESNET_CACHE_GB")
    while True:
        with _locked(folder / "room.lock"):
            if _free(folder, bound - size):
                with open(reserved, "wb") as file:
                    file.truncate(size)
                return
        if time.monotonic() > end:
            raise Unreachable(f"the cache of {bound} bytes is full of shards being read: raise BESNET_CACHE_GB")
        time.sleep(0.05)


def _free(folder: Path, most: int) -> bool:
    """Remove shards that are not being read until at most `most` bytes are left; whether that was possible."""
    kept, total = [], 0
    for path in [*folder.glob("*.tar"), *folder.glob("*.reserved")]:
        if path.suffix == ".reserved" and _is_free(path.with_suffix(".lock")):
            path.unlink(missing_ok=True)  # a killed process left it and what it had fetched
            for part in folder.glob(f"{path.stem}.partial*"):
                part.unlink(missing_ok=True)
            continue
        with suppress(FileNotFoundError):
            facts = path.stat()
            total += facts.st_size
            if path.suffix == ".tar":
                kept.append((facts.st_mtime_ns, facts.st_size, path))
    for _, bytes_freed, path in sorted(kept):
        if total <= most:
            break
        if _is_free(path, remove=True):
            total -= bytes_freed
    return total <= most


def _is_free(path: Path, remove: bool = False) -> bool:
    """Whether no process holds a lock on a file; if so it may be removed at once."""
    try:
        with open(path, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if remove:
                path.unlink(missing_ok=True)
            return True
    except FileNotFoundError:
        return True
    except BlockingIOError:
        return False
