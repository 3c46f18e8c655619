"""Something-Something v2: JSON lists of video ids with templates, and `<id>.webm` files."""

from pathlib import Path, PurePosixPath
from typing import Any

from besnet.data.paths import read_json
from besnet.data.prepare.files import Files
from besnet.data.prepare.listing import Entry, Listing

FILES = {"train": "train", "validation": "val", "test": "test"}


def list_something(notes: Path, files: Files) -> Listing:
    """Videos of `*train.json`, `*validation.json` and, without labels, `*test.json`; classes of `*labels.json`."""
    classes = _classes(_only(notes, "labels"))
    found = {PurePosixPath(path).stem: path for path in files.videos}
    entries = []
    for called, split in FILES.items():
        if not (lists := sorted(notes.glob(f"*{called}.json"))):
            continue
        for at, item in enumerate(_read(lists[0], list)):
            where = f"{lists[0]}: entry {at + 1}"
            if not isinstance(item, dict) or not isinstance(item.get("id"), str | int):
                raise ValueError(f"{where}: no id")
            template = item.get("template")
            if not isinstance(template, str | None):
                raise ValueError(f"{where}: its template is not text")
            label = template.replace("[", "").replace("]", "") if template else None
            path = found.get(str(item["id"]))
            why = "" if path else f"no file {item['id']}.*"
            entries.append(Entry(str(item["id"]), label, split, path, where, why))
    if not entries:
        raise ValueError(f"{notes}: no *train.json, *validation.json or *test.json with videos")
    return Listing("something-something-v2", files.place.root, entries, classes)


def _classes(file: Path) -> list[str]:
    """Class names in the order of their numbers."""
    numbers = {}
    for name, number in _read(file, dict).items():
        if not isinstance(number, str | int) or not str(number).isdecimal() or len(str(number)) > 9:
            raise ValueError(f"{file}: {name!r}: {number!r} is not the number of a class")
        numbers[name] = int(number)
    return sorted(numbers, key=numbers.__getitem__)


def _only(folder: Path, called: str) -> Path:
    files = sorted(folder.glob(f"*{called}.json"))
    if not files:
        raise ValueError(f"{folder}: no *{called}.json")
    return files[0]


def _read(file: Path, kind: type) -> Any:
    found = read_json(file)
    if not isinstance(found, kind):
        raise ValueError(f"{file}: not a JSON {'list' if kind is list else 'object'}")
    return found
