"""Lists without a first line that names columns: `path label` or `path,label`, a video a line, as other projects write
them. The split is taken from the file's name."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from besnet.data.paths import read_text
from besnet.data.prepare.files import VIDEO_EXTENSIONS, Place
from besnet.data.prepare.listing import Entry, Listing, split_in
from besnet.data.prepare.sources.label_sets import with_label_sets
from besnet.data.prepare.sources.table import locate

SEPARATORS = (",", ";", "\t", " ")


def is_plain_list(path: Path) -> bool:
    """Whether the first line of a text file is a video and its label."""
    try:
        return _fields(read_text(path, 1 << 16).strip().splitlines()[0]) is not None
    except (ValueError, IndexError):
        return False


def list_plain(paths: Sequence[Path], videos: Place, multi_label: bool | None = None) -> Listing:
    """Videos of one or more lists; paths are relative to `videos`, or whole.

    multi_label: see besnet.data.prepare.sources.label_sets.
    """
    entries = []
    for path in paths:
        split = split_in(path.stem) or ("train" if len(paths) == 1 else None)
        if split is None:
            raise ValueError(f"{path}: one of several lists, and its name has no train, val or test")
        for line, text in enumerate(read_text(path).splitlines(), 1):
            if not text.strip():
                continue
            fields = _fields(text)
            if fields is None:
                raise ValueError(f"{path}:{line}: {text:.80}: not a video's path and its label")
            file, label = fields
            entries.append(Entry(file, label, split, file, f"{path}:{line}"))
    place, located = locate(videos, with_label_sets(entries, multi_label))
    return Listing(paths[0].resolve().parent.name, place.root, located, counts=True)


def _fields(line: str) -> tuple[str, str] | None:
    """(path, label) of a line; None where it is something else."""
    for mark in SEPARATORS:
        path, label = (part.strip().strip('"') for part in line.strip().rpartition(mark)[::2])
        if label and PurePosixPath(path).suffix.lower() in VIDEO_EXTENSIONS:
            return path, label
    return None
