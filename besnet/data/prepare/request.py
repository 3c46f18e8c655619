"""What a preparation is asked for, and the plan that follows: which videos, with which labels, done how."""

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from besnet.data.dataset import ClassNames
from besnet.data.labels import classes_named
from besnet.data.prepare.encode import settings as encode_settings
from besnet.data.prepare.listing import Entry, Listing, Numbers, check_ids, number_labels, tell_same_but_case
from besnet.data.prepare.object_storage import address_of
from besnet.data.prepare.process_video import Job, Mode
from besnet.data.prepare.sources import list_source
from besnet.data.prepare.sources.table import TableRules
from besnet.data.prepare.staging import plan_of
from besnet.schema import checked
from besnet.text import short, visible

LONGEST_NAME = 100


@dataclass(frozen=True)
class Request:
    """The arguments of `besnet prepare`, see there. ValueError where they do not fit each other."""

    source: Path
    out: Path
    videos: Path | None = None
    name: str | None = None
    classes: str | None = None
    val: str | None = None
    test: str | None = None
    group: str | None = None
    multi_label: bool | None = None
    background: str | None = None
    split_within_files: bool = False
    official_split: int = 1
    index_only: bool = False
    copy: bool = False
    short_side: int = 256
    videos_per_shard: int = 512
    workers: int | None = None
    timeout_sec: float = 300.0

    def __post_init__(self) -> None:
        if self.index_only and self.copy:
            raise ValueError("--index_only and --copy exclude each other: shards, or no shards")
        for number, called in (
            (self.short_side, "short_side"),
            (self.videos_per_shard, "videos_per_shard"),
            (1 if self.workers is None else self.workers, "workers"),
            (self.timeout_sec, "timeout_sec"),
        ):
            if number < 1:
                raise ValueError(f"--{called} {number}: at least 1")
        name = self.name
        if name is not None and (name != visible(name) or "/" in name or not name.strip() or len(name) > LONGEST_NAME):
            raise ValueError(f"--name {short(name)!r}: up to {LONGEST_NAME} letters of one line, without a slash")

    @property
    def named(self) -> str:
        """The source as its user calls it."""
        return address_of(self.source) or str(self.source)

    @property
    def mode(self) -> Mode:
        """What is done with each video."""
        return "index" if self.index_only else "copy" if self.copy else "encode"

    @property
    def encode(self) -> dict[str, Any]:
        """All that decides the bytes of a prepared video."""
        return {"mode": self.mode, **(encode_settings(self.short_side) if self.mode == "encode" else {})}

    def listing(self, kept: Listing | None = None) -> Listing:
        """The videos that the source lists. kept: an earlier listing, see list_source."""
        held_out = {split: rule for split, rule in (("val", self.val), ("test", self.test)) if rule}
        rules = TableRules(self.group, self.multi_label, self.background, self.split_within_files)
        return list_source(self.source, self.videos, held_out, self.official_split, self.out, rules, kept)

    @property
    def key(self) -> str:
        """A hash of all that decides the listing."""
        places = [path and (address_of(path) or os.path.abspath(path)) for path in (self.source, self.videos, self.out)]
        asked = [*places, self.val, self.test, self.group, self.official_split, self.multi_label,
                 self.background, self.split_within_files]  # fmt: skip
        return hashlib.blake2b(json.dumps(asked).encode(), digest_size=8).hexdigest()


@dataclass(frozen=True)
class Preparation:
    """The videos of a request. classes: names; labels: of each entry. plan: a hash of it all."""

    name: str
    root: str
    entries: list[Entry]
    classes: list[str]
    labels: list[Numbers]
    jobs: list[Job]
    plan: str


def planned(request: Request, listing: Listing) -> Preparation:
    """What has to be done for a listing. ValueError where it does not fit the request."""
    check_ids(listing.entries)
    tell_same_but_case(listing.entries)
    if listing.objects and request.mode == "index":
        raise ValueError(f"{listing.root}: videos in object storage are not read in place: leave --index_only out")
    if request.mode != "encode" and any(entry.exact for entry in listing.entries):
        raise ValueError(f"{request.named}: spans are cut out and encoded: leave --index_only and --copy out")
    names, labels = number_labels(listing, classes_named(request.classes) if request.classes else None)
    checked(names, ClassNames, f"{request.classes or request.named}: classes")
    root, name = listing.root, request.name or listing.name
    jobs = [job_of(request, listing, n, entry) for n, entry in enumerate(listing.entries) if entry.path is not None]
    asked: list[Any] = [name, names, labels, [(e.id, e.split, e.why) for e in listing.entries], root]
    if groups := {e.id: e.group for e in listing.entries if e.group}:
        asked.append(groups)
    settings = {"encode": request.encode, "videos_per_shard": request.videos_per_shard, "asked": asked}
    return Preparation(name, root, listing.entries, names, labels, jobs, plan_of(jobs, settings))


def job_of(request: Request, listing: Listing, number: int, entry: Entry) -> Job:
    """What has to be done for a video that has a file."""
    assert entry.path is not None
    return Job(
        number,
        os.path.join(listing.root, entry.path),
        entry.start_sec,
        entry.end_sec,
        entry.offset,
        entry.size,
        request.mode,
        request.short_side,
        shared=entry.shared,
        exact=entry.exact,
        at=listing.root if entry.path in listing.objects else "",
        listed=listing.objects.get(entry.path, (0, "")),
    )
