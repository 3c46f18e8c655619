"""Kinetics-400, -600 and -700: annotation files in CSV or JSON, and a folder with what could be downloaded.

Files are found under every name in use: `<id>_<start:06d>_<end:06d>.<extension>` (official crawler and CVDF), or
`<id>.<extension>`, at any depth: flat, in class folders, in split folders.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from besnet.data.labels import canonical
from besnet.data.paths import read_json
from besnet.data.prepare.files import Files
from besnet.data.prepare.listing import Entry, Listing, split_in, split_named
from besnet.data.prepare.sources.matching import by_stem, choose, settle
from besnet.data.prepare.sources.rows import columns, need, read_rows

COLUMNS = ("youtube_id", "time_start", "time_end")


class Note(NamedTuple):
    """One row of an annotation file."""

    where: str
    youtube_id: str
    start: float
    end: float
    label: str | None
    split: str


def annotations_in(folder: Path) -> list[Path]:
    """The annotation tables of a folder: CVDF calls some of them *.txt. A hold-out set beside others is left out."""
    found = [file for file in sorted([*folder.glob("*.csv"), *folder.glob("*.txt")]) if "youtube_id" in columns(file)]
    found = [file for file in found if file.suffix == ".csv" or file.with_suffix(".csv") not in found]
    aside = [file for file in found if "holdout" in file.stem.lower()]
    if 0 < len(aside) < len(found):
        print(f"left out: {', '.join(file.name for file in aside)}: a hold-out set is read only if it is the source")
        found = [file for file in found if file not in aside]
    return found


def list_kinetics(annotations: list[Path], files: Files, name: str) -> Listing:
    """Videos of one or more annotation files, each with the file that was found for it."""
    notes = [note for file in annotations for note in (_json if file.suffix.lower() == ".json" else _table)(file)]
    if not notes:
        raise ValueError(f"{', '.join(map(str, annotations))}: no rows")
    found = by_stem(files)
    classes = {canonical(label) for label in {note.label for note in notes} if label is not None}
    entries = []
    for note in notes:
        clip = f"{note.youtube_id}_{round(note.start):06d}_{round(note.end):06d}"
        path, why = choose(found.get(clip, []), note.label, classes)
        whole = path is None
        if whole:
            path, why_not = choose(found.get(note.youtube_id, []), note.label, classes)
            why = "" if path else why or why_not or f"no file {clip}.* or {note.youtube_id}.*"
        # A file named after the clip holds nothing else; one named after the whole video may be either.
        start, end = (note.start, note.end) if path and whole else (None, None)
        entries.append(Entry(clip, note.label, note.split, path, note.where, why, start, end))
    return Listing(name, files.place.root, settle(entries))


def _table(file: Path) -> Iterator[Note]:
    names, rows = read_rows(file)
    for column in COLUMNS:
        need(names, column, file)
    for line, row in rows:
        id, start, end = (row[column] for column in COLUMNS)
        yield _note(f"{file}:{line}", file, id, start, end, row.get("label", ""), row.get("split", ""))


def _json(file: Path) -> Iterator[Note]:
    """{id: {"annotations": {"label", "segment": [start, end]}, "subset"}}, as they are published, too."""
    items = read_json(file)
    if not isinstance(items, dict):
        raise ValueError(f"{file}: not Kinetics' JSON: no object of video ids")
    for id, item in items.items():
        where = f"{file}: {id[:50]!r}"
        try:
            about = item["annotations"]
            start, end = about["segment"]
            label, split = about.get("label") or "", item.get("subset") or ""
        except (KeyError, TypeError, ValueError, AttributeError):
            raise ValueError(f"{where}: not Kinetics' JSON: no annotations with a segment [start, end]") from None
        yield _note(where, file, id, start, end, label, split)


def _note(where: str, file: Path, id: str, start: Any, end: Any, label: Any, split: Any) -> Note:
    try:
        start, end = float(start), float(end)
    except (ValueError, TypeError, OverflowError):
        raise ValueError(f"{where}: time_start or time_end is not a number") from None
    if not id.strip() or not 0 <= start < end or math.isinf(end):
        raise ValueError(f"{where}: no youtube_id, or time_start is not before time_end")
    if not isinstance(label, str) or not isinstance(split, str):
        raise ValueError(f"{where}: label and split are not text")
    named = split_named(split, where) if split else split_in(file.stem)
    if named is None:
        raise ValueError(f"{where}: no split, and no train, val or test in the file's name")
    return Note(where, id.strip(), start, end, label.strip() or None, named)
