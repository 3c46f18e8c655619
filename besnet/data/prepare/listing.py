"""What a source promises: the videos it lists, before any file is opened."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from besnet.data.labels import ClassFinder, official_classes

VIDEO_ENDINGS = {
    ".mp4", ".avi", ".mkv", ".webm", ".mov", ".mpg", ".mpeg", ".m4v", ".flv", ".wmv", ".3gp", ".ts", ".ogv", ".asf",
}  # fmt: skip
SPLIT_NAMES = {
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validate": "val", "validation": "val",
    "test": "test", "testing": "test",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Entry:
    """One video of a source."""

    id: str
    label: str | None
    split: str
    path: str | None  # relative to the root; None where no file was found
    where: str  # file and line, or folder, that lists it: for messages
    why: str = ""  # why there is no file
    start_sec: float | None = None  # the part of a longer video that is meant
    end_sec: float | None = None
    offset: int = 0  # where the video begins in a tar file, if `size` is given
    size: int | None = None


@dataclass(frozen=True)
class Listing:
    """All videos of a source."""

    name: str
    root: Path
    entries: list[Entry]
    classes: list[str] | None = None  # in the source's own order, where it has one
    numbered: bool = False  # labels are numbers that count into the class list


def split_named(name: str, where: str) -> str:
    """train, val or test for any of their usual spellings."""
    try:
        return SPLIT_NAMES[name.strip().lower()]
    except KeyError:
        raise ValueError(f"{where}: split {name!r}: it is train, val or test") from None


def check_ids(entries: Iterable[Entry]) -> None:
    """ValueError naming both places where an id is listed twice."""
    seen: dict[str, str] = {}
    for entry in entries:
        if entry.id in seen:
            raise ValueError(f"{entry.where}: {entry.id!r} is listed twice, first in {seen[entry.id]}")
        seen[entry.id] = entry.where


def number_labels(listing: Listing, classes: Sequence[str] | None) -> tuple[list[str], list[int]]:
    """(class names, the label number of each entry; -1 without a label).

    Names come from `classes`, else from the source, else from an official list with exactly these labels, else they
    are the training labels in alphabetical order. ValueError for a label that is not among them.
    """
    entries = listing.entries
    names = list(classes or listing.classes or [])
    if not names:
        training = {e.label for e in entries if e.split == "train" and e.label is not None}
        found = training or {e.label for e in entries if e.label is not None}
        names = official_classes(found) or sorted(found)
    if not names:
        raise ValueError(f"{listing.name}: no video has a label; give the class list with --classes")
    if listing.numbered:
        return names, [_numbered(e, len(names)) for e in entries]
    finder = ClassFinder(names)
    return names, [-1 if e.label is None else finder(e.label, e.where) for e in entries]


def _numbered(entry: Entry, count: int) -> int:
    number = -1 if entry.label is None else int(entry.label)
    if number >= count:
        raise ValueError(f"{entry.where}: label {number}, but there are {count} classes")
    return number


def videos_below(folder: Path) -> Iterator[str]:
    """Paths of the files below a folder that are named like videos, relative to it, in sorted order.

    Links to folders are followed, but no folder is visited twice.
    """
    seen = set()
    for at, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(at)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in VIDEO_ENDINGS:
                yield os.path.relpath(os.path.join(at, name), folder)


def hold_out(entries: list[Entry], columns: list[dict[str, str]], rule: str, split: str) -> list[Entry]:
    """Move the rows of a table whose column has one of the values to another split.

    `rule` is `column=value,value,...`. ValueError naming a column or value that the table does not have.
    """
    column, equals, listed = rule.partition("=")
    values = {value.strip() for value in listed.split(",")}
    if not equals or not listed:
        raise ValueError(f"--{split} {rule}: write it as column=value,value,...")
    there = {row[column] for row in columns if column in row}
    if not there:
        known = ", ".join(columns[0]) if columns else "none"
        raise ValueError(f"--{split} {rule}: the source has no column {column!r}; there are: {known}")
    if values - there:
        raise ValueError(f"--{split} {rule}: no row with {column} {sorted(values - there)[0]!r}")
    return [
        replace(entry, split=split) if row[column] in values else entry
        for entry, row in zip(entries, columns, strict=True)
    ]
