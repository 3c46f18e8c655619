"""Writes the index of a data set: whole or not at all, the same rows as the same bytes."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np

from besnet.data.dataset import DataSet, Passport, Shard, read_dataset
from besnet.data.manifest import COLUMNS, Manifest
from besnet.data.row import SPLITS, STATES, Row, parse
from besnet.files import replacing
from besnet.formats import stamp


def write_manifest(
    folder: Path,
    name: str,
    classes: Sequence[str],
    root: str,
    rows: Iterable[Row],
    encode: dict[str, Any] | None = None,
    shards: Sequence[Shard] = (),
    multi_label: bool = False,
) -> Manifest:
    """Write the three files, each whole or not at all, dataset.json last; then load them.

    The same rows give the same bytes.
    """
    summary = Summary(classes, encode or {})
    with replacing(folder / "manifest.jsonl") as file:
        for row in rows:
            compact = {key: value for key, value in vars(row).items() if value != DEFAULTS[key]}
            line = TO_JSON(compact).encode() + b"\n"
            file.write(line)
            summary.add(row, len(line))
    write_columns(folder, summary)
    rows_count, size = len(summary.columns), summary.size
    about = DataSet(name, list(classes), summary.passport, root, rows_count, size, encode or {}, multi_label,
                    list(shards))  # fmt: skip
    with replacing(folder / "dataset.json") as file:
        file.write(json.dumps(stamp("dataset") | asdict(about), indent=1).encode() + b"\n")
    return Manifest.load(folder)


class Summary:
    """What follows from the rows of a manifest, taken one after the other: its passport and its columns."""

    def __init__(self, classes: Sequence[str], encode: dict[str, Any]) -> None:
        self._source = hashlib.blake2b(json.dumps(list(classes)).encode(), digest_size=16)
        self._outcome = hashlib.blake2b(json.dumps(encode, sort_keys=True).encode(), digest_size=16)
        self.columns: list[tuple[int, int, int, int, float]] = []
        self.size = 0  # bytes of the lines

    def add(self, row: Row, line_size: int) -> None:
        split, state = SPLITS.index(row.split), STATES.index(row.state)
        self.columns.append((self.size, row.label, split, state, row.duration_sec))
        self.size += line_size
        facts: list[Any] = [row.id, row.label, row.split, row.state, row.source_hash]
        # without groups and sets of labels the passport is that of the releases that knew none
        if row.group or row.labels is not None:
            facts.append(row.group)
        if row.labels is not None:
            facts.append(row.labels)
        self._source.update(TO_JSON(facts).encode())
        self._outcome.update(row.hash.encode())

    @property
    def passport(self) -> Passport:
        return Passport(self._source.hexdigest(), self._outcome.hexdigest())


def summarise(folder: Path) -> Summary:
    """What follows from the rows that are in a folder. ValueError or OSError where they cannot be read."""
    about = read_dataset(folder)
    summary = Summary(about.classes, about.encode)
    path = folder / "manifest.jsonl"
    with open(path, "rb") as file:
        for n, line in enumerate(file):
            try:
                summary.add(parse(line, len(about.classes)), len(line))
            except ValueError as error:
                raise ValueError(f"{path}: line {n + 1}: {error}") from None
    if summary.passport != about.passport:
        raise ValueError(f"{path}: not the rows that the passport in dataset.json was made of")
    return summary


def load_checked(folder: Path) -> Manifest:
    """Open a prepared folder whose rows are those of its passport, and its columns those of its rows.

    Once before a job: a few seconds for the largest data sets. ValueError where something was changed.
    """
    manifest = Manifest.load(folder)
    columns = np.array(summarise(manifest.folder).columns, dtype=COLUMNS)
    if not np.array_equal(manifest.columns, columns):
        raise ValueError(f"{folder / 'manifest.npy'}: not the columns of the rows in manifest.jsonl: prepare it again")
    return manifest


def write_columns(folder: Path, summary: Summary) -> None:
    """Write manifest.npy."""
    with replacing(folder / "manifest.npy") as file:
        np.save(file, np.array(summary.columns, dtype=COLUMNS), allow_pickle=False)


TO_JSON = json.JSONEncoder().encode
DEFAULTS = {f.name: f.default for f in fields(Row)}
