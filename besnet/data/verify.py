"""The verb `verify`: do the prepared videos still match the manifest?"""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from besnet.data.cache import discard, pinned
from besnet.data.coverage import same_pictures
from besnet.data.dataset import Shard
from besnet.data.manifest import Manifest, Row
from besnet.data.manifest_writing import load_checked
from besnet.data.paths import hash_file, inside, read_range
from besnet.data.prepare.pool import run_jobs
from besnet.data.prepare.process_video import Job
from besnet.data.row import hash_bytes
from besnet.data.shards import describe

SHOWN = 10


def verify(
    data: Path, decode: float = 0.0, sizes_only: bool = False, workers: int | None = None, timeout_sec: float = 300.0
) -> int:
    """Compare shards, or videos read in place, with the manifest; before a job, or after copying.

    The manifest itself: its labels, splits, states and hashes are those of the passport, its columns those of its rows.
    Shards: each is there, with its size, hash and number of videos. Videos: each is at the path in its row, with size
    and hash.
    Prints every fault, and videos of two splits that show the same pictures, which is no fault. The exit code is 0
    without a fault, else 1.

    Args:
        data: Folder written by `besnet prepare`.
        decode: Share of the ready videos to decode completely as well, 0 to 1; 1 decodes all.
        sizes_only: Leave out the hashes of shards and videos: seconds for any data set, but altered bytes stay unseen.
        workers: Threads that hash, processes that decode; by default one a processor core.
        timeout_sec: Seconds after which a video that is decoded counts as broken.
    """
    if not 0 <= decode <= 1:
        raise ValueError(f"--decode {decode}: give a share from 0 to 1")
    manifest = Manifest.load(data)
    if decode and manifest.maps is not None:
        raise ValueError(f"--decode: {data} keeps maps, and no videos to decode: leave it out")
    count = workers or os.cpu_count() or 1
    wrong = list(wrong_rows(manifest))
    wrong += wrong_bytes(manifest, sizes_only, not wrong, count)
    checked = 0
    if not wrong and decode:
        ready = np.flatnonzero(manifest.columns["state"] == 0)
        # The same share of the same data is always the same videos.
        chosen = np.sort(np.random.default_rng(0).permutation(ready)[: int(np.ceil(decode * len(ready)))])
        checked = len(chosen)
        wrong += decoding_failures(manifest, chosen, count, timeout_sec)
    for (first, second), pairs in ({} if wrong else same_pictures(manifest)).items():
        for one, other in pairs[:SHOWN]:
            print(f"the same pictures in {first} and {second}, encoded anew: {one} and {other}")
        if len(pairs) > SHOWN:
            print(f"and {len(pairs) - SHOWN} more, see coverage.html")
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
        load_checked(manifest.folder)
    except (OSError, ValueError) as error:
        yield str(error)


def wrong_bytes(manifest: Manifest, sizes_only: bool, rows: bool, workers: int) -> Iterator[str]:
    """What differs from the manifest, one line each: shards, then `rows`, each at its place with its hash."""
    faulty: set[str] = set()

    def shard_fault(shard: Shard) -> str:
        try:
            path = inside(manifest.root, shard.path, shard.path)
            if "://" not in path:
                return wrong_shard(Path(path), shard, sizes_only)
            with pinned(path, shard.size, shard.hash) as copy:
                wrong = wrong_shard(copy, shard, sizes_only)
                if wrong:
                    discard(copy)
            if not wrong:
                return ""
            with pinned(path, shard.size, shard.hash) as copy:  # the copy was damaged: fetch a new one
                return wrong_shard(copy, shard, sizes_only)
        except (OSError, ValueError) as error:
            return str(error)

    def row_fault(row: int) -> str:
        try:
            facts = manifest[row]
            return "" if facts.path in faulty else wrong_place(manifest, facts, sizes_only)
        except (OSError, ValueError) as error:
            return str(error)

    with ThreadPoolExecutor(workers) as pool:
        for shard, fault in zip(manifest.about.shards, pool.map(shard_fault, manifest.about.shards), strict=True):
            if fault:
                faulty.add(shard.path)
                yield fault
        if rows:
            ready = np.flatnonzero(manifest.columns["state"] == 0).tolist()
            yield from filter(None, pool.map(row_fault, ready))


def wrong_shard(path: Path, shard: Shard, sizes_only: bool) -> str:
    """What is wrong with a shard's file; "" where it is the one of the manifest."""
    size = os.path.getsize(path)
    if size != shard.size:
        return f"{path}: {size} bytes, not {shard.size}"
    if sizes_only:
        return ""
    try:
        found = describe(path, path.parent)
    except ValueError as error:
        return str(error)
    if found.hash != shard.hash:
        return f"{path}: its bytes have changed (hash {found.hash}, not {shard.hash})"
    return "" if found.count == shard.count else f"{path}: {found.count} videos, not {shard.count}"


def wrong_place(manifest: Manifest, facts: Row, sizes_only: bool) -> str:
    """What is wrong with the place that a ready row names; "" where its bytes lie there."""
    shards = {shard.path: shard.size for shard in manifest.about.shards}
    if shards and facts.path not in shards:
        return f"{facts.id}: {facts.path} is none of the shards in dataset.json"
    path = inside(manifest.root, facts.path, facts.id)
    size = shards[facts.path] if shards else os.path.getsize(path)
    if (size < facts.offset + facts.size) if facts.in_shard else (size != facts.size):
        return f"{facts.id}: {facts.path} has {size} bytes, not {facts.offset + facts.size}"
    if sizes_only or not facts.hash:
        return ""
    with manifest.held(facts) as here:
        found = hash_bytes(read_range(here, facts.offset, facts.size)) if facts.in_shard else hash_file(Path(here))[0]
    return "" if found == facts.hash else f"{facts.id}: its bytes have changed (hash {found}, not {facts.hash})"


def decoding_failures(manifest: Manifest, rows: np.ndarray, workers: int, timeout_sec: float) -> Iterator[str]:
    """Rows that do not decode to the frames of the manifest, or whose bytes have another hash, one line each."""
    holding: dict[int, ExitStack] = {}  # of jobs at work: their shards stay where they are

    def jobs() -> Iterator[Job]:
        for row in sorted(rows.tolist(), key=lambda row: (manifest[row].path, row)):
            facts = manifest[row]
            holding[row] = ExitStack()
            path = holding[row].enter_context(manifest.held(facts))
            yield Job(row, path, offset=facts.offset, size=facts.size if facts.in_shard else None)

    for outcome in run_jobs(jobs(), workers, timeout_sec):
        holding.pop(outcome.number).close()
        facts = manifest[outcome.number]
        if outcome.facts is None:
            yield f"{facts.id}: {outcome.why}"
        elif outcome.facts["hash"] != facts.hash:
            yield f"{facts.id}: its bytes have changed (hash {outcome.facts['hash']}, not {facts.hash})"
        elif outcome.facts["frames"] != facts.frames:
            yield f"{facts.id}: {outcome.facts['frames']} frames, not {facts.frames}"
