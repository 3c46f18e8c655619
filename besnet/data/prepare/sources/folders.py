"""A folder of class folders, with train, val and test above the classes, below them, or not at all."""

import re
from collections.abc import Sequence
from pathlib import PurePosixPath

from besnet.data.prepare.files import Files
from besnet.data.prepare.listing import SPLIT_NAMES, Entry, Listing


def list_folders(files: Files) -> Listing:
    """Videos of `train/<class>/`, of `<class>/train/`, or of `<class>/` (all for training) below a folder.

    Videos in `test/` itself have no label. What is left out is printed.
    """
    folder, entries, outside = files.given, [], 0
    nested: set[str] = set()  # class folders with folders of their own
    for path in files.videos:
        parts = PurePosixPath(path).parts
        above = SPLIT_NAMES.get(parts[0].lower()) if len(parts) > 1 else None
        below = SPLIT_NAMES.get(parts[1].lower()) if len(parts) > 2 else None
        named = [n for n, part in enumerate(parts[:-1]) if part.lower() in SPLIT_NAMES]
        if len(named) > 1 or any(n > 1 for n in named):
            deep = "/".join(parts[: named[-1] + 1])
            raise ValueError(f"{folder}: {deep} is named like a split, but splits lie right above or below the classes")
        label: str | None
        if len(parts) == 1:
            outside += 1
            continue
        if above and len(parts) == 2:
            if above != "test":
                raise ValueError(f"{folder}/{path}: lies in no class folder of {parts[0]}; only test has no labels")
            split, label, depth = above, None, 1
        elif above:
            split, label, depth = above, parts[1], 2
        elif below:
            split, label, depth = below, parts[0], 2
        else:
            split, label, depth = "train", parts[0], 1
        if label is not None and len(parts) > depth + 1:
            nested.add("/".join(parts[:2]) if above else parts[0])
        entries.append(Entry(path, label, split, path, f"{folder}/{path}"))
    _tell(files, outside)
    if not entries:
        raise ValueError(f"{folder}: no videos in class folders below it")
    _check_level(files, {entry.label for entry in entries if entry.label is not None}, sorted(nested))
    return Listing(files.place.name, files.place.root, entries)


def _check_level(files: Files, labels: set[str], nested: Sequence[str]) -> None:
    """ValueError where the folders are not classes but something above them."""
    if len(labels) == 1 and nested:
        at = f"{files.given}/{nested[0]}"
        what = f"give {at} instead" if "/" not in nested[0] else f"move the class folders in {at} up by one"
        raise ValueError(f"{files.given}: {nested[0]} would be the only class, with folders in it: {what}")
    words = [set(re.split(r"[-_. ]", label.lower())) & SPLIT_NAMES.keys() for label in labels]
    if labels and all(words) and labels <= set(nested):
        raise ValueError(f"{files.given}: {', '.join(sorted(labels))} hold class folders: name them train, val or test")


def _tell(files: Files, outside: int) -> None:
    """Print what is not listed: one line, or none."""
    with_videos = {"/".join(PurePosixPath(path).parts[:depth]) for path in files.videos for depth in (1, 2)}
    empty = []
    for path in sorted(files.folders - with_videos):
        parts = PurePosixPath(path).parts
        if len(parts) == (2 if parts[0].lower() in SPLIT_NAMES else 1):
            empty.append(path)
    left_out = []
    if others := files.not_videos():
        left_out.append(others)
    if outside:
        left_out.append(f"{outside} video{'s' * (outside > 1)} outside class folders")
    if empty:
        more = f" and {len(empty) - 5} more" if len(empty) > 5 else ""
        left_out.append(f"{len(empty)} folder{'s' * (len(empty) > 1)} without videos ({', '.join(empty[:5])}{more})")
    if files.prepared:
        left_out.append(f"prepared data ({', '.join(files.prepared)})")
    if left_out:
        print(f"left out: {', '.join(left_out)}")
