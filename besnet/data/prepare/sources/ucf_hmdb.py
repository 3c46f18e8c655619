"""UCF101 and HMDB51 with their official split files."""

import os
from pathlib import Path, PurePosixPath

from besnet.data.prepare.listing import Entry, Listing, videos_below


def list_ucf101(splits: Path, videos: Path, number: int) -> Listing:
    """UCF101: `classInd.txt`, `trainlist01.txt` and `testlist01.txt` (or 02, 03), videos `<class>/<name>.avi`."""
    classes = [line.split(maxsplit=1)[1] for line in _lines(splits / "classInd.txt")]
    entries = []
    found = _by_name(videos)
    for split in ("train", "test"):
        file = splits / f"{split}list{number:02d}.txt"
        for at, line in enumerate(_lines(file), 1):
            path = line.split()[0]
            label = PurePosixPath(path).parts[0]
            entries.append(_entry(path, label, split, found, f"{file}:{at}"))
    return Listing(f"ucf101-split{number}", videos.resolve(), entries, classes)


def list_hmdb51(splits: Path, videos: Path, number: int) -> Listing:
    """HMDB51: `<class>_test_split1.txt` (or 2, 3) with 1 for training, 2 for testing and 0 for neither."""
    entries = []
    found = _by_name(videos)
    files = sorted(splits.glob(f"*_test_split{number}.txt"))
    if not files:
        raise ValueError(f"{splits}: no files *_test_split{number}.txt")
    for file in files:
        label = file.name.removesuffix(f"_test_split{number}.txt")
        for at, line in enumerate(_lines(file), 1):
            name, use = line.rsplit(maxsplit=1)
            if use not in ("0", "1", "2"):
                raise ValueError(f"{file}:{at}: {use!r}: it is 0, 1 or 2")
            if use != "0":
                split = "train" if use == "1" else "test"
                entries.append(_entry(f"{label}/{name}", label, split, found, f"{file}:{at}"))
    return Listing(f"hmdb51-split{number}", videos.resolve(), entries)


def _entry(path: str, label: str, split: str, found: dict[str, str], where: str) -> Entry:
    name = PurePosixPath(path).stem
    there = found.get(name)
    return Entry(path, label, split, there, where, "" if there else f"no file {name}.*")


def _by_name(videos: Path) -> dict[str, str]:
    """Video files by their name without ending, whatever folders they are in: copies are arranged in several ways."""
    if not videos.is_dir():
        raise ValueError(f"{videos}: no such folder of videos")
    return {os.path.splitext(os.path.basename(path))[0]: path for path in videos_below(videos)}


def _lines(file: Path) -> list[str]:
    try:
        return [line.strip() for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{file}: cannot be read: {error}") from None
