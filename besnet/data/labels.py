"""Class names: the official lists in their canonical order, and finding the class that a written label means."""

import difflib
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

from besnet.data.paths import read_text

LISTS = Path(__file__).resolve().parents[2] / "data"  # data/<data set>/classes.txt


def canonical(label: str) -> str:
    """What remains of a label without what copies of a list differ in: capitals, quotes, underscores, spaces, and
    whether an accent is a mark of its own."""
    plain = unicodedata.normalize("NFC", label.casefold())
    kept = (" " if mark in "_ \t" else "" if mark in "\"'`´’“”" else mark for mark in plain)
    return " ".join("".join(kept).split())


def known_lists() -> dict[str, list[str]]:
    """Class lists that come with the project, by data set."""
    return {path.parent.name: read_classes(path) for path in sorted(LISTS.glob("*/classes.txt"))}


def read_classes(path: Path) -> list[str]:
    """Class names of a text file, one a line."""
    names = [line.strip() for line in read_text(path).splitlines() if line.strip()]
    if len({canonical(name) for name in names}) != len(names):
        raise ValueError(f"{path}: a class is listed twice")
    return names


def classes_named(which: str) -> list[str]:
    """The list of a data set that the project knows, or of a text file."""
    lists = known_lists()
    if which in lists:
        return lists[which]
    if not Path(which).is_file():
        raise ValueError(f"--classes {which}: neither a text file nor one of {', '.join(lists)}")
    return read_classes(Path(which))


def official_classes(labels: Iterable[str]) -> list[str] | None:
    """The official list whose classes are exactly the labels found, in its own order; None where there is none."""
    found = {canonical(label) for label in labels}
    for names in known_lists().values():
        if {canonical(name) for name in names} == found:
            return names
    return None


class ClassFinder:
    """Finds the number of the class that a label means."""

    def __init__(self, classes: Sequence[str]) -> None:
        self.classes = list(classes)
        self._number = {canonical(name): i for i, name in enumerate(classes)}

    def __call__(self, label: str, where: str) -> int:
        """ValueError naming the label, `where` it was read and the nearest class, where there is no such class."""
        try:
            return self._number[canonical(label)]
        except KeyError:
            near = difflib.get_close_matches(canonical(label), self._number, 1)
            hint = f"; did you mean {self.classes[self._number[near[0]]]!r}?" if near else ""
            raise ValueError(f"{where}: label {label!r} is none of the {len(self.classes)} classes{hint}") from None
