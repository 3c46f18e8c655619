"""A CSV table with the columns label, path and, if it likes, split."""

import csv
import io
import os
from collections.abc import Iterator
from pathlib import Path

from besnet.data.prepare.listing import Entry, Listing, hold_out, split_named


def read_rows(path: Path) -> tuple[list[str], Iterator[tuple[int, dict[str, str]]]]:
    """(column names, iterator of (line number, row)) of a CSV file. ValueError where it is none."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: cannot be read as a table: {error}") from None
    reader = csv.DictReader(io.StringIO(text, newline=""), skipinitialspace=True)
    names = [name.strip() for name in reader.fieldnames or []]
    reader.fieldnames = names

    def rows() -> Iterator[tuple[int, dict[str, str]]]:
        for row in reader:
            if None in row or None in row.values():
                raise ValueError(f"{path}:{reader.line_num}: has not the {len(names)} fields of the first line")
            yield reader.line_num, row

    return names, rows()


def need(names: list[str], column: str, path: Path) -> None:
    """ValueError naming the column and those that exist, if it is not among them."""
    if column not in names:
        raise ValueError(f"{path}: no column {column!r}; it has: {', '.join(names) or 'none'}")


def list_table(path: Path, videos: Path | None, held_out: dict[str, str]) -> Listing:
    """Videos of a table. Paths are relative to `videos` (by default the table's folder), or absolute.

    Columns other than label, path and split stay out of the data set; `held_out` ({split: "column=value,..."}) may use
    them to say who is kept for testing.
    """
    names, rows = read_rows(path)
    for column in ("label", "path"):
        need(names, column, path)
    root = (videos or path.parent).resolve()
    entries, columns = [], []
    for line, row in rows:
        where = f"{path}:{line}"
        if not row["path"].strip() or not row["label"].strip():
            raise ValueError(f"{where}: {'path' if not row['path'].strip() else 'label'} is empty")
        split = split_named(row["split"], where) if "split" in row else "train"
        entries.append(Entry(row["path"], row["label"].strip(), split, row["path"], where))
        columns.append(row)
    if not entries:
        raise ValueError(f"{path}: no rows")
    for split, rule in held_out.items():
        entries = hold_out(entries, columns, rule, split)
    root, located = locate(root, entries)
    return Listing(path.stem if path.stem not in ("index", "train", "split1") else path.parent.name, root, located)


def locate(root: Path, entries: list[Entry]) -> tuple[Path, list[Entry]]:
    """(root, entries with paths relative to it and a reason where there is no file)."""
    if any(os.path.isabs(entry.path or "") for entry in entries):
        whole = [os.path.normpath(os.path.join(root, entry.path or "")) for entry in entries]
        root = Path(os.path.commonpath([os.path.dirname(path) for path in whole]))
        entries = [
            Entry(e.id, e.label, e.split, os.path.relpath(path, root), e.where)
            for e, path in zip(entries, whole, strict=True)
        ]
    located = []
    for e in entries:
        assert e.path is not None
        relative = os.path.normpath(e.path)
        if relative.startswith(".."):
            raise ValueError(f"{e.where}: {e.path!r} leads outside {root}; name the folder above it with --videos")
        if os.path.lexists(root / relative):
            located.append(Entry(e.id, e.label, e.split, relative, e.where))
        else:
            located.append(Entry(e.id, e.label, e.split, None, e.where, f"no file {relative}"))
    return root, located
