"""Rows of a table that mean parts of long videos: from `start` to `end`, in seconds from the first frame."""

import math
import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from besnet.data.fetching import Unreachable
from besnet.data.prepare.files import Place
from besnet.data.prepare.listing import Entry
from besnet.video.probe import probe

START, END = "start", "end"
CLOSE_SEC = 0.001  # tables round times
SHORTEST_SEC = 0.5  # of a part that no span covers: shorter ones are no example of anything


def with_span(entry: Entry, row: dict[str, str]) -> Entry:
    """The part of a file that a row means.

    ValueError for times that are no numbers, negative, or not in order.
    """
    times = []
    for column in (START, END):
        try:
            times.append(float(row[column]))
        except ValueError:
            raise ValueError(f"{entry.where}: {column} {row[column]!r:.40} is no number of seconds") from None
    start, end = times
    if not (math.isfinite(start) and math.isfinite(end)):
        raise ValueError(f"{entry.where}: start {start:g}, end {end:g}: a span has a beginning and an end")
    if start < 0 or start >= end:
        raise ValueError(f"{entry.where}: start {start:g}, end {end:g}: 0 <= start < end is expected, in seconds")
    return part(entry, start, end)


def part(entry: Entry, start: float, end: float) -> Entry:
    """A part of an entry's file."""
    span = f"{entry.path or entry.id}@{start:.10g}-{end:.10g}"
    return replace(entry, id=span, start_sec=start, end_sec=end, shared=True, exact=True)


def file_of(entry: Entry) -> str:
    """The file that an entry is a part of, also where there is none."""
    return entry.path or os.path.normpath(entry.id.rpartition("@")[0])


def by_file(entries: Sequence[Entry], split_within_files: bool) -> list[Entry]:
    """The parts of files, whose group is the file where the table names none.

    ValueError where the parts of one file are in several splits or groups: they look alike.
    """
    known: dict[str, Entry] = {}
    for entry in entries if not split_within_files else ():
        first = known.setdefault(file_of(entry), entry)
        for what in ("split", "group"):
            if getattr(first, what) != getattr(entry, what):
                raise ValueError(
                    f"{entry.where}: {file_of(entry)} has the {what} {getattr(entry, what)!r}, but "
                    f"{getattr(first, what)!r} in {first.where}: parts of one file look alike, and make the figures "
                    "too high; --split_within_files takes the table as it is"
                )
    return [replace(entry, group=entry.group or file_of(entry)) for entry in entries]


def with_background(entries: Sequence[Entry], place: Place, name: str, multi_label: bool) -> list[Entry]:
    """The entries, and the parts of their files that no span covers, as a class of this name. Prints how many.

    A part has the split of the span before it (the first one that of the span after it).
    """
    files: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        if entry.path is not None:
            files[entry.path].append(entry)
    found, total_sec, short = [], 0.0, 0
    for path, spans in files.items():
        try:
            with place.here(path) as file:
                length = probe(file).duration_sec
        except Unreachable:
            raise
        except (ValueError, OSError):
            continue  # prepare says what is wrong with it
        for before, start, end in gaps(spans, length):
            if end - start < SHORTEST_SEC:
                short += 1
                continue
            own = replace(before, id=path, label=None if multi_label else name, where=f"{before.where} (background)",
                          labels=(name,) if multi_label else None)  # fmt: skip
            found.append(part(own, start, end))
            total_sec += end - start
    left_out = f"; {short} shorter than {SHORTEST_SEC:g} s are left out" if short else ""
    print(f"background: {len(found)} parts without a span, {total_sec:.0f} s in all, are of class {name!r}{left_out}")
    return [*entries, *found]


def gaps(spans: Sequence[Entry], length_sec: float) -> list[tuple[Entry, float, float]]:
    """(the span before it, start, end) of each part of a file that no span covers, rounded to a microsecond."""
    found, covered = [], 0.0
    before = min(spans, key=lambda span: span.start_sec or 0.0)
    for span in sorted(spans, key=lambda span: span.start_sec or 0.0):
        start, end = min(span.start_sec or 0.0, length_sec), min(span.end_sec or 0.0, length_sec)
        if start > covered + CLOSE_SEC:
            found.append((before, round(covered, 6), round(start, 6)))
        if end > covered:
            covered, before = end, span
    if length_sec > covered + CLOSE_SEC:
        found.append((before, round(covered, 6), round(length_sec, 6)))
    return found
