"""`besnet prepare`: from published videos to a folder that training reads."""

from pathlib import Path
from typing import Any

from besnet.data.manifest import Manifest
from besnet.data.prepare.parts import Part
from besnet.data.prepare.request import Request
from besnet.data.prepare.work import do_all, do_part


def prepare(
    source: Path,
    out: Path,
    videos: Path | None = None,
    name: str | None = None,
    classes: str | None = None,
    val: str | None = None,
    test: str | None = None,
    group: str | None = None,
    multi_label: bool | None = None,
    background: str | None = None,
    split_within_files: bool = False,
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
        source: a table (CSV with label,path and perhaps start,end,split,group; or a folder with one), Kinetics
            annotations (CSV with label, youtube_id, time_start, time_end; or a folder of them; or their JSON), the
            folder with UCF101's or HMDB51's official split files, the folder with Something-Something's JSON files, a
            folder of WebDataset tars, or a folder of class folders with or without train, val, test (whose own videos
            have no label).
        out: folder to write to, or an address in object storage (s3://bucket/name, gs://bucket/name) that the shards
            are uploaded to.
        videos: folder with the videos of a table or of annotations, or its address; by default the folder of the table.
        name: name of the data in results; by default the source's name.
        classes: class list that numbers the labels: a known data set such as kinetics400, or a text file with one class
            per line. By default the official list with exactly these labels, else the sorted training labels.
        val: rows of a table for validation, as column=value,value,... with any column of the table.
        test: rows of a table for testing, in the same way; for example person=daria,denis,eli.
        group: column of a table that names the film, the person or the recording of each video, whose videos are alike;
            by default `group` where there is such a column.
        multi_label: whether videos of a table have several labels: `a;b` in the column label, or several rows of one
            file; an empty label is then none of the classes. By default where labels hold a `;` whose parts also come
            in other combinations; false takes labels with a `;` for names of classes.
        background: where a table lists spans (start, end): the class of the parts of its files that no span covers.
        split_within_files: take spans of one file into several splits, although they look alike.
        official_split: the official split of UCF101 or HMDB51: 1, 2 or 3.
        index_only: write no shards; read the videos in place.
        copy: copy the original files into the shards instead of re-encoding them for fast decoding.
        short_side: short side of the re-encoded videos, pixels; videos are never scaled up.
        videos_per_shard: videos in each shard (a tar file).
        workers: processes that decode and encode; by default one per core.
        timeout_sec: seconds after which a video counts as broken.
    """
    return do_all(
        Request(
            source, out, videos, name, classes, val, test, group, multi_label, background, split_within_files,
            official_split, index_only, copy, short_side, videos_per_shard, workers, timeout_sec,
        )
    )  # fmt: skip


def prepare_part(part: str, **flags: Any) -> None:
    """Do one part of a preparation, beside others on other machines; `prepare` with the same arguments ends it.

    part: such as 3/64, counted from 0; auto/64 takes the number from SLURM_ARRAY_TASK_ID or JOB_COMPLETION_INDEX.
    flags: the arguments of `prepare`.
    """
    do_part(Request(**flags), Part.read(part))
