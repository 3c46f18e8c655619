"""A CSV table with the columns label, path and, if it likes, split and group."""

import os
from dataclasses import dataclass, replace
from pathlib import Path

from besnet.data.prepare.files import Place
from besnet.data.prepare.listing import Entry, Listing, split_named
from besnet.data.prepare.sources.label_sets import with_label_sets
from besnet.data.prepare.sources.rows import need, read_rows
from besnet.data.prepare.sources.spans import END, START, by_file, with_background, with_span

PLAIN_NAMES = ("index", "train", "split1")  # no names of data: the folder's name is used


@dataclass(frozen=True)
class TableRules:
    """How a table is read.

    group: the column that names each video's group, in any case; by default `group`, if there is one. multi_label: see
    besnet.data.prepare.sources.label_sets. background: the class of what no span covers. split_within_files: parts of
    one file may be in several splits.
    """

    group: str | None = None
    multi_label: bool | None = None
    background: str | None = None
    split_within_files: bool = False

    @property
    def asked(self) -> dict[str, str]:
        """What only tables have, by its flag."""
        given = {name: str(value) for name, value in vars(self).items() if value}
        return {name: value for name, value in given.items() if name != "multi_label"}


def list_table(path: Path, videos: Place, held_out: dict[str, str], rules: TableRules) -> Listing:
    """Videos of a table, or parts of videos where it has the columns start and end. Paths are relative to `videos`, or
    whole.

    Further columns stay out of the data set; `held_out` ({split: "column=value,..."}) may use them to hold out subjects
    for testing.
    """
    names, rows = read_rows(path)
    by = rules.group.strip().lower() if rules.group else "group"
    spans = {START, END} <= set(names)
    if not spans and (START in names or END in names):
        one, other = (START, END) if START in names else (END, START)
        raise ValueError(f"{path}: has the column {one!r} and no column {other!r}: spans need both; else rename it")
    if rules.background is not None and not spans:
        raise ValueError(f"--background: {path} has no columns start and end: it lists no spans")
    for column in ("label", "path", *([by] if rules.group else [])):
        need(names, column, path)
    entries, columns = [], []
    for line, row in rows:
        where, file, label = f"{path}:{line}", row["path"].strip(), row["label"].strip()
        if not file:
            raise ValueError(f"{where}: path is empty")
        split = split_named(row["split"], where) if "split" in row else "train"
        entry = Entry(file, label, split, file, where, group=row.get(by, "").strip())
        entries.append(with_span(entry, row) if spans else entry)
        columns.append(row)
    if not entries:
        raise ValueError(f"{path}: no rows")
    for split, rule in held_out.items():
        before, entries = entries, hold_out(entries, columns, rule, split)
        gone = {entry.split for entry in before} - {entry.split for entry in entries}
        if gone:
            raise ValueError(f"--{split} {rule}: takes every row of the split {', '.join(sorted(gone))}")
    sets = with_label_sets(entries, rules.multi_label)
    place, located = locate(videos, sets)
    if spans:
        located = by_file(located, rules.split_within_files)
    if rules.background is not None:
        several = any(entry.labels is not None for entry in sets)
        located = with_background(located, place, rules.background, several)
    name = Path(os.path.abspath(path)).parent.name if path.stem in PLAIN_NAMES else path.stem
    return Listing(name, place.root, located)


def locate(place: Place, entries: list[Entry]) -> tuple[Place, list[Entry]]:
    """(place, entries with paths relative to it and a reason where there is no file).

    ValueError where two entries name the same file.
    """
    place, paths = place.below([entry.path or "" for entry in entries])
    located: list[Entry] = []
    known: dict[tuple[str, float | None, float | None], Entry] = {}
    for e, path in zip(entries, paths, strict=True):
        if "://" in path:
            raise ValueError(f"{e.where}: {path}: is in object storage: name its folder with --videos")
        relative = os.path.normpath(path)
        why = place.absent(relative)
        if why and "\\" in relative:
            slashed = os.path.normpath(path.replace("\\", "/"))
            if not place.absent(slashed):
                relative, why = slashed, ""
        if relative.startswith(".."):
            raise ValueError(f"{e.where}: {path!r} leads outside {place.root}; name the folder above it with --videos")
        first = known.setdefault((relative, e.start_sec, e.end_sec), e)
        if first is not e:
            hint = "" if first.label == e.label else "; with --multi_label its labels are those of all its rows"
            raise ValueError(f"{e.where}: {e.id!r} is listed twice, first in {first.where} as {first.id!r}{hint}")
        located.append(replace(e, path=None, why=f"{why} {relative}") if why else replace(e, path=relative))
    return place, located


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
