"""Rows of a table: commas, semicolons or tabs between its fields, the columns named in its first line."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from besnet.data.paths import read_text


def read_rows(path: Path) -> tuple[list[str], Iterator[tuple[int, dict[str, str]]]]:
    """(column names in small letters, iterator of (line number, row)) of a table. ValueError where it is none."""
    lines = _fields(read_text(path), path)
    names = [name.strip().lower() for name in next(lines, (1, []))[1]]
    twice = next((name for name in names if name and names.count(name) > 1), None)
    if twice:
        raise ValueError(f"{path}: has the column {twice!r} twice: rename one of them")

    def rows() -> Iterator[tuple[int, dict[str, str]]]:
        for line, fields in lines:
            if len(fields) != len(names):
                raise ValueError(f"{path}:{line}: not {len(names)} fields as in the first line")
            yield line, dict(zip(names, fields, strict=True))

    return names, rows()


def columns(path: Path) -> list[str]:
    """Column names in small letters of what may be a table; of any other file, whatever its first line holds.

    ValueError where it cannot be read.
    """
    first = io.StringIO(read_text(path, 1 << 16)).readline()
    try:
        return [name.strip().lower() for _, fields in _fields(first, path) for name in fields]
    except ValueError:
        return []


def need(names: list[str], column: str, path: Path) -> None:
    """ValueError naming the column and those that exist, if it is not among them."""
    if column not in names:
        raise ValueError(f"{path}: no column {column!r}; it has: {', '.join(names) or 'none'}")


def _fields(text: str, path: Path) -> Iterator[tuple[int, list[str]]]:
    """(line number, fields) of the lines that are not empty. A quote that is never closed would swallow lines."""
    first = io.StringIO(text, newline=None).readline()
    delimiter = max(",;\t", key=first.count)
    reader: Any = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True)
    line = 0
    try:
        for fields in reader:
            line = reader.line_num
            if breaks := sum(max(field.count("\n"), field.count("\r")) for field in fields):
                raise ValueError(f"{path}:{line - breaks}: a field goes over the end of the line: a quote too many?")
            if fields:
                yield line, fields
    except csv.Error as error:
        raise ValueError(f"{path}:{line + 1}: cannot be read as a table: {error}") from None
