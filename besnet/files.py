"""Files that are whole or absent, and journals whose lines count once they are whole.

A file is written beside its place, synced, and renamed: a kill, a full disk or a power cut at any instant leaves the
old file or the new one. Its mode follows the umask. What fails names the file.
"""

import contextlib
import csv
import io
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from besnet.text import cell


@contextlib.contextmanager
def replacing(path: Path, named: Callable[[Path], Path] | None = None) -> Iterator[BinaryIO]:
    """A binary file that takes its name when the block ends well. OSError names `path` and leaves no half file.

    named: the name by what has been written, which is in the file that this is called with; `path` without it.
    """
    partial = path.with_name(f".{path.name}.partial")
    with naming(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(partial, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, named(partial) if named else path)
            sync_folder(path.parent)
        except BaseException:
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)
            raise


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Let an OSError that names no file (a full disk's) name this one."""
    try:
        yield
    except OSError as error:
        if error.errno is None or (error.filename is not None and ".partial" not in str(error.filename)):
            raise
        raise OSError(error.errno, os.strerror(error.errno), str(path)) from error


def write_text(path: Path, text: str) -> None:
    """Write a text file (UTF-8), whole or not at all."""
    with replacing(path) as file:
        file.write(text.encode(errors="backslashreplace"))


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file, whole or not at all."""
    write_text(path, json.dumps(content, indent=1) + "\n")


def write_table(path: Path, rows: Iterable[Sequence[object]]) -> None:
    """Write a CSV file, its header first, whole or not at all; names that are not UTF-8 keep their bytes, and none is a
    formula to a spreadsheet."""
    text = io.StringIO()
    safe = ([cell(entry) if isinstance(entry, str) else entry for entry in row] for row in rows)
    csv.writer(text, lineterminator="\n").writerows(safe)
    with replacing(path) as file:
        file.write(text.getvalue().encode(errors="surrogateescape"))


def write_arrays(path: Path, **arrays: np.ndarray) -> None:
    """Write arrays as a compressed NPZ, whole or not at all."""
    with replacing(path) as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def sync_folder(folder: Path) -> None:
    """Make a rename in `folder` survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def append(path: Path, lines: bytes, sync: bool = True) -> None:
    """Add whole lines to a file; with `sync` they are on the disk when this returns. OSError names `path`."""
    with naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "ab+") as file:
            end = file.seek(0, os.SEEK_END)
            if end:
                file.seek(end - 1)
                if file.read(1) != b"\n":  # the cut line of a killed writer
                    lines = b"\n" + lines
            file.write(lines)
            file.flush()
            if sync:
                os.fsync(file.fileno())


class Journal:
    """Durable records, one JSON object a line; a line that a kill cut short never counted."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def lines(self) -> Iterator[bytes]:
        """The whole lines, oldest first; none where there is no file."""
        if not self.path.exists():
            return
        with open(self.path, "rb") as file:
            for line in file:
                if line.endswith(b"\n"):
                    yield line

    def records(self) -> Iterator[dict[str, Any]]:
        """What was recorded; a line that is no JSON object (two writers' cut lines, joined) is passed over."""
        for line in self.lines():
            try:
                record = json.loads(line)
            except ValueError:
                continue
            if isinstance(record, dict):
                yield record

    def append(self, *records: dict[str, Any], sync: bool = True) -> None:
        """Add records; with `sync` they are on the disk when this returns."""
        append(self.path, b"".join(json.dumps(record).encode() + b"\n" for record in records), sync)
