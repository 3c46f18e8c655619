"""Fills shards with prepared videos, in an order that does not depend on what finished first."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from besnet.data.dataset import Shard
from besnet.data.paths import read_range
from besnet.data.prepare.bucket import Bucket, Packed
from besnet.data.prepare.listing import Entry, Numbers
from besnet.data.prepare.parts import Part, own_name
from besnet.data.prepare.process_video import Job
from besnet.data.prepare.staging import Staging
from besnet.data.shards import VIDEO_MEMBERS, describe, members, to_json, write_shard


class Packer:
    """Writes shard k as soon as all of the k-th group of videos are done; broken ones are left out of it.

    With a part, its own shards only. Groups are cut from an order by the hash of the id, one split after the other:
    classes are mixed within a shard, for those who read shards from front to back.

    Attributes: `shards`, those written; `places`, {row: (shard, offset of the video)}.
    """

    def __init__(
        self,
        out: Path,
        entries: list[Entry],
        labels: list[Numbers],
        classes: list[str],
        staging: Staging,
        videos_per_shard: int,
        part: Part | None = None,
        bucket: Bucket | None = None,
    ) -> None:
        self.out, self.entries, self.labels, self.classes = out, entries, labels, classes
        self.staging, self.size, self.part, self.bucket = staging, videos_per_shard, part, bucket
        self.shards: list[Shard] = []
        self.places: dict[int, tuple[str, int]] = {}
        self._groups: list[tuple[str, list[Job]]] = []
        self._next = 0
        (out / "shards").mkdir(exist_ok=True)
        if part is None:
            for partial in (out / "shards").glob("*.partial"):
                partial.unlink()

    def arrange(self, jobs: list[Job]) -> list[Job]:
        """The jobs of its shards, in their order."""
        for split in ("train", "val", "test"):
            chosen = [job for job in jobs if self.entries[job.number].split == split]
            chosen.sort(key=lambda job: hashlib.blake2b(ascii(self.entries[job.number].id).encode()).digest())
            for k in range(0, len(chosen), self.size):
                name = f"shards/{split}-{k // self.size:06d}.tar"
                self._groups.append((name, chosen[k : k + self.size]))
        if self.part is not None:
            self._groups = [group for place, group in enumerate(self._groups) if self.part.has(place)]
        return [job for _, group in self._groups for job in group]

    @property
    def names(self) -> list[str]:
        """The names of its shards, once the jobs are arranged."""
        return [name for name, _ in self._groups]

    def forget_lost(self) -> None:
        """Let those videos be done again whose bytes are neither in a whole shard nor beside it any more."""
        for name, group in self._groups:
            if (self.bucket and self.bucket.known(name)) or self._is_whole(self.out / name, group):
                continue
            for job in group:
                if self._ready(job) and not self._source(job).exists():
                    self.staging.forget(job.number)

    def _is_whole(self, path: Path, group: list[Job]) -> bool:
        """Whether a shard is there with its videos; one that was damaged since is removed."""
        if not path.exists():
            return False
        try:
            if sum(found.extension in VIDEO_MEMBERS for found in members(path)) >= sum(map(self._ready, group)):
                return True
        except ValueError:  # cut short
            pass
        print(f"{path}: damaged: its videos are prepared again", flush=True)
        path.unlink(missing_ok=True)
        return False

    def jobs_of(self, part: Part) -> list[Job]:
        """The jobs of a part's shards, once they are arranged."""
        return [job for place, (_, group) in enumerate(self._groups) if part.has(place) for job in group]

    def pack(self) -> None:
        """Write the next shards while all of their videos are done."""
        while self._next < len(self._groups):
            name, group = self._groups[self._next]
            if any(job.number not in self.staging for job in group):
                return
            self._next += 1
            packed = self.bucket.known(name) if self.bucket else None
            if packed is None:
                packed = self._packed(name, [job for job in group if self._ready(job)])
                if self.bucket:
                    self.bucket.keep(name, self.out / name, packed, self.staging.outcomes(group))
            if packed.shard is not None:
                self.shards.append(packed.shard)
            self.places |= {row: (name, offset) for row, offset in packed.places.items()}
            for job in group:
                self.staging.piece(job.number).unlink(missing_ok=True)

    def _packed(self, name: str, jobs: list[Job]) -> Packed:
        """Write the shard of these videos, unless it is there, and describe it."""
        path = self.out / name
        if not jobs:
            return Packed(None, {})
        if not path.exists():
            try:
                write_shard(path, self._samples(jobs), own_name() if self.part else "")
            except FileNotFoundError:  # another process of this part has written it, and removed the pieces
                if not path.exists():
                    raise
        shard = describe(path, self.out)
        assert shard.count == len(jobs), f"{name}: {shard.count} videos, not {len(jobs)}"
        places = {int(found.key): found.offset for found in members(path) if found.extension in VIDEO_MEMBERS}
        return Packed(shard, places)

    def _ready(self, job: Job) -> bool:
        outcome = self.staging.outcome(job.number)
        return outcome is not None and outcome.facts is not None

    def _samples(self, jobs: list[Job]) -> Iterator[dict[str, Any]]:
        for job in jobs:
            entry, label = self.entries[job.number], self.labels[job.number]
            outcome = self.staging.outcome(job.number)
            assert outcome is not None
            assert outcome.facts is not None
            several = {} if isinstance(label, int) else {"classes": [self.classes[number] for number in label]}
            own = {"label": label} if isinstance(label, int) else {"labels": label}
            facts = {name: fact for name, fact in outcome.facts.items() if name != "looks"}  # for the manifest alone
            about = {"id": entry.id, **own, "split": entry.split, **facts, **(outcome.extra or {})}
            if entry.group:
                about["group"] = entry.group
            if isinstance(label, int) and label >= 0:
                about["class"] = self.classes[label]
            about |= several
            extension = "mp4"
            piece = self._source(job)
            if job.mode == "copy":
                extension = os.path.splitext(job.path)[1].lower().lstrip(".")
                extension = extension if extension in VIDEO_MEMBERS else "mp4"
            inside = job.size is not None and piece == Path(job.path)
            data = self._inside(job) if inside else piece.read_bytes()
            yield {"__key__": f"{job.number:08d}", "json": to_json(about), extension: data}

    def _source(self, job: Job) -> Path:
        """The file with a video's bytes for its shard."""
        return Path(job.path) if job.mode == "copy" and not job.at else self.staging.piece(job.number)

    def _inside(self, job: Job) -> bytes:
        """A video that is copied from one tar to another."""
        return read_range(job.path, job.offset, job.size or 0)
