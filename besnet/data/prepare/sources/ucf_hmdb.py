"""UCF101 and HMDB51 with their official split files."""

import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path, PurePosixPath

from besnet.data.labels import canonical
from besnet.data.paths import read_text
from besnet.data.prepare.files import Files
from besnet.data.prepare.listing import Entry, Listing
from besnet.data.prepare.sources.matching import by_stem, choose, settle


def list_ucf101(splits: Path, files: Files, number: int) -> Listing:
    """UCF101: `classInd.txt`, `trainlist01.txt` and `testlist01.txt` (or 02, 03), videos `<class>/<name>.avi`."""
    classes = []
    for at, line in _lines(splits / "classInd.txt"):
        number_and_name = line.split(maxsplit=1)
        if len(number_and_name) < 2:
            raise ValueError(f"{splits / 'classInd.txt'}:{at}: {line!r}: it is a number and a class")
        classes.append(number_and_name[1])
    rows = []
    for split in ("train", "test"):
        file = splits / f"{split}list{number:02d}.txt"
        for at, line in _lines(file):
            path = line.split()[0]
            label, stem = PurePosixPath(path).parts[0], PurePosixPath(path).stem
            scene = re.fullmatch(r"(v_.+_g\d+)_c\d+", stem)  # clips of one scene with the same people
            rows.append(Entry(path, label, split, None, f"{file}:{at}", group=scene[1] if scene else ""))
    return Listing(f"ucf101-split{number}", files.place.root, _found(rows, files, classes), classes)


def list_hmdb51(splits: Path, files: Files, number: int) -> Listing:
    """HMDB51: `<class>_test_split1.txt` (or 2, 3) with 1 for training, 2 for testing and 0 for neither."""
    rows, classes = [], []
    lists = sorted(splits.glob(f"*_test_split{number}.txt"))
    if not lists:
        raise ValueError(f"{splits}: no files *_test_split{number}.txt")
    for file in lists:
        label = file.name.removesuffix(f"_test_split{number}.txt")
        classes.append(label)
        for at, line in _lines(file):
            *name, use = line.rsplit(maxsplit=1)
            if not name or use not in ("0", "1", "2"):
                raise ValueError(f"{file}:{at}: {line!r}: it is a file's name and 0, 1 or 2")
            if use != "0":
                split = "train" if use == "1" else "test"
                film, found, _ = name[0].partition(f"_{label}_")  # clips of one film have its name first
                group = film if found else ""
                rows.append(Entry(f"{label}/{name[0]}", label, split, None, f"{file}:{at}", group=group))
    return Listing(f"hmdb51-split{number}", files.place.root, _found(rows, files, classes))


def _found(rows: Iterable[Entry], files: Files, classes: Iterable[str]) -> list[Entry]:
    """The rows with the files that are there for them."""
    found, known = by_stem(files), {canonical(name) for name in classes}
    entries = []
    for row in rows:
        name = PurePosixPath(row.id).stem
        path, why = choose(found.get(name, []), row.label, known)
        why = "" if path else why or f"no file {name}.*"
        entries.append(replace(row, path=path, why=why))
    return settle(entries)


def _lines(file: Path) -> list[tuple[int, str]]:
    """(line number, line) of the lines that are not empty."""
    return [(at, line.strip()) for at, line in enumerate(read_text(file).splitlines(), 1) if line.strip()]
