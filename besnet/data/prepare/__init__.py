"""`besnet prepare`: from published videos to a folder that training reads."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from besnet.data.coverage import summary
from besnet.data.labels import classes_named
from besnet.data.manifest import ClassNames, Manifest, Row
from besnet.data.manifest_writing import write_manifest
from besnet.data.prepare.encode import settings as encode_settings
from besnet.data.prepare.listing import Entry, check_ids, number_labels
from besnet.data.prepare.packer import Packer
from besnet.data.prepare.pool import run_jobs
from besnet.data.prepare.process_video import Job, Mode
from besnet.data.prepare.reuse import EarlierResult
from besnet.data.prepare.sources import list_source
from besnet.data.prepare.staging import Staging, is_finished, plan_of
from besnet.progress import Meter
from besnet.schema import checked
from besnet.text import short, visible

LONGEST_NAME = 100


def prepare(
    source: Path,
    out: Path,
    videos: Path | None = None,
    name: str | None = None,
    classes: str | None = None,
    val: str | None = None,
    test: str | None = None,
    group: str | None = None,
    official_split: int = 1,
    index_only: bool = False,
    copy: bool = False,
    short_side: int = 256,
    videos_per_shard: int = 512,
    workers: int | None = None,
    timeout_sec: float = 300.0,
) -> Manifest:
    """Check every video of a data set, decode it once, and write what training and evaluation read.

    Each video ends as ready, missing or broken, with the reason; none is dropped silently. Killed at any instant,
    the same command resumes and ends with the same bytes. Run again on a longer list, it reuses the videos that have
    not changed (and needs the disk space of both until it ends).

    Args:
        source: a table (CSV with label,path and perhaps split,group; or a folder with one), Kinetics annotations (CSV
            with label, youtube_id, time_start, time_end; or a folder of them; or their JSON), the folder with UCF101's
            or HMDB51's official split files, the folder with Something-Something's JSON files, a folder of WebDataset
            tars, or a folder of class folders with or without train, val, test (whose own videos have no label).
        out: folder to write to.
        videos: folder with the videos of a table or of annotations; by default the folder of the table.
        name: name of the data in results; by default the source's name.
        classes: class list that numbers the labels: a known data set such as kinetics400, or a text file with one class
            per line. By default the official list with exactly these labels, else the sorted training labels.
        val: rows of a table for validation, as column=value,value,... with any column of the table.
        test: rows of a table for testing, in the same way; for example person=daria,denis,eli.
        group: column of a table that names the film, the person or the recording of each video, whose videos are alike;
            by default `group` where there is such a column.
        official_split: the official split of UCF101 or HMDB51: 1, 2 or 3.
        index_only: write no shards; read the videos in place.
        copy: copy the original files into the shards instead of re-encoding them for fast decoding.
        short_side: short side of the re-encoded videos, pixels; videos are never scaled up.
        videos_per_shard: videos in each shard (a tar file).
        workers: processes that decode and encode; by default one per core.
        timeout_sec: seconds after which a video counts as broken.
    """
    if index_only and copy:
        raise ValueError("--index_only and --copy exclude each other: shards, or no shards")
    for number, called in (
        (short_side, "short_side"),
        (videos_per_shard, "videos_per_shard"),
        (1 if workers is None else workers, "workers"),
        (timeout_sec, "timeout_sec"),
    ):
        if number < 1:
            raise ValueError(f"--{called} {number}: at least 1")
    if name is not None and (name != visible(name) or "/" in name or not name.strip() or len(name) > LONGEST_NAME):
        raise ValueError(f"--name {short(name)!r}: up to {LONGEST_NAME} letters of one line, without a slash")
    held_out = {split: rule for split, rule in (("val", val), ("test", test)) if rule}
    _check_writable(out)
    listing = list_source(source, videos, held_out, official_split, out, group)
    check_ids(listing.entries)
    names, labels = number_labels(listing, classes_named(classes) if classes else None)
    checked(names, ClassNames, f"{classes or source}: classes")
    mode: Mode = "index" if index_only else "copy" if copy else "encode"
    encode: dict[str, Any] = {"mode": mode, **(encode_settings(short_side) if mode == "encode" else {})}
    root = str(listing.root)
    jobs = [
        Job(n, os.path.join(root, e.path), e.start_sec, e.end_sec, e.offset, e.size, mode, short_side, shared=e.shared)
        for n, e in enumerate(listing.entries)
        if e.path is not None
    ]
    request: list[Any] = [name or listing.name, names, labels, [(e.id, e.split, e.why) for e in listing.entries], root]
    if groups := {e.id: e.group for e in listing.entries if e.group}:
        request.append(groups)
    plan = plan_of(jobs, {"encode": encode, "videos_per_shard": videos_per_shard, "asked": request})
    if is_finished(out, plan):
        manifest = Manifest.load(out)
        print(f"{summary(manifest)}\n  (already prepared: nothing to do)")
        return manifest
    staging = Staging(out, plan)
    finished = False
    try:
        packer = None
        if mode != "index":
            packer = Packer(staging.folder, listing.entries, labels, names, staging, videos_per_shard)
        previous = EarlierResult(out, encode)
        ids = [entry.id for entry in listing.entries]
        _run(jobs, ids, staging, previous, packer, workers or os.cpu_count() or 1, timeout_sec)
        fault = staging.first_fault()
        if fault is not None:
            first = fault or next(e.why for e in listing.entries)
            raise ValueError(f"{source}: no readable video among {len(listing.entries)} (the first: {first})")
        rows = _rows(listing.entries, labels, staging, packer)
        shards = packer.shards if packer else []
        write_manifest(staging.folder, name or listing.name, names, "." if packer else root, rows, encode, shards)
        staging.put_in_place()
        manifest = Manifest.load(out)
        finished = True
    finally:
        staging.close(finished)
    print(summary(manifest))
    return manifest


def _run(
    jobs: list[Job],
    ids: list[str],
    staging: Staging,
    previous: EarlierResult,
    packer: "Packer | None",
    workers: int,
    timeout_sec: float,
) -> None:
    """Do all jobs that are not done, and write each shard as soon as its videos are."""
    waiting = [job for job in (packer.arrange(jobs) if packer else jobs) if job.number not in staging]
    meter, broken = Meter(len(waiting), "videos"), 0
    if packer:
        packer.pack()
    ready = (replace(j, to=str(staging.piece(j.number)), before=previous.of(ids[j.number])) for j in waiting)
    reused = 0
    for outcome in run_jobs(ready, workers, timeout_sec):
        staging.add(outcome)
        reused += outcome.reused
        broken += bool(outcome.why)
        meter.add(1, f"{broken:,} broken")
        if packer:
            packer.pack()
    meter.close()
    if reused:
        print(f"{reused:,} videos were reused from an earlier preparation")


def _rows(entries: list[Entry], labels: list[int], staging: Staging, packer: "Packer | None") -> Iterator[Row]:
    for n, (entry, label) in enumerate(zip(entries, labels, strict=True)):
        outcome = staging.outcome(n)
        if outcome is None:
            row = Row(entry.id, label, entry.split, "missing", entry.why)
        elif outcome.facts is None:
            row = Row(entry.id, label, entry.split, "broken", outcome.why, entry.path or "")
        elif packer:
            path, offset = packer.places[n]
            place: dict[str, Any] = {"path": path, "offset": offset, "in_shard": True}
            row = Row(entry.id, label, entry.split, "ready", **place, **outcome.facts)
        else:
            place = {"path": entry.path or "", "offset": entry.offset, "in_shard": entry.size is not None}
            row = Row(entry.id, label, entry.split, "ready", **place, **outcome.facts)
        yield replace(row, group=entry.group)


def _check_writable(out: Path) -> None:
    """ValueError before any work where `out` cannot be written."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        trial = out / f".trial.{os.getpid()}"
        trial.touch()
        trial.unlink()
    except OSError as error:
        raise ValueError(f"{out}: cannot be written to: {error.strerror or error}") from None
