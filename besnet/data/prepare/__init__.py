"""`besnet prepare`: from videos as they were published to a folder that training reads without surprises."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from besnet.data.coverage import summary
from besnet.data.labels import classes_named
from besnet.data.manifest import Manifest, Row, write_manifest
from besnet.data.prepare.examine import Job, Outcome
from besnet.data.prepare.listing import Entry, check_ids, number_labels
from besnet.data.prepare.pool import run_jobs
from besnet.data.prepare.sources import list_source


def prepare(
    source: Path,
    out: Path,
    videos: Path | None = None,
    name: str | None = None,
    classes: str | None = None,
    val: str | None = None,
    test: str | None = None,
    index_only: bool = False,
    workers: int | None = None,
    deadline_sec: float = 300.0,
) -> Manifest:
    """Check every video of a data set, decode it once, and write the manifest that training and evaluation read.

    Each video ends as ready, missing or broken, with the reason; nothing is left out in silence.

    Args:
        source: A table (CSV with label,path and perhaps split), Kinetics annotations (CSV with label, youtube_id,
            time_start, time_end; or a folder of them), or a folder of class folders with or without train, val, test.
        out: Folder to write to.
        videos: Folder with the videos that a table or annotations speak of; by default the folder these are in.
        name: What results call the data; by default the source's name.
        classes: Class list that numbers the labels: a known data set such as kinetics400, or a text file with a class
            a line. By default the official list with exactly these labels, else the training labels by alphabet.
        val: Rows of a table to keep for validation, as column=value,value,... (the column may be any of the table's).
        test: Rows of a table to keep for testing, in the same way; for example person=daria,denis,eli.
        index_only: Read the videos where they are, as they are.
        workers: Processes that decode; by default one a processor core.
        deadline_sec: Seconds after which a video counts as broken.
    """
    if not index_only:
        raise ValueError("shards are not written yet: add --index_only true")
    held_out = {split: rule for split, rule in (("val", val), ("test", test)) if rule}
    _check_writable(out)
    listing = list_source(source, videos, held_out)
    check_ids(listing.entries)
    names, labels = number_labels(listing, classes_named(classes) if classes else None)
    jobs = [
        Job(n, os.path.join(listing.root, e.path), e.start_sec, e.end_sec)
        for n, e in enumerate(listing.entries)
        if e.path is not None
    ]
    outcomes: dict[int, Outcome] = {}
    progress = Progress(len(jobs))
    for outcome in run_jobs(jobs, workers or os.cpu_count() or 1, deadline_sec):
        outcomes[outcome.number] = outcome
        progress.step(bool(outcome.why))
    progress.end()
    if not any(outcome.facts for outcome in outcomes.values()):
        first = next((o.why for o in outcomes.values()), "") or next(e.why for e in listing.entries)
        raise ValueError(f"{source}: no readable video at all among {len(listing.entries)} (the first: {first})")
    rows = _rows(listing.entries, labels, outcomes)
    manifest = write_manifest(out, name or listing.name, names, str(listing.root), rows)
    print(summary(manifest))
    return manifest


def _rows(entries: list[Entry], labels: list[int], outcomes: dict[int, Outcome]) -> Iterator[Row]:
    for n, (entry, label) in enumerate(zip(entries, labels, strict=True)):
        outcome = outcomes.get(n)
        if outcome is None:
            yield Row(entry.id, label, entry.split, "missing", entry.why)
        elif outcome.facts is None:
            yield Row(entry.id, label, entry.split, "broken", outcome.why, entry.path or "")
        else:
            yield Row(entry.id, label, entry.split, "ready", "", entry.path or "", **outcome.facts)


def _check_writable(out: Path) -> None:
    """ValueError before any work where `out` cannot be written."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        trial = out / f".trial.{os.getpid()}"
        trial.touch()
        trial.unlink()
    except OSError as error:
        raise ValueError(f"{out}: cannot be written to: {error.strerror or error}") from None


class Progress:
    """One line on stderr: done, videos/s, hours left, broken so far; rewritten in place on a terminal."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.done = self.broken = 0
        self.began = self.shown = time.monotonic()
        self.live = sys.stderr.isatty()

    def step(self, broken: bool) -> None:
        self.done += 1
        self.broken += broken
        now = time.monotonic()
        if now - self.shown >= (0.2 if self.live else 10):
            self.shown = now
            self.show(now)

    def show(self, now: float) -> None:
        rate = self.done / max(now - self.began, 1e-9)
        left = (self.total - self.done) / max(rate, 1e-9)
        ahead = f"{left / 3600:.1f} h" if left > 3600 else f"{left / 60:.0f} min" if left > 90 else f"{left:.0f} s"
        line = f"prepare: {self.done:,} of {self.total:,} videos, {rate:.1f}/s, {ahead} left, {self.broken:,} broken"
        with suppress(OSError):
            print(f"\r{line}\033[K" if self.live else line, end="" if self.live else "\n", file=sys.stderr, flush=True)

    def end(self) -> None:
        self.show(time.monotonic())
        if self.live:
            print(file=sys.stderr)
