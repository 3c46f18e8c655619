"""The index of a data set: one row a video, in a folder written by `besnet prepare`.

    dataset.json     name, classes, passport, root of the videos, splits, shards
    manifest.jsonl   one JSON object a line, one video a row
    manifest.npy     the columns needed for every video at once, and where each line begins

The columns are memory-mapped and rows are read from the file when they are asked for: worker processes share the pages
of both, and none holds rows of its own.
"""

import hashlib
import json
import os
import weakref
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from besnet.data.cache import check_address, fetch
from besnet.data.places import check_size, inside
from besnet.video.reader import Backend, Reader, open_video

FORMAT = 1
State = Literal["ready", "missing", "broken"]
STATES: tuple[State, ...] = ("ready", "missing", "broken")
SPLITS = ("train", "val", "test")

# begin: where the row's line starts in manifest.jsonl.
COLUMNS = np.dtype([("begin", "<i8"), ("label", "<i4"), ("split", "i1"), ("state", "i1"), ("duration_sec", "<f4")])


@dataclass(frozen=True)
class Row:
    """One video: what it shows, where its bytes are, and the facts measured when it was prepared."""

    id: str
    label: int  # index into the classes; -1 without a label
    split: str
    state: State
    why: str = ""  # why it is missing or broken; of a ready video, what was left out of it
    path: str = ""  # relative to the manifest's root: a video, or the shard that holds it
    offset: int = 0  # first byte of the video in the shard
    size: int = 0  # bytes; of a whole file too
    frames: int = 0
    fps: float = 0.0
    duration_sec: float = 0.0
    width: int = 0  # upright
    height: int = 0
    hash: str = ""  # of the bytes that are read, see hash_bytes
    source_hash: str = ""  # of the file that was prepared
    in_shard: bool = False


@dataclass(frozen=True)
class Passport:
    """What data a result stands for: `source` hashes ids, labels, splits, states and the bytes of the original videos,
    `encode` how they were re-encoded and the outcome. Two results compare only where `source` is equal."""

    source: str
    encode: str


@dataclass(frozen=True)
class Shard:
    """One tar file of videos."""

    path: str
    count: int
    size: int
    hash: str


@dataclass(frozen=True)
class DataSet:
    """What dataset.json holds."""

    name: str
    classes: list[str]
    passport: Passport
    root: str  # where the rows' paths begin: absolute, an address that fsspec opens, or relative to the folder
    rows: int
    size: int  # bytes of manifest.jsonl, so that a half-copied folder is noticed
    encode: dict[str, Any] = field(default_factory=dict)
    shards: list[Shard] = field(default_factory=list)
    format: int = FORMAT


def hash_bytes(data: bytes | memoryview) -> str:
    """128 bits of BLAKE2b as hexadecimal digits: the hash of every video, row and shard here."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


class Manifest:
    """All videos of a prepared data set, by row number."""

    def __init__(self, folder: Path, about: DataSet, columns: np.ndarray, lines: int) -> None:
        self.folder = folder
        self.about = about
        self.columns = columns
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
            columns = np.load(columns_file, mmap_mode="r", allow_pickle=False)
            fits = os.fstat(lines).st_size == about.size and columns.shape == (about.rows,) and columns.dtype == COLUMNS
        except (OSError, ValueError) as error:
            if lines >= 0:
                os.close(lines)
            raise ValueError(f"{folder}: the manifest cannot be read ({error}): run `besnet prepare` again") from None
        if not fits:
            os.close(lines)
            raise ValueError(f"{lines_file}: does not fit dataset.json: copy the folder again or prepare it again")
        return cls(folder, about, columns, lines)

    def __reduce__(self) -> tuple[Any, ...]:
        # A worker process opens the files again: nothing is copied.
        return Manifest.load, (self.folder,)

    @property
    def name(self) -> str:
        return self.about.name

    @property
    def classes(self) -> list[str]:
        return self.about.classes

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
        """int64 (rows,), -1 without a label."""
        return self.columns["label"].astype(np.int64)

    @cached_property
    def durations_sec(self) -> np.ndarray:
        """float64 (rows,), 0 where a video is not ready."""
        return self.columns["duration_sec"].astype(np.float64)

    def __len__(self) -> int:
        return len(self.columns)

    def __getitem__(self, row: int) -> Row:
        if not -len(self) <= row < len(self):
            raise IndexError(row)
        row = int(row) % len(self)
        begin = int(self.columns["begin"][row])
        end = int(self.columns["begin"][row + 1]) if row + 1 < len(self) else self.about.size
        try:
            return Row(**json.loads(os.pread(self._lines, end - begin, begin)))
        except (json.JSONDecodeError, TypeError, UnicodeDecodeError) as error:
            raise ValueError(f"{self.folder / 'manifest.jsonl'}: line {row + 1} is damaged ({error})") from None

    def select(self, split: str, state: State | None = "ready") -> np.ndarray:
        """Row numbers of a split, ascending: int64. `state` None takes the missing and broken too."""
        if split not in SPLITS:
            raise ValueError(f"{self.name}: no split {split!r}; there are {', '.join(SPLITS)}")
        chosen = self.columns["split"] == SPLITS.index(split)
        if state is not None:
            chosen &= self.columns["state"] == STATES.index(state)
        return np.flatnonzero(chosen)

    def open(self, row: int, backend: Backend = "pyav") -> Reader:
        """Open a video for reading. VideoError (a ValueError) or OSError where that fails."""
        facts = self[row]
        if facts.state != "ready":
            raise ValueError(f"{facts.id}: {facts.state}: {facts.why}")
        path = self.local(facts)
        if not facts.in_shard:
            check_size(path, facts.size)
            return open_video(Path(path), backend, name=path)
        return open_video(read_range(path, facts.offset, facts.size), backend, name=facts.id)

    def local(self, facts: Row) -> str:
        """The file on this machine that holds a row's video; a remote shard is fetched into the cache."""
        path = inside(self.root, facts.path, facts.id)
        if "://" not in self.root:
            return path
        shard = self._shards.get(facts.path)
        if shard is None:
            raise ValueError(f"{facts.id}: {self.root} is remote, and only shards listed in dataset.json are fetched")
        return str(fetch(path, shard.size, shard.hash))

    @cached_property
    def _shards(self) -> dict[str, Shard]:
        return {shard.path: shard for shard in self.about.shards}


def read_range(path: str, offset: int, size: int) -> bytes:
    """`size` bytes of a file from `offset`. ValueError where there are fewer."""
    with open(path, "rb", buffering=0) as file:
        data = os.pread(file.fileno(), size, offset)
    if len(data) != size:
        raise ValueError(f"{path}: ends before byte {offset + size}: run `besnet verify`")
    return data


def read_dataset(folder: Path) -> DataSet:
    """dataset.json of a folder. ValueError with a hint where there is none."""
    path = folder / "dataset.json"
    try:
        raw = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise ValueError(f"{folder}: no prepared data here (dataset.json is missing): run `besnet prepare`") from None
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: cannot be read: {error}") from None
    if not isinstance(raw, dict) or raw.get("format") != FORMAT:
        raise ValueError(f"{path}: not of format {FORMAT}: prepare the data again with this version")
    known = {f.name for f in fields(DataSet)}
    try:
        raw = {key: value for key, value in raw.items() if key in known}
        raw["passport"] = Passport(**raw["passport"])
        raw["shards"] = [Shard(**shard) for shard in raw["shards"]]
        return DataSet(**raw)
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path}: a field is missing or unknown: {error}") from None
