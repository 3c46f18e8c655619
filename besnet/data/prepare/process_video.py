"""What is done to each video once: read its facts, decode every frame, hash its bytes, and encode or copy it."""

import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from besnet.data.looks import Looks, See
from besnet.data.paths import hash_file, read_range
from besnet.data.prepare.encode import encode
from besnet.data.row import MAX_FILE_BYTES, hash_bytes
from besnet.video.container import VideoError, check_total
from besnet.video.durations import duration_sec, frame_period_sec
from besnet.video.probe import facts_of
from besnet.video.pyav_reader import PyAVReader, ToRGB

ALONE = 8  # frames that are also decoded on their own
KEY_FRAMES_SEC = 10  # a piece cut at key frames is longer than requested by less than this

OF_THE_MACHINE = "of_the_machine"  # key of a reply that is no Outcome

Mode = Literal["index", "copy", "encode"]


@dataclass(frozen=True, slots=True)
class Job:
    """One video to process."""

    number: int
    path: str  # full
    start_sec: float | None = None  # the part to keep, if the file is longer
    end_sec: float | None = None
    offset: int = 0  # where the video begins in the file, if `size` is given
    size: int | None = None
    mode: Mode = "index"
    short_side: int = 0
    to: str = ""  # file that the worker writes the encoded video to
    before: dict[str, Any] | None = None  # what an earlier preparation found, see reuse.py
    shared: bool = False  # other jobs mean other parts of the file
    exact: bool = False  # the part is cut to the frame, clipped to the file
    at: str = ""  # address of the place in object storage that the path begins with
    listed: tuple[int, str] = (0, "")  # bytes and ETag of the whole file there


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a job: facts for the manifest's row, or why there are none."""

    number: int
    why: str = ""
    facts: dict[str, Any] | None = None
    extra: dict[str, Any] | None = None  # facts that only the shard's JSON member keeps
    reused: bool = False  # taken over from an earlier preparation


def process_video(job: Job) -> Outcome:
    """Facts of a video that decodes completely; with mode `encode` its training version is written too.

    VideoError where it does not decode.
    """
    path = Path(job.path)
    inside = job.size is not None
    source = read_range(job.path, job.offset, job.size or 0) if inside else path
    with PyAVReader(source, path.name) as reader:
        first, last = part(job, reader)
        left_out = (
            f"{reader.dropped} pictures at the start left out: they need others from before the file begins"
            if reader.dropped
            else clipped(job, reader)
        )
        check_total(last + 1 - first, reader.coded_size, reader.name)
        looks = Looks(reader.times_sec, reader.orientation, first, last)
        if job.mode == "encode":
            made = encode(reader, first, last, job.short_side, looks.see)
        else:
            if (first, last) != (0, len(reader) - 1):
                raise VideoError(
                    f"{path.name}: lasts {reader.times_sec[-1]:.0f} s: the whole video, of which {job.start_sec:g} s "
                    f"to {job.end_sec:g} s are meant; these are cut only where videos are re-encoded"
                )
            decode_all(reader, looks.see)
            made = None
    digest, size = (hash_bytes(source), len(source)) if isinstance(source, bytes) else hash_file(path, MAX_FILE_BYTES)
    extra = {}
    if made is None:
        with PyAVReader(source, path.name) as reader:
            facts = facts_of(reader)
    else:
        with PyAVReader(made.data, path.name) as reader:
            facts = facts_of(reader)
        write_piece(job.to, made.data)
        extra = {"crf": made.crf, "psnr_db": made.psnr_db, "ssim": made.ssim}
    row = {
        "size": size if made is None else len(made.data),
        "frames": facts.frames,
        "fps": round(facts.fps, 4),
        "duration_sec": round(facts.duration_sec, 4),
        "width": facts.width,
        "height": facts.height,
        "hash": digest if made is None else hash_bytes(made.data),
        "source_hash": digest,
        "looks": looks.text,
    }
    if left_out:
        row["why"] = left_out
    return Outcome(job.number, facts=row, extra=extra)


def clipped(job: Job, reader: PyAVReader) -> str:
    """What of a span lies beyond the end of its file, in words; "" where it all is there."""
    length = duration_sec(reader.times_sec)
    # a table may round the end of the file up to a frame further
    if not job.exact or job.end_sec is None or job.end_sec <= length + frame_period_sec(reader.times_sec):
        return ""
    return f"its end, {job.end_sec:g} s, is clipped to that of the file, {length:.2f} s"


def write_piece(path: str, data: bytes) -> None:
    """Write an encoded video, whole or not at all: another process may write the same one."""
    unfinished = Path(f"{path}.{uuid.uuid4().hex}")
    unfinished.write_bytes(data)
    unfinished.replace(path)


def keep_copy(job: Job) -> None:
    """Keep the bytes of a copy that goes when the job is done: with mode `copy` its shard is written from them."""
    if job.at and job.mode == "copy":
        unfinished = Path(f"{job.to}.{uuid.uuid4().hex}")
        shutil.copyfile(job.path, unfinished)
        unfinished.replace(job.to)


def decode_all(reader: PyAVReader, see: See) -> None:
    """Decode every frame, and some that follow key frames on their own too, as training does: they must be equal.

    see: gets the number of each frame, and the frame.
    """
    numbers = reader.after_key_frames()
    chosen = numbers[np.unique(np.linspace(0, len(numbers) - 1, ALONE).astype(int))] if len(numbers) else numbers
    to_rgb = ToRGB(reader.name, reader.orientation)
    kept = {}
    for number, frame in reader.frames(0, len(reader) - 1):
        see(number, frame)
        if number in chosen:
            kept[number] = hash_bytes(to_rgb(frame).tobytes())
    for number, digest in kept.items():
        if hash_bytes(reader.read([number]).tobytes()) != digest:
            raise VideoError(f"{reader.name}: frame {number} is another one when it is not decoded from the beginning")


def part(job: Job, reader: PyAVReader) -> tuple[int, int]:
    """(first, last) number of the frames to keep.

    Files named after the video alone come as the whole video or as the part already cut out; cut pieces last as long as
    the part, but for a key frame's distance. VideoError where less than half of the part is there.
    """
    times = reader.times_sec
    whole = 0, len(times) - 1
    if job.start_sec is None or job.end_sec is None:
        return whole
    length, wanted = times[-1], job.end_sec - job.start_sec
    if not job.exact and (length <= wanted + 1.5 or (length < job.end_sec - 1 and length <= wanted + KEY_FRAMES_SEC)):
        if job.shared:
            raise VideoError(f"{reader.name}: lasts {length:.0f} s, an already cut piece, but several rows name it")
        return whole
    if not job.exact and min(job.end_sec, length) - job.start_sec < wanted / 2:
        raise VideoError(
            f"{reader.name}: lasts {length:.0f} s: less than half of {job.start_sec:g} s to {job.end_sec:g} s is there"
        )
    chosen = np.flatnonzero((times >= job.start_sec - 1e-6) & (times < job.end_sec - 1e-6))
    if not len(chosen):
        lasts = f"lasts {duration_sec(times):.2f} s: " if job.exact else ""
        raise VideoError(f"{reader.name}: {lasts}no frame between {job.start_sec:g} s and {job.end_sec:g} s")
    return int(chosen[0]), int(chosen[-1])
