"""Writes the index of a data set: whole or not at all, the same rows as the same bytes."""

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np

from besnet.data.manifest import COLUMNS, SPLITS, STATES, DataSet, Manifest, Passport, Row, Shard


def write_manifest(
    folder: Path,
    name: str,
    classes: Sequence[str],
    root: str,
    rows: Iterable[Row],
    encode: dict[str, Any] | None = None,
    shards: Sequence[Shard] = (),
) -> Manifest:
    """Write the three files, each whole or not at all, dataset.json last; then load them.

    The same rows give the same bytes.
    """
    columns: list[tuple[int, int, int, int, float]] = []
    source, begin = hashlib.blake2b(digest_size=16), 0
    source.update(json.dumps(list(classes)).encode())
    outcome = hashlib.blake2b(json.dumps(encode or {}, sort_keys=True).encode(), digest_size=16)
    to_json = json.JSONEncoder().encode
    with Replacing(folder / "manifest.jsonl") as file:
        for row in rows:
            compact = {key: value for key, value in vars(row).items() if value != DEFAULTS[key]}
            line = to_json(compact).encode() + b"\n"
            file.write(line)
            columns.append((begin, row.label, SPLITS.index(row.split), STATES.index(row.state), row.duration_sec))
            begin += len(line)
            source.update(to_json([row.id, row.label, row.split, row.state, row.source_hash]).encode())
            outcome.update(row.hash.encode())
    with Replacing(folder / "manifest.npy") as file:
        np.save(file, np.array(columns, dtype=COLUMNS), allow_pickle=False)
    passport = Passport(source.hexdigest(), outcome.hexdigest())
    about = DataSet(name, list(classes), passport, root, len(columns), begin, encode or {}, list(shards))
    with Replacing(folder / "dataset.json") as file:
        file.write(json.dumps(asdict(about), indent=1).encode() + b"\n")
    return Manifest.load(folder)


DEFAULTS = {f.name: f.default for f in fields(Row)}


class Replacing:
    """A file that takes its name only when it is complete and on the disk."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.partial = path.with_name(path.name + ".partial")

    def __enter__(self) -> Any:
        self.file = open(self.partial, "wb")
        return self.file

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self.file:
            if kind is None:
                self.file.flush()
                os.fsync(self.file.fileno())
        if kind is not None:
            self.partial.unlink(missing_ok=True)
            return
        os.replace(self.partial, self.path)
        descriptor = os.open(self.path.parent, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
