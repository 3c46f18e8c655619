"""The index of a data set: one row a video, in a folder written by `besnet prepare`.

    dataset.json     name, classes, passport, root of the videos, splits, shards
    manifest.jsonl   one JSON object a line, one video a row
    manifest.npy     the columns needed for every video at once, and where each line begins

The columns are memory-mapped and rows are read from the file when they are needed: worker processes share the pages
of both, and none holds rows of its own.
"""

import os
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from besnet.data.cache import check_address, discard, pinned, video_alone
from besnet.data.dataset import DataSet, Maps, Passport, Shard, read_dataset
from besnet.data.maps import MapsReader
from besnet.data.paths import check_size, hash_file, inside, read_range
from besnet.data.row import SPLITS, STATES, Row, State, hash_bytes, parse
from besnet.video.opening import open_video
from besnet.video.reader import Backend, Reader

# begin: where the row's line starts in manifest.jsonl.
COLUMNS = np.dtype([("begin", "<i8"), ("label", "<i4"), ("split", "i1"), ("state", "i1"), ("duration_sec", "<f4")])


class Manifest:
    """All videos of a prepared data set, by row number."""

    def __init__(self, folder: Path, about: DataSet, columns: np.ndarray, lines: int) -> None:
        self.folder = folder
        self.about = about
        self.columns = columns
        self._checked = np.zeros(len(columns), dtype=bool)  # rows whose bytes this process has hashed
        self._lines = lines  # file descriptor; positional reads may be shared by threads and forked processes
        weakref.finalize(self, os.close, lines)

    @classmethod
    def load(cls, folder: Path) -> "Manifest":
        """Open a folder written by `besnet prepare`. ValueError where it is not one, or not complete."""
        folder = Path(folder)
        about = read_dataset(folder)
        lines_file, columns_file = folder / "manifest.jsonl", folder / "manifest.npy"
        lines = -1
        try:
            lines = os.open(lines_file, os.O_RDONLY | os.O_CLOEXEC)
            columns = np.lib.format.open_memmap(columns_file, mode="r")
            fits = os.fstat(lines).st_size == about.size and columns.shape == (about.rows,) and columns.dtype == COLUMNS
        except (OSError, ValueError) as error:
            if lines >= 0:
                os.close(lines)
            raise ValueError(f"{folder}: the manifest cannot be read ({error}): run `besnet prepare` again") from None
        if not fits:
            os.close(lines)
            raise ValueError(f"{lines_file}: does not match dataset.json: copy the folder again or prepare it again")
        known = {"label": (-1, len(about.classes)), "split": (0, len(SPLITS)), "state": (0, len(STATES))}
        for name, (first, beyond) in known.items():
            if len(columns) and not first <= columns[name].min() <= columns[name].max() < beyond:
                os.close(lines)
                raise ValueError(f"{columns_file}: a {name} is out of range: copy the folder again or prepare it again")
        return cls(folder, about, columns, lines)

    def __reduce__(self) -> tuple[Any, ...]:  # a worker process opens the files again: nothing is copied
        return Manifest.load_same, (self.folder, self.passport)

    @classmethod
    def load_same(cls, folder: Path, passport: Passport) -> "Manifest":
        """Open a folder once more. ValueError where other data was prepared there meanwhile."""
        manifest = cls.load(folder)
        if manifest.passport != passport:
            raise ValueError(f"{folder}: prepared again while it was in use: start again")
        return manifest

    @property
    def name(self) -> str:
        return self.about.name

    @property
    def classes(self) -> list[str]:
        return self.about.classes

    @property
    def multi_label(self) -> bool:
        return self.about.multi_label

    @cached_property
    def maps(self) -> Maps | None:
        """What is kept instead of the videos; None where the videos are read."""
        return self.about.maps

    @property
    def passport(self) -> Passport:
        return self.about.passport

    @property
    def root(self) -> str:
        """Folder (or address) that the rows' paths begin at."""
        root = self.about.root
        if "://" in root or root.startswith("pipe:"):
            check_address(root)
            return root
        return str(self.folder / root)

    @cached_property
    def labels(self) -> np.ndarray:
        """int64 (rows,), -1 without a label; of sets see besnet.data.targets."""
        return self.columns["label"].astype(np.int64)

    def __len__(self) -> int:
        return len(self.columns)

    def __getitem__(self, row: int) -> Row:
        if not -len(self) <= row < len(self):
            raise IndexError(row)
        row = int(row) % len(self)
        begin = int(self.columns["begin"][row])
        end = int(self.columns["begin"][row + 1]) if row + 1 < len(self) else self.about.size
        try:
            if not 0 <= begin <= end <= self.about.size:
                raise ValueError("manifest.npy has no valid position for it")
            found = parse(os.pread(self._lines, end - begin, begin), len(self.classes))
            if (found.label, SPLITS.index(found.split), STATES.index(found.state)) != self._columns_of(row):
                raise ValueError("manifest.npy has another label, split or state")
            if (found.labels is not None) != self.multi_label:
                raise ValueError("one label, or a set of them: dataset.json says the other")
        except ValueError as error:
            raise ValueError(f"{self.folder / 'manifest.jsonl'}: line {row + 1}: {error}") from None
        return found

    def _columns_of(self, row: int) -> tuple[int, int, int]:
        columns = self.columns[row]
        return int(columns["label"]), int(columns["split"]), int(columns["state"])

    def select(self, split: str, state: State | None = "ready") -> np.ndarray:
        """Row numbers of a split, ascending: int64. `state` None takes the missing and broken too."""
        if split not in SPLITS:
            raise ValueError(f"{self.name}: no split {split!r}; there are {', '.join(SPLITS)}")
        chosen = self.columns["split"] == SPLITS.index(split)
        if state is not None:
            chosen &= self.columns["state"] == STATES.index(state)
        return np.flatnonzero(chosen)

    def groups(self, rows: np.ndarray) -> list[str]:
        """The group of each of these rows; a video without one is a group of its own, by its id."""
        facts = [self[int(row)] for row in rows]
        return [row.group or row.id for row in facts]

    def open(self, row: int, backend: Backend = "pyav", alone: bool = False) -> Reader | MapsReader:
        """Open a video, or its kept maps, for reading. VideoError (a ValueError) or OSError where that fails.

        The first time in a process, its bytes must have the row's hash. alone: of its shard few other videos are
        wanted, so that its bytes alone are fetched, not the shard.
        """
        facts = self[row]
        if facts.state != "ready":
            raise ValueError(f"{facts.id}: {facts.state}: {facts.why}")
        path, source = facts.path, self._alone(facts) if alone and self.is_remote else None
        for _ in range(2):
            if source is None:  # the second time: a copy in the cache is damaged or gone, and its shard fetched again
                with self.held(facts) as path:
                    source = self._source(path, row, facts)
        if source is None:
            raise ValueError(f"{facts.id}: {path} does not hold the prepared bytes: run `besnet verify`")
        name = facts.id if facts.in_shard else path
        return open_video(source, backend, name=name) if self.maps is None else MapsReader(source, name)

    def _source(self, path: str, row: int, facts: Row) -> Path | bytes | None:
        """What a row's reader opens; None for a damaged copy in the cache, now removed. ValueError for wrong bytes."""
        source: Path | bytes = Path(path)
        if facts.in_shard:
            try:
                source = read_range(path, facts.offset, facts.size)
            except FileNotFoundError:
                if self.is_remote:
                    return None
                raise
        else:
            check_size(path, facts.size)
        if not facts.hash or self._checked[row]:
            return source
        if (hash_bytes(source) if isinstance(source, bytes) else hash_file(Path(path))[0]) == facts.hash:
            self._checked[row] = True
            return source
        if self.is_remote and hash_file(Path(path))[0] != self._shards[facts.path].hash:
            discard(Path(path))
            return None
        raise ValueError(f"{facts.id}: {path} does not hold the prepared bytes: run `besnet verify`")

    @contextmanager
    def held(self, facts: Row) -> Iterator[str]:
        """The file on this machine that holds a row's video, which stays there inside the `with`: a remote shard is
        fetched into the cache. Unreachable where it cannot be had."""
        path = inside(self.root, facts.path, facts.id)
        if not self.is_remote:
            yield path
            return
        shard = self._shard_of(facts)
        with pinned(path, shard.size, shard.hash) as copy:
            yield str(copy)

    def _alone(self, facts: Row) -> Path | bytes | None:
        shard = self._shard_of(facts)
        return video_alone(inside(self.root, facts.path, facts.id), shard.size, shard.hash, facts)

    def _shard_of(self, facts: Row) -> Shard:
        shard = self._shards.get(facts.path)
        if shard is None:
            raise ValueError(f"{facts.id}: {self.root} is remote, and only shards listed in dataset.json are fetched")
        return shard

    @property
    def is_remote(self) -> bool:
        """Whether the videos are in shards that are fetched."""
        return "://" in self.root

    @cached_property
    def _shards(self) -> dict[str, Shard]:
        return {shard.path: shard for shard in self.about.shards}
