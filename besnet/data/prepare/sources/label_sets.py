"""Several labels per video in a table: `a;b` in the column label, or several rows of one file."""

import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from besnet.data.labels import canonical
from besnet.data.prepare.listing import Entry

MARK = ";"
Video = tuple[str, float | None, float | None]


def with_label_sets(entries: Sequence[Entry], multi_label: bool | None) -> list[Entry]:
    """The entries of a table: each with one label, or each video once with the set of all its labels.

    multi_label: whether a video has a set of labels; None: where labels hold a `;` whose parts also come in other
    sets. An empty label is the empty set. ValueError for an empty label where each video has one, for labels with a
    `;` that may be either, and for rows of one video that differ in split or group.
    """
    if multi_label is None:
        multi_label = _is_said(entries)
    if not multi_label:
        for entry in entries:
            if not entry.label:
                raise ValueError(f"{entry.where}: label is empty (with --multi_label that means: none of the classes)")
        return list(entries)
    merged: dict[Video, Entry] = {}
    for entry in entries:
        first = merged.setdefault(_video(entry), replace(entry, label=None, labels=()))
        for what in ("split", "group"):
            if getattr(first, what) != getattr(entry, what):
                raise ValueError(
                    f"{entry.where}: {entry.id!r} has the {what} {getattr(entry, what)!r}, but "
                    f"{getattr(first, what)!r} in {first.where}"
                )
        merged[_video(entry)] = replace(first, labels=tuple(dict.fromkeys([*first.all_labels, *_parts(entry)])))
    return list(merged.values())


def _is_said(entries: Sequence[Entry]) -> bool:
    """Whether `;` stands between labels. It may also be part of a class name, which is never cut on a guess."""
    marked = [entry for entry in entries if MARK in (entry.label or "")]
    if not marked:
        return False
    sets: dict[Video, set[str]] = defaultdict(set)
    for entry in entries:
        sets[_video(entry)] |= {canonical(part) for part in _parts(entry)}
    combinations: dict[str, set[frozenset[str]]] = defaultdict(set)
    for labels in sets.values():
        for label in labels:
            combinations[label].add(frozenset(labels))
    parts = {canonical(part) for entry in marked for part in _parts(entry)}
    example = f"{marked[0].where}: {marked[0].label!r}"
    if all(entry.label for entry in entries) and all(len(combinations[part]) == 1 for part in parts):
        raise ValueError(
            f"{example} may be one class or several labels of a video: its parts come in no other combination; say "
            "--multi_label, or --multi_label=false"
        )
    print(
        f"several labels per video: {len(marked)} labels hold {MARK!r} (the first: {example}); with "
        "--multi_label=false these are names of classes"
    )
    return True


def _parts(entry: Entry) -> list[str]:
    return [part.strip() for part in (entry.label or "").split(MARK) if part.strip()]


def _video(entry: Entry) -> Video:
    return os.path.normpath(entry.path or ""), entry.start_sec, entry.end_sec
