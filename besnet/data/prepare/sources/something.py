"""Something-Something v2: JSON lists of video ids with templates, and `<id>.webm` files."""

import json
from pathlib import Path, PurePosixPath
from typing import Any

from besnet.data.prepare.listing import Entry, Listing, videos_below

FILES = {"train": "train", "validation": "val", "test": "test"}


def list_something(notes: Path, videos: Path) -> Listing:
    """Videos of `*train.json`, `*validation.json` and, without labels, `*test.json`; classes of `*labels.json`."""
    if not videos.is_dir():
        raise ValueError(f"{videos}: no such folder of videos")
    numbered = _read(_only(notes, "labels"), dict)
    classes = [name for name, _ in sorted(numbered.items(), key=lambda item: int(item[1]))]
    found = {PurePosixPath(path).stem: path for path in videos_below(videos)}
    entries = []
    for called, split in FILES.items():
        if not (files := sorted(notes.glob(f"*{called}.json"))):
            continue
        for at, item in enumerate(_read(files[0], list)):
            where = f"{files[0]}: entry {at + 1}"
            if not isinstance(item, dict) or "id" not in item:
                raise ValueError(f"{where}: no id")
            template = item.get("template")
            label = template.replace("[", "").replace("]", "") if template else None
            path = found.get(str(item["id"]))
            why = "" if path else f"no file {item['id']}.*"
            entries.append(Entry(str(item["id"]), label, split, path, where, why))
    if not entries:
        raise ValueError(f"{notes}: no *train.json, *validation.json or *test.json with videos")
    return Listing("something-something-v2", videos.resolve(), entries, classes)


def _only(folder: Path, called: str) -> Path:
    files = sorted(folder.glob(f"*{called}.json"))
    if not files:
        raise ValueError(f"{folder}: no *{called}.json")
    return files[0]


def _read(file: Path, kind: type) -> Any:
    try:
        found = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise ValueError(f"{file}: cannot be read: {error}") from None
    if not isinstance(found, kind):
        raise ValueError(f"{file}: not a JSON {'list' if kind is list else 'object'}")
    return found
