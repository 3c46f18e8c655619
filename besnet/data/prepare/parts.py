"""A preparation in parts, one on each machine: which shards are a part's, and the list that all parts share."""

import fcntl
import json
import os
import re
import socket
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from besnet.data.prepare.listing import Entry, Listing
from besnet.files import write_text

MOST = 100_000
# the number of a task, from 0, as Slurm's array jobs and Kubernetes' indexed jobs say it
TASK = ("SLURM_ARRAY_TASK_ID", "JOB_COMPLETION_INDEX")


@dataclass(frozen=True)
class Part:
    """Part `number` (from 0) of `count`: shard k is its own if k mod count is its number."""

    number: int
    count: int

    @classmethod
    def read(cls, text: str, environment: Mapping[str, str] = os.environ) -> "Part":
        """From 3/64, or auto/64 with the number of the task that this is. ValueError for what is neither."""
        match = re.fullmatch(r"(auto|\d{1,6})/(\d{1,6})", text)
        if not match:
            raise ValueError(f"--part {text!r}: write NUMBER/COUNT, such as 3/64, or auto/COUNT")
        count = int(match[2])
        if not 1 <= count <= MOST:
            raise ValueError(f"--part {text}: 1 to {MOST:,} parts are expected")
        if match[1] != "auto":
            number, source = int(match[1]), f"--part {text}"
        else:
            source = next((name for name in TASK if name in environment), "")
            if not source:
                raise ValueError(f"--part {text}: neither {' nor '.join(TASK)} is set: write the number, from 0")
            if not environment[source].isdecimal():
                raise ValueError(f"--part {text}: {source} is {environment[source]!r}, not a number")
            number = int(environment[source])
            low, high = environment.get("SLURM_ARRAY_TASK_MIN"), environment.get("SLURM_ARRAY_TASK_MAX")
            if source == TASK[0] and low == "1" and high == str(count):
                raise ValueError(f"--part {text}: the array counts from 1: submit it with --array=0-{count - 1}")
        if number >= count:
            raise ValueError(f"{source}: part {number} of {count}: parts are counted from 0 to {count - 1}")
        return cls(number, count)

    def __str__(self) -> str:
        return f"part {self.number} of {self.count}"

    @property
    def journal(self) -> str:
        """The name of its journal."""
        return f"outcomes-{self.number}-of-{self.count}.jsonl"

    def has(self, place: int) -> bool:
        """Whether a shard, by its place among all shards, is this part's."""
        return place % self.count == self.number


def part_of_journal(name: str) -> Part | None:
    """The part that a journal belongs to; None for another file."""
    match = re.fullmatch(r"outcomes-(\d+)-of-(\d+)\.jsonl", name)
    return Part(int(match[1]), int(match[2])) if match else None


def own_name() -> str:
    """What tells this process's unfinished files from those of others that write into the same folder."""
    return f"{socket.gethostname()}-{os.getpid()}"


def listed_once(folder: Path, key: str, make: Callable[[], Listing]) -> Listing:
    """A listing that the first part makes and the others read. key: of the request that it belongs to."""
    with open(folder / "listing.lock", "a") as lock:
        wait_for(lock.fileno())  # without locks on this file system, each part lists by itself
        if (kept := listed_before(folder, key)) is not None:
            return kept
        found = make()
        write_text(folder / listing_name(key), listing_text(found))
        return found


def listed_before(folder: Path, key: str) -> Listing | None:
    """The listing that a part has left."""
    path = folder / listing_name(key)
    return read_listing(path.read_text()) if path.exists() else None


def listing_name(key: str) -> str:
    """The name of a listing's file."""
    return f"listing-{key}.json"


def listing_text(listing: Listing) -> str:
    """A listing as it is kept."""
    return json.dumps(asdict(listing))


def read_listing(text: str) -> Listing:
    """A kept listing."""
    kept = json.loads(text)
    entries = [Entry(**entry) for entry in kept.pop("entries")]
    objects = {path: (size, tag) for path, (size, tag) in kept.pop("objects", {}).items()}
    return Listing(entries=entries, objects=objects, **kept)


def wait_for(file: int) -> None:
    """Wait for a file's lock, where the file system has locks."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
    except OSError:
        return
