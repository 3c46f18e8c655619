"""Whole shards of a remote data set, kept on the local disk within a bound.

A shard is fetched once for all processes of a machine, compared with the manifest's size and hash, and only then
takes its name. Those that were not used for longest give way, but none that is being read. Only files with the names
that are given here are ever removed.
"""

import fcntl
import hashlib
import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from besnet.data import cache_room
from besnet.data.cache_room import Full, lock, locked, make_room
from besnet.data.fetching import Tally, Unreachable, download, download_range
from besnet.data.file_systems import PROTOCOLS
from besnet.data.remote_transfer import RemoteFile, Unranged
from besnet.data.row import MAX_FILE_BYTES, Row, hash_bytes

FAILURE_SEC = 300.0  # for which a shard that could not be fetched is not requested again
_failures: dict[Path, tuple[float, str]] = {}


def cache_folder() -> Path:
    """$BESNET_CACHE, else ~/.cache/besnet."""
    return Path(os.environ.get("BESNET_CACHE") or Path.home() / ".cache" / "besnet") / "shards"


def check_address(address: str) -> None:
    """ValueError unless fsspec opens the address by itself: no shell, no chain of file systems."""
    protocol = address.partition("://")[0]
    if protocol not in PROTOCOLS or "::" in address:
        raise ValueError(f"{address}: shards can be at {', '.join(PROTOCOLS)} addresses only")


@dataclass(frozen=True)
class Fetched:
    """What all processes of this machine have fetched into this cache since it was made."""

    shards: int = 0
    ranges: int = 0  # single videos
    bytes: int = 0
    failed: int = 0  # attempts

    def since(self, before: "Fetched") -> "Fetched":
        """What was fetched between two moments."""
        return Fetched(*(now - then for now, then in zip(vars(self).values(), vars(before).values(), strict=True)))

    def __str__(self) -> str:
        ranges = f" and {self.ranges} single videos" if self.ranges else ""
        return (
            f"this machine fetched {self.shards} shards{ranges}, {self.bytes / 1e6:,.1f} MB; "
            f"{self.failed} attempts failed"
        )


@contextmanager
def pinned(address: str, size: int, digest: str, room_sec: float | None = None) -> Iterator[Path]:
    """The local copy of a remote shard, which stays where it is inside the `with`.

    Unreachable where it cannot be had, is not the one of the manifest, or does not fit the cache: others have
    `room_sec` (by default two minutes) to finish reading.
    """
    here = _place(address, digest)
    with _in_cache(here):
        here.parent.mkdir(parents=True, exist_ok=True)
        while (descriptor := _pin(here, size)) is None:
            _fetch(address, here, size, digest, cache_room.ROOM_SEC if room_sec is None else room_sec)
    try:
        yield here
    finally:
        os.close(descriptor)


def video_alone(address: str, size: int, digest: str, video: Row) -> bytes | None:
    """The bytes of one video of a remote shard that is not fetched whole. Unreachable where they cannot be had.

    None where the shard is here, where its server sends no ranges, or where only the whole shard tells good bytes.
    """
    here = _place(address, digest)
    if here.exists() or not video.hash or video.size > MAX_FILE_BYTES:
        return None
    tally = Tally()
    try:
        data = download_range(RemoteFile(address), video.offset, video.size, size, tally)
    except Unranged:
        return None
    finally:
        _count(here.parent, Fetched(ranges=1, bytes=tally.bytes, failed=tally.failed))
    return data if hash_bytes(data) == video.hash else None


def fetched() -> Fetched:
    """What this cache has cost until now."""
    return _read_counts(cache_folder())


def discard(path: Path) -> None:
    """Remove a copy whose bytes were found to be damaged: the next use fetches it again."""
    with _in_cache(path):
        path.unlink(missing_ok=True)


def _place(address: str, digest: str) -> Path:
    check_address(address)
    name = hashlib.blake2b(f"{address} {digest}".encode(), digest_size=16).hexdigest()
    return cache_folder() / f"besnet-{name}.tar"


@contextmanager
def _in_cache(path: Path) -> Iterator[None]:
    """Unreachable for what fails in the cache itself: no video is to blame."""
    try:
        yield
    except Unreachable:
        raise
    except OSError as error:
        raise Unreachable(
            f"{path}: {error.strerror or error}: free some space, or choose another folder with BESNET_CACHE"
        ) from None


def _pin(path: Path, size: int) -> int | None:
    """A descriptor that keeps a shard from giving way until it is closed; None where there is no whole one."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    lock(descriptor, fcntl.LOCK_SH)
    facts = os.fstat(descriptor)
    if facts.st_nlink and facts.st_size == size:
        with suppress(OSError):
            os.utime(path)
        return descriptor
    os.close(descriptor)
    if facts.st_nlink:  # cut short by a full or failing disk
        discard(path)
    return None


def _fetch(address: str, here: Path, size: int, digest: str, room_sec: float) -> None:
    """Fetch a shard unless another process was faster."""
    with locked(here.with_suffix(".lock")):
        if here.exists():
            return
        when, why = _failures.get(here, (float("-inf"), ""))
        if time.monotonic() < when + FAILURE_SEC:
            raise Unreachable(why)
        reserved = here.with_suffix(".reserved")
        partial = here.with_name(f"{here.stem}.partial.{os.getpid()}.{threading.get_ident()}")
        tally, whole = Tally(), 0
        try:
            make_room(here.parent, size, reserved, room_sec)
            download(address, partial, size, digest, tally)
            os.replace(partial, here)
            whole = 1
        except Full:
            raise
        except Unreachable as error:
            _failures[here] = time.monotonic(), str(error)
            raise
        finally:
            partial.unlink(missing_ok=True)
            reserved.unlink(missing_ok=True)
            _count(here.parent, Fetched(shards=whole, bytes=tally.bytes, failed=tally.failed))


def _count(folder: Path, more: Fetched) -> None:
    """Add to what this cache has cost. It is only told to users: what cannot be written is left out."""
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
    with suppress(OSError), locked(folder / "counts.lock"):
        sums = [a + b for a, b in zip(vars(_read_counts(folder)).values(), vars(more).values(), strict=True)]
        new = folder / "counts.new"  # readers hold no lock
        new.write_text(json.dumps(asdict(Fetched(*sums))))
        new.replace(folder / "counts.json")


def _read_counts(folder: Path) -> Fetched:
    try:
        return Fetched(**json.loads((folder / "counts.json").read_text()))
    except (OSError, ValueError, TypeError):
        return Fetched()
