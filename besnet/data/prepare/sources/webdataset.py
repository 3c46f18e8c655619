"""A folder of WebDataset tars made by others: `key.mp4` with `key.cls`, `key.txt` or `key.json`.

Only members named like videos and labels are read, as bytes; pickles and all others are skipped.
"""

import json
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from besnet.data.paths import read_range
from besnet.data.prepare.files import Files
from besnet.data.prepare.listing import Entry, Listing, split_in
from besnet.data.shards import LABEL_MEMBERS, MAX_LABEL_BYTES, VIDEO_MEMBERS, Member, members

LABEL_KEYS = ("class", "cls", "label", "label_name", "action")
MOST_NESTED = 3  # objects within objects of a label's JSON


def list_webdataset(files: Files) -> Listing:
    """Videos of all tars below a folder; the split is read off the tar's path, else all are for training.

    Labels that are numbers count into the class list that the user gives, else they are the classes' names; -1 is no
    label.
    """
    folder = files.given
    entries: list[Entry] = []
    for path in sorted(files.tars, key=PurePosixPath):
        with files.place.here(path) as tar:
            entries += _in_tar(tar, path, f"{folder}/{path}")
    if not entries:
        raise ValueError(f"{folder}: no tar holds a video (members named {', '.join(sorted(VIDEO_MEMBERS))})")
    unlabelled = [entry for entry in entries if entry.label is None]
    if unlabelled:
        print(f"{len(unlabelled):,} of {len(entries):,} videos have no label (the first: {unlabelled[0].where})")
    return Listing(files.place.name, files.place.root, entries, counts=True)


def _in_tar(tar: Path, path: str, named: str) -> Iterator[Entry]:
    """The videos of a tar, of which `path` is relative to its place."""
    split = split_in(path) or "train"
    for key, parts in _samples(tar).items():
        where = f"{named}: {key}"
        video = next((part for part in parts if part.extension in VIDEO_MEMBERS), None)
        if video is not None:
            label, group = _label(tar, parts, where), _group(tar, parts, where)
            id = f"{path.removesuffix('.tar')}/{key}"
            yield Entry(id, label, split, path, where, offset=video.offset, size=video.size, group=group)


def _samples(tar: Path) -> dict[str, list[Member]]:
    """The members of each key that matter. ValueError for a video that would be left out."""
    samples: dict[str, list[Member]] = {}
    for member in members(tar):
        if member.extension in VIDEO_MEMBERS or member.extension.rpartition(".")[2] in LABEL_MEMBERS:
            parts = samples.setdefault(member.key, [])
            if member.extension in VIDEO_MEMBERS and any(part.extension in VIDEO_MEMBERS for part in parts):
                raise ValueError(f"{tar}: {member.key}.{member.extension}: a second video of the key {member.key!r}")
            parts.append(member)
        elif member.extension.rpartition(".")[2] in VIDEO_MEMBERS:
            name = f"{member.key}.{member.extension}"
            raise ValueError(f"{tar}: {name}: a WebDataset key ends at its first dot: name it without others")
    return samples


def _label(tar: Path, parts: list[Member], where: str) -> str | None:
    """The label of a key's members; `key.json` comes before `key.info.json`."""
    for extension in ("cls", "json", "txt"):
        for part in sorted(parts, key=lambda part: part.extension.count(".")):
            if part.extension.rpartition(".")[2] != extension:
                continue
            about = _content(tar, part, where)
            label = _named(about, where) if isinstance(about, dict) else about
            if isinstance(label, str | int):
                return _text(str(label), where)
    return None


def _group(tar: Path, parts: list[Member], where: str) -> str:
    """The `group` in a key's JSON, where besnet's own shards have it; "" without one."""
    found = [_content(tar, part, where) for part in parts if part.extension == "json"]
    group = found[0].get("group") if found and isinstance(found[0], dict) else None
    return group if isinstance(group, str) else ""


def _content(tar: Path, part: Member, where: str) -> Any:
    """What a label's member holds: text, or the values of its JSON."""
    if part.size > MAX_LABEL_BYTES:
        raise ValueError(f"{where}: its {part.extension} member has {part.size} bytes")
    try:
        text = read_range(str(tar), part.offset, part.size).decode("utf-8-sig").strip()
        return json.loads(text) if part.extension.rpartition(".")[2] == "json" else text
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where}: its {part.extension} member cannot be read: {error}") from None


def _named(about: dict[str, Any], where: str) -> str | int | None:
    """The label that an object gives under one of the usual names, its own before those of the objects in it."""
    level = [about]
    for _ in range(MOST_NESTED):
        given = [one[name] for name in LABEL_KEYS for one in level if one.get(name) is not None]
        given = [label.get("name", label) if isinstance(label, dict) else label for label in given]
        labels = [label for label in given if isinstance(label, str | int) and not isinstance(label, bool)]
        if labels:
            return labels[0]
        if given:
            raise ValueError(f"{where}: its label is neither text nor a whole number: {str(given[0])[:60]}")
        level = [value for one in level for value in one.values() if isinstance(value, dict)]
    return None


def _text(text: str, where: str) -> str | None:
    """A label; None for -1."""
    if text.startswith("-") and text[1:].isdecimal() and text != "-1":
        raise ValueError(f"{where}: label {text[:20]}: a class's number begins at 0, and -1 is none")
    return None if text == "-1" else text
