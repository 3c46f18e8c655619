"""The layouts that data sets come in, one a file, and telling them apart."""

from dataclasses import replace
from pathlib import Path

from besnet.data.prepare.files import Files, Folder, Place
from besnet.data.prepare.listing import Listing
from besnet.data.prepare.object_storage import address_of
from besnet.data.prepare.remote_folder import RemoteFolder
from besnet.data.prepare.sources.folders import list_folders
from besnet.data.prepare.sources.kinetics import annotations_in, list_kinetics
from besnet.data.prepare.sources.plain_list import is_plain_list, list_plain
from besnet.data.prepare.sources.rows import columns
from besnet.data.prepare.sources.something import list_something
from besnet.data.prepare.sources.table import TableRules, list_table
from besnet.data.prepare.sources.ucf_hmdb import list_hmdb51, list_ucf101
from besnet.data.prepare.sources.webdataset import list_webdataset


def list_source(
    source: Path,
    videos: Path | None,
    held_out: dict[str, str],
    official_split: int,
    out: Path | None = None,
    rules: TableRules = TableRules(),  # noqa: B008
    kept: Listing | None = None,
) -> Listing:
    """The videos that a source lists, none of them in `out`. ValueError where it is of no known layout.

    kept: an earlier one, returned where source and videos lie in object storage and nothing there has changed.
    """
    address = address_of(source)
    if address is None:
        if not source.exists():
            raise ValueError(f"{source}: no such file or folder")
        place = place_of(videos) if videos else Folder(source if source.is_dir() else source.parent)
        return _known(_listed(source, place, bool(videos), held_out, official_split, out, rules), place)
    remote = RemoteFolder(address)
    inside = RemoteFolder(address.rpartition("/")[0]) if remote.is_file else remote
    place = place_of(videos) if videos else inside
    inventory = f"{remote.inventory(out)} {place.inventory(out)}" if isinstance(place, RemoteFolder) else ""
    if kept and inventory and kept.inventory == inventory:
        return kept
    with remote.lists() as lists:  # their copies; what is said of them is said of the address
        try:
            found = _listed(lists, place, bool(videos), held_out, official_split, out, rules)
        except ValueError as error:
            raise ValueError(str(error).replace(str(lists), address)) from None
    entries = [replace(entry, where=entry.where.replace(str(lists), address)) for entry in found.entries]
    return _known(replace(found, entries=entries, inventory=inventory), place)


def _known(listing: Listing, place: Place) -> Listing:
    """The listing with what is known of its files in object storage: later they must be the same."""
    if not isinstance(place, RemoteFolder):
        return listing
    paths = {entry.path for entry in listing.entries if entry.path is not None}
    return replace(listing, objects={path: (place.objects[path].size, place.objects[path].tag) for path in paths})


def place_of(path: Path) -> Place:
    """A folder of videos, here or in object storage. ValueError where there is none."""
    address = address_of(path)
    if address is None and not path.is_dir():
        raise ValueError(f"{path}: no such folder of videos")
    return Folder(path) if address is None else RemoteFolder(address)


def _listed(
    source: Path,
    place: Place,
    given: bool,
    held_out: dict[str, str],
    official_split: int,
    out: Path | None,
    rules: TableRules,
) -> Listing:
    """The same for a source on this machine. place: of the videos; given: by --videos."""
    by_column = held_out | rules.asked
    sets = {"multi_label": "true"} if rules.multi_label else {}
    if not source.is_dir():
        if "youtube_id" not in columns(source) and source.suffix.lower() != ".json":
            if not is_plain_list(source):
                return list_table(source, place, held_out, rules)
            _refuse(by_column, source)
            return list_plain([source], place, rules.multi_label)
        _refuse(by_column | sets, source)
        return list_kinetics([source], place.files(out), _kinetics_name(source))
    files = place.files(out)
    published = _list_published(source, files, official_split)
    if published is None and (table := _table_in(source)):
        return list_table(table, place, held_out, rules)
    _refuse(by_column, source)
    if published is not None:
        _refuse(sets, source)
        return published
    lists = [file for file in sorted([*source.glob("*.csv"), *source.glob("*.txt")]) if is_plain_list(file)]
    if lists:
        return list_plain(lists, place, rules.multi_label)
    _refuse(sets, source)
    if given:
        raise ValueError(f"{source}: no annotations of a known kind in it, and only with such does --videos go")
    if files.tars and files.videos:
        raise ValueError(
            f"{source}: holds tar files ({files.tars[0]}) and videos ({files.videos[0]}): "
            "give the folder of the one kind, or move the other kind elsewhere"
        )
    return list_webdataset(files) if files.tars else list_folders(files)


def _list_published(source: Path, files: Files, official_split: int) -> Listing | None:
    """The videos that a data set's own lists name; None where a folder holds none of these."""
    if (source / "classInd.txt").exists():
        return list_ucf101(source, files, official_split)
    if any(source.glob("*_test_split?.txt")):
        return list_hmdb51(source, files, official_split)
    if any(source.glob("*labels.json")):
        return list_something(source, files)
    if annotations := annotations_in(source):
        return list_kinetics(annotations, files, source.resolve().name)
    return None


def _table_in(folder: Path) -> Path | None:
    """The one table with label,path that a folder holds. ValueError where there are several."""
    tables = [file for file in sorted(folder.glob("*.csv")) if {"label", "path"} <= set(columns(file))]
    if len(tables) > 1:
        raise ValueError(f"{folder}: holds the tables {', '.join(file.name for file in tables)}: name the one")
    return tables[0] if tables else None


def _refuse(asked: dict[str, str], source: Path) -> None:
    if asked:
        raise ValueError(f"--{next(iter(asked))}: {source} has no columns of its own to tell videos by: give a table")


def _kinetics_name(source: Path) -> str:
    return source.stem if source.stem.lower().startswith("kinetics") else source.resolve().parent.name
