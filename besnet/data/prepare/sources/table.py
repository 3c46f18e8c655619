"""A CSV table with the columns label, path and, if it likes, split and group."""

import os
from dataclasses import replace
from pathlib import Path

from besnet.data.prepare.listing import Entry, Listing, split_named
from besnet.data.prepare.sources.label_sets import with_label_sets
from besnet.data.prepare.sources.rows import need, read_rows

PLAIN_NAMES = ("index", "train", "split1")  # no names of data: the folder's name is used


def list_table(
    path: Path,
    videos: Path | None,
    held_out: dict[str, str],
    group: str | None = None,
    multi_label: bool | None = None,
) -> Listing:
    """Videos of a table. Paths are relative to `videos` (by default the table's folder), or absolute.

    group: the column that names each video's group, in any case; by default `group`, if there is one. Further columns
    stay out of the data set; `held_out` ({split: "column=value,..."}) may use them to hold out subjects for testing.
    multi_label: see besnet.data.prepare.sources.label_sets.
    """
    names, rows = read_rows(path)
    by = group.strip().lower() if group else "group"
    for column in ("label", "path", *([by] if group else [])):
        need(names, column, path)
    root = (videos or path.parent).resolve()
    entries, columns = [], []
    for line, row in rows:
        where, file, label = f"{path}:{line}", row["path"].strip(), row["label"].strip()
        if not file:
            raise ValueError(f"{where}: path is empty")
        split = split_named(row["split"], where) if "split" in row else "train"
        entries.append(Entry(file, label, split, file, where, group=row.get(by, "").strip()))
        columns.append(row)
    if not entries:
        raise ValueError(f"{path}: no rows")
    for split, rule in held_out.items():
        before, entries = entries, hold_out(entries, columns, rule, split)
        gone = {entry.split for entry in before} - {entry.split for entry in entries}
        if gone:
            raise ValueError(f"--{split} {rule}: takes every row of the split {', '.join(sorted(gone))}")
    root, located = locate(root, with_label_sets(entries, multi_label))
    name = Path(os.path.abspath(path)).parent.name if path.stem in PLAIN_NAMES else path.stem
    return Listing(name, root, located)


def locate(root: Path, entries: list[Entry]) -> tuple[Path, list[Entry]]:
    """(root, entries with paths relative to it and a reason where there is no file).

    ValueError where two entries name the same file.
    """
    if any(os.path.isabs(entry.path or "") for entry in entries):
        whole = [os.path.normpath(os.path.join(root, entry.path or "")) for entry in entries]
        root = Path(os.path.commonpath([os.path.dirname(path) for path in whole]))
        entries = [replace(e, path=os.path.relpath(path, root)) for e, path in zip(entries, whole, strict=True)]
    located: list[Entry] = []
    known: dict[str, Entry] = {}
    for e in entries:
        assert e.path is not None
        relative = os.path.normpath(e.path)
        why = _absent(root / relative)
        if why and "\\" in relative:
            slashed = os.path.normpath(e.path.replace("\\", "/"))
            if not _absent(root / slashed):
                relative, why = slashed, ""
        if relative.startswith(".."):
            raise ValueError(f"{e.where}: {e.path!r} leads outside {root}; name the folder above it with --videos")
        first = known.setdefault(relative, e)
        if first is not e:
            raise ValueError(f"{e.where}: {e.id!r} is listed twice, first in {first.where} as {first.id!r}")
        located.append(replace(e, path=None, why=f"{why} {relative}") if why else replace(e, path=relative))
    return root, located


def _absent(path: Path) -> str:
    """Why there is no file; "" where there is one."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return "no file"
    except OSError as error:
        return f"{error.strerror}:"
    return ""


def hold_out(entries: list[Entry], columns: list[dict[str, str]], rule: str, split: str) -> list[Entry]:
    """Move the rows of a table whose column has one of the values to another split.

    `rule` is `column=value,value,...`. ValueError naming a column or value that the table does not have.
    """
    column, equals, listed = rule.partition("=")
    column = column.strip().lower()
    values = {value.strip() for value in listed.split(",")}
    if not equals or not listed:
        raise ValueError(f"--{split} {rule}: write it as column=value,value,...")
    there = {row[column] for row in columns if column in row}
    if not there:
        known = ", ".join(columns[0]) if columns else "none"
        raise ValueError(f"--{split} {rule}: the source has no column {column!r}; there are: {known}")
    if values - there:
        raise ValueError(f"--{split} {rule}: no row with {column} {sorted(values - there)[0]!r}")
    return [
        replace(entry, split=split) if row[column] in values else entry
        for entry, row in zip(entries, columns, strict=True)
    ]
