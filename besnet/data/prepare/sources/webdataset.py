"""A folder of WebDataset tars made by others: `key.mp4` with `key.cls`, `key.txt` or `key.json`.

Only members named like videos and labels are looked at, as bytes; pickles and anything else are passed over.
"""

import json
import re
from pathlib import Path

from besnet.data.manifest import read_range
from besnet.data.prepare.listing import SPLIT_NAMES, Entry, Listing
from besnet.data.shards import LABEL_MEMBERS, MAX_LABEL_BYTES, VIDEO_MEMBERS, Member, members

LABEL_KEYS = ("class", "cls", "label", "label_name", "action")


def list_webdataset(folder: Path) -> Listing:
    """Videos of all tars below a folder; the split is read off the tar's path, else all are for training.

    Labels that are numbers count into the class list that the user gives, else they are the classes' names.
    """
    entries = []
    for tar in sorted(folder.rglob("*.tar")):
        path = str(tar.relative_to(folder))
        split = next((SPLIT_NAMES[word] for word in re.split(r"[-_./ ]", path.lower()) if word in SPLIT_NAMES), "train")
        samples: dict[str, list[Member]] = {}
        for member in members(tar):
            if member.ending in VIDEO_MEMBERS | LABEL_MEMBERS:
                samples.setdefault(member.key, []).append(member)
        for key, parts in samples.items():
            where = f"{tar}: {key}"
            video = next((part for part in parts if part.ending in VIDEO_MEMBERS), None)
            if video is not None:
                label = _label(tar, parts, where)
                id = f"{path.removesuffix('.tar')}/{key}"
                entries.append(Entry(id, label, split, path, where, offset=video.offset, size=video.size))
    if not entries:
        raise ValueError(f"{folder}: no tar holds a video (members named {', '.join(sorted(VIDEO_MEMBERS))})")
    labels = {entry.label for entry in entries if entry.label is not None}
    numbered = bool(labels) and all(label.isdecimal() for label in labels)
    classes = [str(n) for n in range(max(map(int, labels)) + 1)] if numbered else None
    return Listing(folder.resolve().name, folder.resolve(), entries, classes, numbered)


def _label(tar: Path, parts: list[Member], where: str) -> str | None:
    for ending in ("cls", "json", "txt"):
        part = next((part for part in parts if part.ending == ending), None)
        if part is None:
            continue
        if part.size > MAX_LABEL_BYTES:
            raise ValueError(f"{where}: its {ending} member has {part.size} bytes")
        data = read_range(str(tar), part.offset, part.size)
        try:
            text = data.decode().strip()
            if ending != "json":
                return text
            about = json.loads(text)
        except ValueError as error:
            raise ValueError(f"{where}: its {ending} member cannot be read: {error}") from None
        if isinstance(about, dict):
            for name in LABEL_KEYS:
                if isinstance(about.get(name), str | int):
                    return str(about[name])
        elif isinstance(about, str | int):
            return str(about)
    return None
