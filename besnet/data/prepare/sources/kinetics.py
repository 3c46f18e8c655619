"""Kinetics-400, -600 and -700: annotation files in CSV, and a folder with what could be downloaded.

Files are found under every name in use: `<id>_<start:06d>_<end:06d>.<ending>` (official crawler and CVDF), or
`<id>.<ending>`, at any depth: flat, in class folders, in split folders.
"""

import os
from pathlib import Path, PurePosixPath

from besnet.data.labels import canonical
from besnet.data.prepare.listing import Entry, Listing, split_named, videos_below
from besnet.data.prepare.sources.table import need, read_rows


def list_kinetics(annotations: list[Path], videos: Path, name: str) -> Listing:
    """Videos of one or more annotation files, each with the file that was found for it."""
    if not videos.is_dir():
        raise ValueError(f"{videos}: no such folder of videos")
    found: dict[str, list[str]] = {}
    for path in videos_below(videos):
        found.setdefault(PurePosixPath(path).stem, []).append(path)
    entries = []
    for file in annotations:
        names, rows = read_rows(file)
        for column in ("youtube_id", "time_start", "time_end"):
            need(names, column, file)
        for line, row in rows:
            where = f"{file}:{line}"
            youtube_id = row["youtube_id"].strip()
            try:
                start, end = float(row["time_start"]), float(row["time_end"])
            except ValueError:
                raise ValueError(f"{where}: time_start or time_end is not a number") from None
            if not youtube_id or not 0 <= start < end:
                raise ValueError(f"{where}: no youtube_id, or time_start is not before time_end")
            label = row.get("label", "").strip() or None
            split = split_named(row["split"] if row.get("split") else file.stem, where)
            clip = f"{youtube_id}_{round(start):06d}_{round(end):06d}"
            file_found = _of_class(found.get(clip) or found.get(youtube_id) or [], label)
            why = "" if file_found else f"no file {clip}.* or {youtube_id}.*"
            # A file named after the clip holds nothing else; one named after the whole video may be either.
            whole = file_found is not None and PurePosixPath(file_found).stem != clip
            entries.append(
                Entry(clip, label, split, file_found, where, why, start if whole else None, end if whole else None)
            )
    if not entries:
        raise ValueError(f"{', '.join(map(str, annotations))}: no rows")
    return Listing(name, videos.resolve(), entries)


def _of_class(paths: list[str], label: str | None) -> str | None:
    """The one of several files of a name that is in the folder of the class, else the first."""
    if not paths:
        return None
    if len(paths) > 1 and label is not None:
        for path in paths:
            if canonical(label) in {canonical(part) for part in path.split(os.sep)[:-1]}:
                return path
    return paths[0]
