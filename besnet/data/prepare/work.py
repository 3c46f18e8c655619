"""The work of a preparation: every video once, shards as soon as their videos are done, then the manifest."""

import os
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from besnet.data.coverage import summary
from besnet.data.manifest import Manifest, Row
from besnet.data.manifest_writing import write_manifest
from besnet.data.prepare.bucket import Bucket
from besnet.data.prepare.copies import Copies, own_folder
from besnet.data.prepare.listing import Entry
from besnet.data.prepare.object_storage import address_of
from besnet.data.prepare.packer import Packer
from besnet.data.prepare.parts import Part, listed_before, listed_once
from besnet.data.prepare.pool import run_jobs
from besnet.data.prepare.process_video import Job
from besnet.data.prepare.request import Preparation, Request, planned
from besnet.data.prepare.reuse import EarlierResult
from besnet.data.prepare.staging import Staging, is_finished
from besnet.progress import Meter

MOST_NAMED = 10  # unfinished parts that get a line each


def do_all(request: Request) -> Manifest:
    """Do what is left of a preparation, and put the result in place."""
    asked, (request, bucket) = request, placed(request)
    check_writable(request.out)
    kept = bucket.listed_before(asked.key) if bucket else listed_before(request.out / ".work", asked.key)
    preparation = planned(request, asked.listing(kept))
    if bucket.is_finished(preparation.plan) if bucket else is_finished(request.out, preparation.plan):
        manifest = Manifest.load(request.out)
        print(f"{summary(manifest)}\n  (already prepared: nothing to do)")
        return manifest
    staging = Staging(request.out, preparation.plan)
    finished = False
    try:
        packer = packer_of(request, preparation, staging, bucket=bucket)
        jobs = packer.arrange(preparation.jobs) if packer else preparation.jobs
        restore(staging, packer, bucket)
        tell_unfinished(preparation.jobs, staging, packer)
        work(jobs, request, preparation, staging, packer)
        fault = staging.first_fault()
        if fault is not None:
            entries = preparation.entries
            first = fault or next(e.why for e in entries)
            raise ValueError(f"{request.named}: no readable video among {len(entries)} (the first: {first})")
        rows = rows_of(preparation, staging, packer)
        root, shards = ("." if packer else preparation.root), (packer.shards if packer else [])
        write_manifest(
            staging.folder, preparation.name, preparation.classes, root, rows, request.encode, shards,
            any(entry.labels is not None for entry in preparation.entries),
        )  # fmt: skip
        staging.put_in_place()
        manifest = Manifest.load(request.out)
        if bucket:
            bucket.publish(preparation.plan)
        finished = True
    finally:
        staging.close(finished)
    print(summary(manifest))
    return manifest


def do_part(request: Request, part: Part) -> None:
    """Do one part's share, beside others."""
    asked, (request, bucket) = request, placed(request)
    check_writable(request.out)
    folder = request.out / ".work"
    folder.mkdir(exist_ok=True)
    if bucket:
        listing = bucket.listed_once(asked.key, part, asked.listing)
    else:
        listing = listed_once(folder, asked.key, asked.listing)
    preparation = planned(request, listing)
    if bucket and bucket.is_finished(preparation.plan):
        print(f"{bucket.address}: already prepared: nothing to do")
        return
    staging = Staging(request.out, preparation.plan, part)
    try:
        packer = packer_of(request, preparation, staging, part, bucket)
        own = packer.arrange(preparation.jobs) if packer else [j for j in preparation.jobs if part.has(j.number)]
        restore(staging, packer, bucket, part)
        work(own, request, preparation, staging, packer)
    finally:
        staging.close(finished=False)
    print(
        f"{bucket.address if bucket else request.out}: {part} is done, {len(own):,} of {len(preparation.jobs):,} videos"
    )
    print("when all parts are done, run the same command without --part")


def placed(request: Request) -> tuple[Request, Bucket | None]:
    """Where this machine works, and the object storage that the result goes to, if that is where it goes."""
    address = address_of(request.out)
    if address is None:
        return request, None
    bucket = Bucket(address)
    return bucket.local(request), bucket


def packer_of(
    request: Request,
    preparation: Preparation,
    staging: Staging,
    part: Part | None = None,
    bucket: Bucket | None = None,
) -> "Packer | None":
    """What fills the shards; None where there are none."""
    if request.mode == "index":
        return None
    return Packer(
        staging.folder, preparation.entries, preparation.labels, preparation.classes, staging,
        request.videos_per_shard, part, bucket,
    )  # fmt: skip


def restore(staging: Staging, packer: "Packer | None", bucket: Bucket | None, part: Part | None = None) -> None:
    """Take over what is done, and nothing whose bytes are lost."""
    if bucket and packer:
        bucket.restore(staging, set(packer.names), part)
    if packer:
        packer.forget_lost()


def work(
    jobs: list[Job], request: Request, preparation: Preparation, staging: Staging, packer: "Packer | None"
) -> None:
    """Do the jobs that are not done, and write each shard as soon as its videos are."""
    waiting = [job for job in jobs if job.number not in staging]
    meter, broken, reused = Meter(len(waiting), "videos"), 0, 0
    previous = EarlierResult(request.out, request.encode)
    if packer:
        packer.pack()
    ready = (
        replace(j, to=str(staging.piece(j.number)), before=previous.of(preparation.entries[j.number].id))
        for j in waiting
    )
    workers = request.workers or os.cpu_count() or 1
    with own_folder() if any(job.at for job in waiting) else nullcontext(request.out) as folder:
        copies = Copies(waiting, workers, folder)
        for outcome in run_jobs(copies.bring(ready), workers, request.timeout_sec):
            copies.drop(outcome.number)
            staging.add(outcome)
            reused += outcome.reused
            broken += bool(outcome.why)
            meter.add(1, f"{broken:,} broken")
            if packer:
                packer.pack()
    meter.close()
    if copies.fetched:
        print(f"{copies.fetched:,} videos were fetched, {copies.tally.bytes / 1e6:,.1f} MB; "
              f"{copies.tally.failed} attempts failed")  # fmt: skip
    if reused:
        print(f"{reused:,} videos were reused from an earlier preparation")


def tell_unfinished(jobs: list[Job], staging: Staging, packer: "Packer | None") -> None:
    """Print which parts of a preparation in parts have work left, or have never begun."""
    begun = set(staging.begun())
    for count in sorted({part.count for part in begun}):
        lines = []
        for part in (Part(number, count) for number in range(count)):
            own = packer.jobs_of(part) if packer else [job for job in jobs if part.has(job.number)]
            left = sum(job.number not in staging for job in own)
            if own and part not in begun:
                lines.append(f"{part} has never begun: {left:,} of its {len(own):,} videos are left")
            elif left:
                lines.append(f"{part} is unfinished: {left:,} of its {len(own):,} videos are left")
        print("\n".join(lines[:MOST_NAMED] or [f"all {count} parts are done"]))
        if len(lines) > MOST_NAMED:
            print(f"and {len(lines) - MOST_NAMED} more parts")


def rows_of(preparation: Preparation, staging: Staging, packer: "Packer | None") -> Iterator[Row]:
    """The manifest's rows."""
    for n, (entry, label) in enumerate(zip(preparation.entries, preparation.labels, strict=True)):
        one, several = (label, None) if isinstance(label, int) else (-1, label)
        yield replace(row_of(n, entry, one, staging, packer), group=entry.group, labels=several)


def row_of(n: int, entry: Entry, label: int, staging: Staging, packer: "Packer | None") -> Row:
    """The row of one video, but for its group and several labels."""
    outcome = staging.outcome(n)
    if outcome is None:
        return Row(entry.id, label, entry.split, "missing", entry.why)
    if outcome.facts is None:
        return Row(entry.id, label, entry.split, "broken", outcome.why, entry.path or "")
    if packer:
        path, offset = packer.places[n]
        place: dict[str, Any] = {"path": path, "offset": offset, "in_shard": True}
    else:
        place = {"path": entry.path or "", "offset": entry.offset, "in_shard": entry.size is not None}
    return Row(entry.id, label, entry.split, "ready", **place, **outcome.facts)


def check_writable(out: Path) -> None:
    """ValueError before any work where `out` cannot be written."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        trial = out / f".trial.{os.getpid()}"
        trial.touch()
        trial.unlink()
    except OSError as error:
        raise ValueError(f"{out}: cannot be written to: {error.strerror or error}") from None
