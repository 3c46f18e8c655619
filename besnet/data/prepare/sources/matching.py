"""Which of the files below a folder a row means, where the row gives only a name."""

from collections import Counter
from collections.abc import Collection
from dataclasses import replace
from functools import cache
from pathlib import PurePosixPath

from besnet.data.labels import canonical
from besnet.data.prepare.files import Files
from besnet.data.prepare.listing import Entry


def by_stem(files: Files) -> dict[str, list[str]]:
    """Videos by their name without extension, in any folder: copies are arranged in several ways."""
    found: dict[str, list[str]] = {}
    for path in files.videos:
        found.setdefault(PurePosixPath(path).stem, []).append(path)
    return found


def choose(paths: list[str], label: str | None, classes: Collection[str]) -> tuple[str | None, str]:
    """(the file of a name in the folder of its class, else one in no class's folder, ""), or (None, why there is none).

    `classes` are canonical names.
    """
    if label is None:
        return (paths[0], "") if paths else (None, "")
    for path in paths:
        if canonical(label) in _folders(path):
            return path, ""
    for path in paths:
        if _folders(path).isdisjoint(classes):
            return path, ""
    return None, f"{paths[0]} is in another class's folder" if paths else ""


def settle(entries: list[Entry]) -> list[Entry]:
    """The entries, where no file serves two of them as a whole: those are missing, and parts of a file are marked."""
    uses = Counter(entry.path for entry in entries if entry.path is not None)
    return [
        entry
        if entry.path is None or uses[entry.path] == 1
        else replace(entry, shared=True)
        if entry.end_sec is not None
        else replace(entry, path=None, why=f"{entry.path} would serve {uses[entry.path]} rows")
        for entry in entries
    ]


@cache
def _names(folder: str) -> frozenset[str]:
    return frozenset(canonical(part) for part in PurePosixPath(folder).parts)


def _folders(path: str) -> frozenset[str]:
    """Canonical names of the folders that a file is in."""
    return _names(path.rpartition("/")[0])
