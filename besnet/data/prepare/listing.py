"""What a source promises: the videos it lists, before any file is opened."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from besnet.data.labels import ClassFinder, canonical, official_classes

SPLIT_NAMES = {
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validate": "val", "validation": "val",
    "test": "test", "testing": "test",
}  # fmt: skip


MAX_CLASSES = 100_000


@dataclass(frozen=True, slots=True)
class Entry:
    """One video of a source."""

    id: str
    label: str | None
    split: str
    path: str | None  # relative to the root; None where no file was found
    where: str  # file and line, or folder, that lists it: for messages
    why: str = ""  # why there is no file
    start_sec: float | None = None  # the part of a longer video
    end_sec: float | None = None
    offset: int = 0  # where the video begins in a tar file, if `size` is given
    size: int | None = None
    shared: bool = False  # other entries mean other parts of the same file
    exact: bool = False  # the part is cut to the frame, clipped to the file
    group: str = ""  # videos of one film, person or recording, where the source says so
    labels: tuple[str, ...] | None = None  # of a source with several labels per video: all of them; `label` is None

    @property
    def all_labels(self) -> tuple[str, ...]:
        """Its labels, however many it may have."""
        if self.labels is not None:
            return tuple(self.labels)
        return () if self.label is None else (self.label,)


@dataclass(frozen=True)
class Listing:
    """All videos of a source.

    root: the full path of a folder, or an address. objects: {path: (bytes, ETag)} of the files in object storage.
    inventory: a hash of all objects that were looked at; "" where some of it was read here.
    """

    name: str
    root: str
    entries: list[Entry]
    classes: list[str] | None = None  # in the source's own order, where it has one
    counts: bool = False  # labels that are all numbers count into a class list, from 0
    objects: dict[str, tuple[int, str]] = field(default_factory=dict)
    inventory: str = ""

    @property
    def multi_label(self) -> bool:
        """Whether a video has a set of labels."""
        return any(entry.labels is not None for entry in self.entries)


def split_named(name: str, where: str) -> str:
    """train, val or test for any of their usual spellings."""
    try:
        return SPLIT_NAMES[name.strip().lower()]
    except KeyError:
        raise ValueError(f"{where}: split {name!r}: it is train, val or test") from None


def split_in(path: str) -> str | None:
    """The split in a word of a file's name or path, as in `kinetics_400_train`; None without one."""
    return next((SPLIT_NAMES[word] for word in re.split(r"[-_./ ]", path.lower()) if word in SPLIT_NAMES), None)


def check_ids(entries: Iterable[Entry]) -> None:
    """ValueError naming both places where an id is listed twice."""
    known: dict[str, str] = {}
    for entry in entries:
        if entry.id in known:
            raise ValueError(f"{entry.where}: {entry.id!r} is listed twice, first in {known[entry.id]}")
        known[entry.id] = entry.where


def tell_same_but_case(entries: Iterable[Entry]) -> None:
    """Print which ids differ only in case: they are one file where a file system does not tell them apart."""
    spellings: dict[str, list[str]] = {}
    for entry in entries:
        spellings.setdefault(entry.id.casefold(), []).append(entry.id)
    same = [" and ".join(map(repr, several)) for several in spellings.values() if len(several) > 1]
    if same:
        more = f" and {len(same) - 5} more" if len(same) > 5 else ""
        print(f"names that differ only in case: {', '.join(same[:5])}{more}")


# The class number of a video, -1 without a label; or those of all its labels, where a source has several a video.
Numbers = int | tuple[int, ...]


def number_labels(listing: Listing, classes: Sequence[str] | None) -> tuple[list[str], list[Numbers]]:
    """(class names, the label number of each entry; -1 without a label, all numbers where there are several).

    Names come from `classes`, else from the source, else from an official list with exactly these labels, else they
    are the training labels in alphabetical order (numbers in theirs), each in one spelling. Labels that are all numbers
    count into `classes`, unless these are the classes' names. ValueError for a label that is not among them.
    """
    entries = listing.entries
    names = list(classes or listing.classes or [])
    labels = {label for e in entries for label in e.all_labels}
    numbers = bool(labels) and all(label.isdecimal() for label in labels)
    if numbers and (classes or listing.counts) and not labels <= set(names):
        most = max(labels, key=lambda label: (len(label.lstrip("0")), label.lstrip("0")))
        first = next(e for e in entries if most in e.all_labels)
        if len(most) > 9 or int(most) >= MAX_CLASSES:
            raise ValueError(f"{first.where}: label {most[:20]}: above {MAX_CLASSES:,} it is no class")
        names = names or [str(n) for n in range(int(most) + 1)]
        if int(most) >= len(names):
            raise ValueError(f"{first.where}: label {int(most)}, but there are {len(names)} classes, counted from 0")
        return names, [numbered(e, [int(label) for label in e.all_labels]) for e in entries]
    if not names:
        found = {label for e in entries if e.split == "train" for label in e.all_labels} or labels
        one_spelling = {canonical(label): label for label in sorted(found, reverse=True)}
        order = sorted(one_spelling.values())
        if all(label.isdecimal() for label in order):
            order.sort(key=lambda label: (len(label.lstrip("0")), label.lstrip("0")))
        names = official_classes(found) or order
    if not names:
        raise ValueError(f"{listing.name}: no video has a label; give the class list with --classes")
    if len({canonical(name) for name in names}) != len(names):
        raise ValueError(f"{listing.name}: the source's class list has a class twice")
    _tell_merged(labels)
    finder = ClassFinder(names)
    return names, [numbered(e, [finder(label, e.where) for label in e.all_labels]) for e in entries]


def numbered(entry: Entry, numbers: Sequence[int]) -> Numbers:
    """The numbers of an entry's labels as the manifest has them."""
    if entry.labels is not None:
        return tuple(sorted(set(numbers)))
    return numbers[0] if numbers else -1


def _tell_merged(labels: set[str]) -> None:
    """Print which labels with different spellings count as one class."""
    spellings: dict[str, list[str]] = {}
    for label in sorted(labels):
        spellings.setdefault(canonical(label), []).append(label)
    merged = [" = ".join(map(repr, several)) for several in spellings.values() if len(several) > 1]
    if merged:
        more = f" and {len(merged) - 5} more" if len(merged) > 5 else ""
        print(f"different spellings of one class: {', '.join(merged[:5])}{more}")
