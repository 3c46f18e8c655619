"""Copies of remote videos, on this machine's disk for as long as they are worked on.

Downloads run ahead of the workers, within the bound of the cache. A copy counts once it is whole: of the size and,
where the storage says it, of the hash that were listed. Only files that this process has written are removed, and those
that a killed one of the same kind has left.
"""

import fcntl
import hashlib
import heapq
import os
import re
import shutil
import threading
import uuid
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from besnet.data.cache import cache_folder
from besnet.data.cache_room import cache_bytes, lock
from besnet.data.fetching import Tally, download_file, download_range
from besnet.data.file_systems import Held
from besnet.data.prepare.object_storage import ObjectStorage
from besnet.data.prepare.process_video import Job
from besnet.data.remote_transfer import RemoteFile

MD5 = re.compile("[0-9a-f]{32}")


def scratch_folder() -> Path:
    """Where preparations keep what is not needed once they have ended."""
    return cache_folder().parent / "prepare"


@contextmanager
def own_folder() -> Iterator[Path]:
    """A folder for this process alone, removed at the end; what killed processes left goes, too."""
    base = scratch_folder()
    base.mkdir(parents=True, exist_ok=True)
    for left in base.glob("copies-*.lock"):
        with suppress(OSError):
            _remove_unless_used(left)
    folder = base / f"copies-{uuid.uuid4().hex}"
    mark = folder.with_suffix(".lock")
    descriptor = os.open(mark, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o644)
    try:
        lock(descriptor, fcntl.LOCK_EX)
        folder.mkdir()
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        mark.unlink(missing_ok=True)
        os.close(descriptor)


def _remove_unless_used(mark: Path) -> None:
    descriptor = os.open(mark, os.O_RDWR | os.O_CLOEXEC)
    try:
        if lock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB):
            shutil.rmtree(mark.with_suffix(""), ignore_errors=True)
            mark.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


@dataclass
class Copy:
    """A file here, and how many jobs need it. shared: other jobs may come for it."""

    folder: Path
    size: int
    shared: bool
    users: int = 0
    path: "Future[Path]" = field(default_factory=Future)


class Copies:
    """Brings the videos of jobs here, a few ahead of the workers. Jobs on files of this machine pass as they are.

    ValueError where the largest videos do not fit the bound.
    """

    def __init__(self, jobs: Sequence[Job], workers: int, folder: Path) -> None:
        self.folder, self.ahead = folder, max(2, workers)
        self.bound = cache_bytes() if any(job.at for job in jobs) else 0
        self.tally, self.fetched = Tally(), 0
        self._copies: dict[tuple[str, int], Copy] = {}
        self._of: dict[int, tuple[str, int]] = {}
        self._hashes = True  # whether an ETag like an MD5 is the hash of the bytes: not so where they lie encrypted
        largest = sum(heapq.nlargest(workers, map(size_of, jobs)))
        if largest > self.bound:
            raise ValueError(
                f"{jobs[0].at}: {workers} videos at a time take up to {largest / 1e9:.3g} GB here: raise "
                f"BESNET_CACHE_GB ({self.bound / 1e9:.3g}), or ask for fewer --workers"
            )

    def bring(self, jobs: Iterable[Job]) -> Iterator[Job]:
        """The jobs in their order, each with the path of its copy. Unreachable where a video cannot be had, ValueError
        where it has changed since it was listed."""
        waiting: deque[Job] = deque()
        for job in jobs:
            while (not self._has_room(job) or len(waiting) >= self.ahead) and waiting:
                yield self._ready(waiting.popleft())
            if job.at:
                self._begin(job)
            waiting.append(job)
        while waiting:
            yield self._ready(waiting.popleft())

    def drop(self, number: int) -> None:
        """A job is done: its copy goes, unless it is another's, too."""
        if (key := self._of.pop(number, None)) is None:
            return
        copy = self._copies[key]
        copy.users -= 1
        if not copy.users and not copy.shared:
            self._remove(key)

    def _has_room(self, job: Job) -> bool:
        """Whether a job's video fits; copies that nobody needs now give way."""
        needed = 0 if key_of(job) in self._copies else size_of(job)
        for key in [key for key, copy in self._copies.items() if not copy.users and key != key_of(job)]:
            if sum(copy.size for copy in self._copies.values()) + needed <= self.bound:
                break
            self._remove(key)
        return sum(copy.size for copy in self._copies.values()) + needed <= self.bound

    def _remove(self, key: tuple[str, int]) -> None:
        shutil.rmtree(self._copies.pop(key).folder, ignore_errors=True)

    def _begin(self, job: Job) -> None:
        key = key_of(job)
        copy = self._copies.get(key)
        if copy is None:
            copy = self._copies[key] = Copy(self.folder / str(job.number), size_of(job), job.shared)
            threading.Thread(target=self._fetch, args=(job, copy), name=f"fetches {job.path}", daemon=True).start()
        copy.users += 1
        self._of[job.number] = key

    def _ready(self, job: Job) -> Job:
        if not job.at:
            return job
        return replace(job, path=str(self._copies[key_of(job)].path.result()), offset=0)

    def _fetch(self, job: Job, copy: Copy) -> None:
        try:
            copy.folder.mkdir()
            to, here = copy.folder / "unfinished", copy.folder / os.path.basename(job.path)
            tally = Tally()
            try:
                self._download(job, to, tally)
            finally:
                self.tally.bytes += tally.bytes
                self.tally.failed += tally.failed
            to.replace(here)
            self.fetched += 1
            copy.path.set_result(here)
        except Exception as error:
            copy.path.set_exception(error)

    def _download(self, job: Job, to: Path, tally: Tally) -> None:
        name = job.path[len(job.at) + 1 :]
        file, listed = RemoteFile(job.at, name, "the video that was listed"), Held(*job.listed)
        found: list[str] = []

        def fits(path: Path) -> bool:
            """Whether these are the bytes that were listed. Two transfers that agree are: the ETag is then no hash."""
            is_hash = self._hashes and MD5.fullmatch(listed.tag)
            if is_hash:
                with open(path, "rb") as data:
                    found.append(hashlib.file_digest(data, lambda: hashlib.md5(usedforsecurity=False)).hexdigest())
                if found[-1] == listed.tag:
                    return True
            check_unchanged(job.at, name, listed)
            if is_hash and found[-1] in found[:-1]:
                self._hashes = False
                return True
            return not is_hash

        if job.size is None:
            download_file(file, to, listed.size, fits, tally)
            return
        to.write_bytes(download_range(file, job.offset, job.size, listed.size, tally))
        check_unchanged(job.at, name, listed)


def check_unchanged(place: str, name: str, listed: Held) -> None:
    """ValueError where an object is another one than was listed."""
    if ObjectStorage(place).now(name) != listed:
        raise ValueError(
            f"{place}/{name}: has changed since it was listed: delete the unfinished result (.work), and begin anew"
        )


def key_of(job: Job) -> tuple[str, int]:
    """What tells copies apart: the file, and where in it the video begins."""
    return job.path, job.offset


def size_of(job: Job) -> int:
    """The bytes of a job's copy."""
    return 0 if not job.at else job.listed[0] if job.size is None else job.size
