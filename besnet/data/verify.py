"""`besnet verify`: are the prepared videos still what the manifest says?"""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from besnet.data.cache import fetch
from besnet.data.manifest import COLUMNS, Manifest, Shard
from besnet.data.manifest_writing import summarise
from besnet.data.places import inside
from besnet.data.prepare.examine import Job
from besnet.data.prepare.pool import run_jobs
from besnet.data.shards import describe

SHOWN = 10


def verify(
    data: Path, decode: float = 0.0, sizes_only: bool = False, workers: int | None = None, deadline_sec: float = 300.0
) -> int:
    """Check shards, or videos read in place, against the manifest; before a job, or after copying.

    The manifest itself: its labels, splits, states and hashes are those of the passport, its columns those of its rows.
    Shards: each is there, with its size, hash and number of videos. Videos in place: each is there with its size.
    Prints what is wrong. Leaves with 0 if nothing is, else with 1.

    Args:
        data: Folder written by `besnet prepare`.
        decode: Share of the ready videos to decode completely as well, 0 to 1; 1 decodes all.
        sizes_only: Leave out the hashes of shards: seconds for any data set, but altered bytes stay unseen.
        workers: Threads that hash, processes that decode; by default one a processor core.
        deadline_sec: Seconds after which a video that is decoded counts as broken.
    """
    if not 0 <= decode <= 1:
        raise ValueError(f"--decode {decode}: a share from 0 to 1")
    manifest = Manifest.load(data)
    count = workers or os.cpu_count() or 1
    wrong = [*wrong_rows(manifest), *wrong_bytes(manifest, sizes_only, count)]
    checked = 0
    if not wrong and decode:
        ready = np.flatnonzero(manifest.columns["state"] == 0)
        # The same share of the same data is always the same videos.
        chosen = np.sort(np.random.default_rng(0).permutation(ready)[: int(np.ceil(decode * len(ready)))])
        checked = len(chosen)
        wrong += decoding_failures(manifest, chosen, count, deadline_sec)
    for line in wrong[:SHOWN]:
        print(line)
    if len(wrong) > SHOWN:
        print(f"and {len(wrong) - SHOWN} more")
    what = f"{len(manifest.about.shards)} shards" if manifest.about.shards else "videos in place"
    decoded = f", {checked} videos decoded" if checked else ""
    outcome = f"{len(wrong)} wrong" if wrong else "all as prepared"
    print(f"{manifest.name}: {len(manifest)} rows, {what}{decoded}: {outcome}")
    return 1 if wrong else 0


def wrong_rows(manifest: Manifest) -> Iterator[str]:
    """One line where the manifest's own files were changed."""
    try:
        columns = np.array(summarise(manifest.folder).columns, dtype=COLUMNS)
    except (OSError, ValueError) as error:
        yield str(error)
        return
    if not np.array_equal(manifest.columns, columns):
        yield f"{manifest.folder / 'manifest.npy'}: not the columns of the rows in manifest.jsonl: prepare it again"


def wrong_bytes(manifest: Manifest, sizes_only: bool, workers: int) -> Iterator[str]:
    """What differs from the manifest, one line each."""

    def shard_fault(shard: Shard) -> str:
        try:
            path = inside(manifest.root, shard.path, shard.path)
            path = str(fetch(path, shard.size, shard.hash)) if "://" in path else path
            size = os.path.getsize(path)
            if size != shard.size:
                return f"{path}: {size} bytes, not {shard.size}"
            if sizes_only:
                return ""
            found = describe(Path(path), Path(path).parent)
            if found.hash != shard.hash:
                return f"{path}: its bytes have changed (hash {found.hash}, not {shard.hash})"
            return "" if found.count == shard.count else f"{path}: {found.count} videos, not {shard.count}"
        except (OSError, ValueError) as error:
            return str(error)

    with ThreadPoolExecutor(workers) as pool:
        yield from filter(None, pool.map(shard_fault, manifest.about.shards))
    if manifest.about.shards:
        return
    for row in np.flatnonzero(manifest.columns["state"] == 0).tolist():
        facts = manifest[row]
        try:
            size = os.path.getsize(inside(manifest.root, facts.path, facts.id))
            if (size < facts.offset + facts.size) if facts.in_shard else (size != facts.size):
                yield f"{facts.id}: {facts.path} has {size} bytes, not {facts.offset + facts.size}"
        except (OSError, ValueError) as error:
            yield f"{facts.id}: {error}"


def decoding_failures(manifest: Manifest, rows: np.ndarray, workers: int, deadline_sec: float) -> Iterator[str]:
    """Rows that do not decode to the frames of the manifest, or whose bytes have another hash, one line each."""
    jobs = []
    for row in rows.tolist():
        facts = manifest[row]
        size = facts.size if facts.in_shard else None
        jobs.append(Job(row, manifest.local(facts), offset=facts.offset, size=size))
    for outcome in run_jobs(jobs, workers, deadline_sec):
        facts = manifest[outcome.number]
        if outcome.facts is None:
            yield f"{facts.id}: {outcome.why}"
        elif outcome.facts["hash"] != facts.hash:
            yield f"{facts.id}: its bytes have changed (hash {outcome.facts['hash']}, not {facts.hash})"
        elif outcome.facts["frames"] != facts.frames:
            yield f"{facts.id}: {outcome.facts['frames']} frames, not {facts.frames}"
