"""What a source promises: the videos it lists, before any file is opened."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from besnet.data.labels import ClassFinder, canonical, official_classes

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
    shared: bool = False  # other entries mean other parts of the same file


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


def split_in(path: str) -> str | None:
    """The split that a word of a file's name or path says, as in `kinetics_400_train`; None where none does."""
    return next((SPLIT_NAMES[word] for word in re.split(r"[-_./ ]", path.lower()) if word in SPLIT_NAMES), None)


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
    are the training labels in alphabetical order, each in one spelling. ValueError for a label that is not among them.
    """
    entries = listing.entries
    names = list(classes or listing.classes or [])
    if not names:
        training = {e.label for e in entries if e.split == "train" and e.label is not None}
        found = training or {e.label for e in entries if e.label is not None}
        one_spelling = {canonical(label): label for label in sorted(found, reverse=True)}
        names = official_classes(found) or sorted(one_spelling.values())
    if not names:
        raise ValueError(f"{listing.name}: no video has a label; give the class list with --classes")
    if listing.numbered:
        return names, [_numbered(e, len(names)) for e in entries]
    if len({canonical(name) for name in names}) != len(names):
        raise ValueError(f"{listing.name}: the source's class list has a class twice")
    finder = ClassFinder(names)
    return names, [-1 if e.label is None else finder(e.label, e.where) for e in entries]


def _numbered(entry: Entry, count: int) -> int:
    number = -1 if entry.label is None else int(entry.label)
    if number >= count:
        raise ValueError(f"{entry.where}: label {number}, but there are {count} classes")
    return number
