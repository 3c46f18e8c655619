"""The unfinished state of a preparation: killed at any instant, the next run resumes and writes the same bytes.

`<out>/.work` holds the plan it belongs to, one line for each finished video, encoded videos until their shard is
written, and the shards. A line is added only after its video is complete, a shard takes its name only when it is
complete; the result of an earlier preparation stays in `<out>` until all of the new one is.
"""

import fcntl
import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from besnet.data.cache_room import lock
from besnet.data.manifest import Manifest
from besnet.data.prepare.parts import Part, own_name, part_of_journal
from besnet.data.prepare.process_video import Job, Outcome
from besnet.files import Journal, write_text

PATIENCE_SEC = 30.0


class Busy(OSError):  # noqa: N818
    """Another process keeps on writing here; the same command may succeed later."""

    passing = True


def plan_of(jobs: Sequence[Job], settings: dict[str, Any]) -> str:
    """A hash of all that decides the result: settings, and each job with its file's size and time of change."""
    digest = hashlib.blake2b(json.dumps(settings, sort_keys=True).encode(), digest_size=16)
    for job in jobs:
        stamp = job.listed if job.at else stamp_of(job.path)
        digest.update(json.dumps([job.path, job.offset, job.start_sec, job.end_sec, *stamp]).encode())
    return digest.hexdigest()


def stamp_of(path: str) -> tuple[int, int]:
    """The size of a file and when it changed; -1 where there is none."""
    try:
        facts = os.stat(path)
    except OSError:
        return -1, -1
    return facts.st_size, facts.st_mtime_ns


def is_finished(out: Path, plan: str) -> bool:
    """Whether `out` already holds the result of this plan, with all of its manifest and shards."""
    stored = out / ".plan"
    if not (stored.exists() and stored.read_text() == plan):
        return False
    try:
        shards = Manifest.load(out).about.shards
        return all(os.path.getsize(out / shard.path) == shard.size for shard in shards)
    except (ValueError, OSError):
        return False


class Staging:
    """The folder `.work` of a preparation; one process at a time, or one for each part."""

    def __init__(self, out: Path, plan: str, part: Part | None = None) -> None:
        self.out, self.plan, self.part = out, plan, part
        self.folder = out / ".work"
        self.folder.mkdir(exist_ok=True)
        self._locks: list[int] = []
        try:
            self._lock(out / ".lock", fcntl.LOCK_SH if part else fcntl.LOCK_EX, "another `besnet prepare`")
            if part:
                self._lock(self.folder / f"{part.journal}.lock", fcntl.LOCK_EX, f"another process of {part}")
            stored = self.folder / "plan"
            if not (stored.exists() and stored.read_text() == plan):
                self._begin(stored)
            if part is None:
                self._take_back()
            self._journal = Journal(self.folder / (part.journal if part else "outcomes.jsonl"))
            self._lines = self._read()
            if part and not self._journal.path.exists():
                self._journal.append(sync=False)  # this part has begun
        except BaseException:
            self._let_go()
            raise

    def _lock(self, path: Path, kind: int, who: str) -> None:
        """Take a lock for as long as this process works here. A file system without locks is trusted.

        Busy where another keeps it: one that is being ended, as of a pod that was replaced, is waited for.
        """
        self._locks.append(file := os.open(path, os.O_CREAT | os.O_RDWR, 0o644))
        until_sec, waits = time.monotonic() + PATIENCE_SEC, False
        while lock(file, kind | fcntl.LOCK_NB) is False:
            if time.monotonic() > until_sec:
                raise Busy(f"{self.out}: {who} is writing here")
            if not waits:
                print(f"besnet: {self.out}: {who} is writing here: waiting up to {PATIENCE_SEC:g} s for it to end",
                      file=sys.stderr, flush=True)  # fmt: skip
            waits = True
            time.sleep(0.2)

    def _let_go(self) -> None:
        for file in self._locks:
            os.close(file)
        self._locks = []

    def _begin(self, stored: Path) -> None:
        """Note the plan, in place of an unfinished one; a part leaves what others may be at work on."""
        if self.part is None:
            self._clear(ours=stored.exists())
            write_text(stored, self.plan)
            return
        if stored.exists():
            raise ValueError(
                f"{self.folder}: an unfinished preparation of another list, other files or other settings: finish it, "
                "or delete this folder"
            )
        self._check_shards(ours=False)
        own = stored.with_name(f"plan.{own_name()}")  # the first parts may come at the same time
        own.write_text(self.plan)
        own.replace(stored)

    def _check_shards(self, ours: bool) -> None:
        """ValueError where shards of someone else would be in the way."""
        shards = list(self.out.glob("shards/*.tar"))
        if shards and not ours and not (self.out / "dataset.json").exists():
            raise ValueError(
                f"{self.out}: has shards that were not written here ({shards[0].name}): choose another folder"
            )

    def _clear(self, ours: bool) -> None:
        """Remove an unfinished result of another plan; a finished one stays, and so do shards of someone else."""
        self._check_shards(ours)
        for old in self.folder.iterdir():
            if old.is_dir():
                shutil.rmtree(old)
            else:
                old.unlink()

    def begun(self) -> list[Part]:
        """The parts that have begun."""
        parts = [part_of_journal(path.name) for path in self.folder.glob("outcomes-*.jsonl")]
        return sorted((part for part in parts if part), key=lambda part: (part.count, part.number))

    def put_in_place(self) -> None:
        """Let the result, complete in this folder, take the place of an earlier one: renames alone."""
        if (self.folder / "shards").exists():
            (self.folder / "placing").touch()
        for name in ("dataset.json", ".plan"):
            (self.out / name).unlink(missing_ok=True)
        if (self.out / "shards").exists():
            os.replace(self.out / "shards", self.folder / "old")
        for name in ("shards", "manifest.jsonl", "manifest.npy", "dataset.json"):
            if (self.folder / name).exists():
                os.replace(self.folder / name, self.out / name)

    def _take_back(self) -> None:
        """Undo `put_in_place` where a kill came between its renames."""
        if (self.folder / "placing").exists() and not (self.folder / "shards").exists():
            (self.out / "dataset.json").unlink(missing_ok=True)
            os.replace(self.out / "shards", self.folder / "shards")

    def _read(self) -> dict[int, bytes]:
        """What all journals hold, as their lines: parsed, 240,000 of them would take ten times the memory."""
        found: dict[int, bytes] = {}
        for path in sorted(self.folder.glob("outcomes*.jsonl")):
            for line in Journal(path).lines():
                with suppress(ValueError, KeyError, TypeError):  # cut short by a kill, and ended by the next writer
                    found[json.loads(line)["number"]] = line
        return found

    def __contains__(self, number: int) -> bool:
        return number in self._lines

    def forget(self, number: int) -> None:
        """What a job made is lost: it is done again."""
        self._lines.pop(number, None)

    def outcome(self, number: int) -> Outcome | None:
        """What became of a job; None while it is not done."""
        line = self._lines.get(number)
        return None if line is None else Outcome(**json.loads(line))

    def outcomes(self, jobs: Sequence[Job]) -> list[Outcome]:
        """What became of these jobs, which are done."""
        return [Outcome(**json.loads(self._lines[job.number])) for job in jobs]

    def first_fault(self) -> str | None:
        """Why the first of the jobs failed if all have; None where a video is ready."""
        faults = []
        for number in self._lines:
            outcome = self.outcome(number)
            if outcome is None or outcome.facts:
                return None
            faults.append(outcome.why)
        return faults[0] if faults else ""

    def piece(self, number: int) -> Path:
        """Where the encoded video of a job is kept until its shard is written."""
        return self.folder / f"{number}.video"

    def add(self, outcome: Outcome) -> None:
        """Note a finished job."""
        record = asdict(outcome)
        self._journal.append(record, sync=False)
        self._lines[outcome.number] = json.dumps(record).encode()

    def close(self, finished: bool) -> None:
        """Let go of the folder; if all is done, note that and remove what is no longer needed."""
        if finished:
            write_text(self.out / ".plan", self.plan)
            shutil.rmtree(self.folder)
        self._let_go()
