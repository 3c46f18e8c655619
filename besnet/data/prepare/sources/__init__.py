"""The layouts that data sets come in, one a file, and telling them apart."""

from pathlib import Path

from besnet.data.prepare.listing import Listing
from besnet.data.prepare.sources.folders import list_folders
from besnet.data.prepare.sources.kinetics import list_kinetics
from besnet.data.prepare.sources.something import list_something
from besnet.data.prepare.sources.table import list_table, read_rows
from besnet.data.prepare.sources.ucf_hmdb import list_hmdb51, list_ucf101
from besnet.data.prepare.sources.webdataset import list_webdataset


def list_source(source: Path, videos: Path | None, held_out: dict[str, str], official_split: int) -> Listing:
    """The videos that a source lists. ValueError where it is of no known layout."""
    if not source.exists():
        raise ValueError(f"{source}: no such file or folder")
    if source.is_file():
        names, _ = read_rows(source)
        if "youtube_id" not in names:
            return list_table(source, videos, held_out)
        _refuse(held_out, source)
        return list_kinetics([source], videos or source.parent, _kinetics_name(source))
    _refuse(held_out, source)
    if (source / "classInd.txt").exists():
        return list_ucf101(source, videos or source, official_split)
    if any(source.glob("*_test_split?.txt")):
        return list_hmdb51(source, videos or source, official_split)
    if any(source.glob("*labels.json")):
        return list_something(source, videos or source)
    annotations = [file for file in sorted(source.glob("*.csv")) if "youtube_id" in read_rows(file)[0]]
    if annotations:
        return list_kinetics(annotations, videos or source, source.resolve().name)
    if videos is not None:
        raise ValueError(f"{source}: no annotations of a known kind in it, and only with such does --videos go")
    if any(source.rglob("*.tar")):
        return list_webdataset(source)
    return list_folders(source)


def _refuse(held_out: dict[str, str], source: Path) -> None:
    if held_out:
        raise ValueError(f"--{next(iter(held_out))}: {source} has no columns of its own to hold videos out by")


def _kinetics_name(source: Path) -> str:
    return source.stem if source.stem.lower().startswith("kinetics") else source.resolve().parent.name
