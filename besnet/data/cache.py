"""Whole shards of a remote data set, kept on the local disk within a bound.

A shard is fetched once for all processes of a machine, checked against the manifest's size and hash, and only then
takes its name; the shards that were not used for longest give way.
"""

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

PROTOCOLS = ("http", "https", "s3", "gs", "gcs", "az", "abfs", "hf", "file", "memory")


def cache_folder() -> Path:
    """$BESNET_CACHE, else ~/.cache/besnet."""
    return Path(os.environ.get("BESNET_CACHE") or Path.home() / ".cache" / "besnet") / "shards"


def cache_bytes() -> int:
    """The bound on the cache: $BESNET_CACHE_GB gigabytes, else 50."""
    told = os.environ.get("BESNET_CACHE_GB", "50")
    try:
        return int(float(told) * 1e9)
    except ValueError:
        raise ValueError(f"BESNET_CACHE_GB={told}: a number of gigabytes") from None


def check_address(address: str) -> None:
    """ValueError unless fsspec opens the address by itself: no shell, no chain of file systems."""
    protocol = address.partition("://")[0]
    if protocol not in PROTOCOLS or "::" in address:
        raise ValueError(f"{address}: shards can be at {', '.join(PROTOCOLS)} addresses only")


def fetch(address: str, size: int, digest: str) -> Path:
    """The local copy of a remote shard. ValueError where it cannot be had or is not the one of the manifest."""
    check_address(address)
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    here = folder / f"{hashlib.blake2b(f'{address} {digest}'.encode(), digest_size=16).hexdigest()}.tar"
    if _touch(here):
        return here
    with _locked(here.with_suffix(".lock")):
        if _touch(here):  # another process was faster
            return here
        _make_room(folder, size)
        partial = here.with_suffix(".partial")
        try:
            _download(address, partial, size, digest)
            os.replace(partial, here)
        finally:
            partial.unlink(missing_ok=True)
    return here


def _touch(path: Path) -> bool:
    """Note that a shard is in use; False where it is not here."""
    try:
        os.utime(path)
    except FileNotFoundError:
        return False
    return True


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _make_room(folder: Path, size: int) -> None:
    bound = cache_bytes()
    if size > bound:
        raise ValueError(f"a shard of {size} bytes does not fit the cache of {bound} bytes: raise BESNET_CACHE_GB")
    with _locked(folder / "room.lock"):
        kept = []
        for path in folder.glob("*.tar"):
            with suppress(FileNotFoundError):
                facts = path.stat()
                kept.append((facts.st_mtime_ns, facts.st_size, path))
        total = sum(entry[1] for entry in kept)
        for _, bytes_freed, path in sorted(kept):
            if total + size <= bound:
                break
            # A reader that has it open keeps its pages; the next one fetches it again.
            path.unlink(missing_ok=True)
            total -= bytes_freed


def _download(address: str, to: Path, size: int, digest: str) -> None:
    import fsspec

    found, count = hashlib.blake2b(digest_size=16), 0
    try:
        source: Any = fsspec.open(address, "rb")
        with source as remote, open(to, "wb") as file:
            while block := remote.read(1 << 22):
                file.write(block)
                found.update(block)
                count += len(block)
                if count > size:
                    break
    except Exception as error:  # every file system of fsspec raises its own
        raise ValueError(f"{address}: cannot be fetched: {type(error).__name__}: {error}") from error
    if count != size or found.hexdigest() != digest:
        raise ValueError(f"{address}: is not the shard that the manifest describes (size or hash differ)")
