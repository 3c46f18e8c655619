"""What is done to each video once: read its facts, decode every frame, hash its bytes."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from besnet.video.container import MAX_PACKET_BYTES, VideoError
from besnet.video.probe import facts_of
from besnet.video.pyav_reader import PyAVReader

MAX_FILE_BYTES = 4 * MAX_PACKET_BYTES  # sound and padding included


@dataclass(frozen=True)
class Job:
    """One video to examine."""

    number: int
    path: str  # full
    start_sec: float | None = None  # the part that is meant, if the file turns out to be longer
    end_sec: float | None = None


@dataclass(frozen=True)
class Outcome:
    """What became of a job: facts for the manifest's row, or why there are none."""

    number: int
    why: str = ""
    facts: dict[str, Any] | None = None


def examine(job: Job) -> dict[str, Any]:
    """Facts of a video that decodes completely. VideoError where it does not."""
    path = Path(job.path)
    with PyAVReader(path, path.name) as reader:
        decoded = reader.count_decoded()
        if decoded != len(reader):
            raise VideoError(f"{path.name}: {decoded} frames decoded of {len(reader)}")
        facts = facts_of(reader)
    if is_whole(job, facts.duration_sec):
        raise VideoError(
            f"{path.name}: lasts {facts.duration_sec:.0f} s: the whole video, of which {job.start_sec:g} s to "
            f"{job.end_sec:g} s are meant; prepare it without --index_only"
        )
    digest, size = hash_file(path)
    return {
        "size": size,
        "frames": facts.frames,
        "fps": round(facts.fps, 4),
        "duration_sec": round(facts.duration_sec, 4),
        "width": facts.width,
        "height": facts.height,
        "hash": digest,
        "source_hash": digest,
    }


def is_whole(job: Job, duration_sec: float) -> bool:
    """Whether a file is a whole video of which only a part is meant, and not that part already cut out.

    Files named after the video alone come as either; cut pieces last as long as the part, to a key frame's distance.
    """
    if job.start_sec is None or job.end_sec is None:
        return False
    return duration_sec > job.end_sec - job.start_sec + 1.5 and duration_sec > job.end_sec - 1


def hash_file(path: Path) -> tuple[str, int]:
    """(hash as in manifest.hash_bytes, bytes) of a file."""
    digest = hashlib.blake2b(digest_size=16)
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > MAX_FILE_BYTES:
            raise VideoError(f"{path.name}: {size} bytes are above the limit of {MAX_FILE_BYTES}")
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest(), size
