"""dataset.json: what a prepared data set is, but for its rows."""

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any

from besnet.data.crop import Whole
from besnet.reading import read_json
from besnet.schema import Count, Distinct, Hash, Length, Name, checked

ClassNames = Annotated[list[Name], Length(0, 100_000), Distinct()]


@dataclass(frozen=True)
class Passport:
    """The data behind a result: `source` hashes ids, labels, splits, groups, states and the bytes of the original
    videos, `encode` how they were re-encoded and the outcome. Two results compare only where `source` is equal."""

    source: Hash
    encode: Hash


@dataclass(frozen=True)
class Shard:
    """One tar file of videos."""

    path: str
    count: Count
    size: Count
    hash: Hash


@dataclass(frozen=True)
class Maps:
    """What a data set keeps instead of videos: maps (see besnet.data.maps) of the whole pictures, their long side
    resized to crop_size pixels, with a border to a square or (whole) borderless.

    network: the name of the 2D network. blocks: they are what its stem and so many blocks put out. weights: a hash of
    these layers' weights. mean, std: of the pixels.
    """

    network: str
    blocks: Count
    weights: Hash
    crop_size: Count
    whole: Whole
    mean: list[float]
    std: list[float]


@dataclass(frozen=True)
class DataSet:
    """What dataset.json holds."""

    name: Annotated[str, Length(0, 500)]
    classes: ClassNames
    passport: Passport
    root: str  # where the rows' paths begin: absolute, an address that fsspec opens, or relative to the folder
    rows: Count
    size: Count  # bytes of manifest.jsonl, so that a half-copied folder is noticed
    encode: dict[str, Any] = field(default_factory=dict)
    multi_label: bool = False  # a video has a set of labels
    shards: list[Shard] = field(default_factory=list)

    @property
    def maps(self) -> Maps | None:
        """What is kept instead of the videos; None where the videos are read."""
        return checked(self.encode["maps"], Maps, f"{self.name}: dataset.json: maps") if "maps" in self.encode else None


def read_dataset(folder: Path) -> DataSet:
    """dataset.json of a folder. ValueError with a hint where there is none."""
    path = folder / "dataset.json"
    try:
        raw = read_json(path, dict[str, Any], "dataset")
    except FileNotFoundError:
        raise ValueError(f"{folder}: no prepared data here (dataset.json is missing): run `besnet prepare`") from None
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error}") from None
    known = {f.name for f in fields(DataSet)}
    found: DataSet = checked({key: value for key, value in raw.items() if key in known}, DataSet, str(path))
    return found
