"""Where the videos of a source lie, and the files there: videos, tars, and how much else there is."""

import os
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Protocol

from besnet.data.paths import read_json
from besnet.data.shards import VIDEO_MEMBERS

VIDEO_EXTENSIONS = {f".{extension}" for extension in VIDEO_MEMBERS}
SILENT = {"thumbs.db", "desktop.ini"}  # what systems leave behind; hidden files are the same


class Place(Protocol):
    """Where the videos of a source lie: a folder here, or a place in object storage.

    root: its full path or address. name: its last part.
    """

    root: str
    name: str

    def absent(self, path: str) -> str:
        """Why there is no such file below it; "" where there is one."""

    def below(self, paths: Sequence[str]) -> "tuple[Place, list[str]]":
        """The paths relative to it, or to the place that they have in common where some of them are whole."""

    def here(self, path: str) -> AbstractContextManager[Path]:
        """A file below it, on this machine."""

    def files(self, out: Path | None = None) -> "Files":
        """What lies below it. ValueError where that cannot be listed."""


class Files:
    """What lies below a place, all paths relative to it: a folder's files, then its folders, by name.

    Hidden files and folders are passed over, and so is every folder that `besnet prepare` has written or is writing:
    its shards are no source.

    Attributes: `given`, the place as the user wrote it; `videos`, named like videos; `tars`; `others`, {extension: how
    many files have it}; `folders`; `prepared`, the folders passed over that are data sets of ours; `closed`, {folder
    that cannot be listed: why}.
    """

    def __init__(self, place: Place, given: str) -> None:
        self.place, self.given = place, given
        self.videos: list[str] = []
        self.tars: list[str] = []
        self.others: Counter[str] = Counter()
        self.folders: set[str] = set()
        self.prepared: list[str] = []
        self.closed: dict[str, str] = {}

    def check_open(self) -> None:
        """ValueError naming the folders that cannot be listed: what lies in them would be left out."""
        if self.closed:
            named = ", ".join(f"{folder} ({why})" for folder, why in list(self.closed.items())[:5])
            more = f" and {len(self.closed) - 5} more" if len(self.closed) > 5 else ""
            raise ValueError(f"folders that cannot be listed: {named}{more}: make them readable or move them elsewhere")

    def not_videos(self) -> str:
        """In words, how many files are not named like videos; "" where all are."""
        count = self.others.total()
        extensions = ", ".join(f"{extension} {many}" for extension, many in sorted(self.others.items()))
        return f"{count} file{'s' * (count > 1)} not named like videos ({extensions})" if count else ""

    def add(self, path: str) -> None:
        """Count a file in, unless it is hidden or what systems leave behind."""
        name = path.rpartition("/")[2]
        if name[0] == "." or name.lower() in SILENT:
            return
        extension = os.path.splitext(path)[1].lower()
        if extension in VIDEO_EXTENSIONS:
            self.videos.append(path)
        elif extension == ".tar":
            self.tars.append(path)
        else:
            self.others[extension or "no extension"] += 1


class Folder:
    """A folder of this machine. Links to folders are followed, but no folder is visited twice."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.root, self.name = str(path.resolve()), path.resolve().name

    def absent(self, path: str) -> str:
        """Why there is no such file below it; "" where there is one."""
        try:
            os.lstat(os.path.join(self.root, path))
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return "no file"
        except OSError as error:
            return f"{error.strerror}:"
        return ""

    def below(self, paths: Sequence[str]) -> tuple[Place, list[str]]:
        """The paths relative to it, or to the folder that they have in common where some of them are absolute."""
        if not any(os.path.isabs(path) for path in paths):
            return self, list(paths)
        whole = [os.path.normpath(os.path.join(self.root, path)) for path in paths]
        common = os.path.commonpath([os.path.dirname(path) for path in whole])
        return Folder(Path(common)), [os.path.relpath(path, common) for path in whole]

    def here(self, path: str) -> AbstractContextManager[Path]:
        """A file below it."""
        return nullcontext(Path(self.root, path))

    def files(self, out: Path | None = None) -> Files:
        """What lies below it but for `out`. ValueError where a folder cannot be listed."""
        files = self.walked(out)
        files.check_open()
        return files

    def walked(self, out: Path | None = None) -> Files:
        """The same; folders that cannot be listed are in `closed`."""
        files, root = Files(self, str(self.path)), self.path
        seen = {os.path.realpath(out)} - {os.path.realpath(root)} if out else set()

        def cannot_list(error: OSError) -> None:
            files.closed[str(error.filename)] = error.strerror or str(error)

        for at, folders, names in os.walk(root, onerror=cannot_list, followlinks=True):
            real = os.path.realpath(at)
            relative = os.path.relpath(at, root)
            ours = _ours(at, folders, names)
            if real in seen or (ours and relative != "."):
                if real not in seen:
                    files.prepared.append(relative)
                files.folders.discard(relative)
                folders.clear()
                continue
            seen.add(real)
            folders[:] = sorted(name for name in folders if name[0] != "." and not (ours and name == "shards"))
            files.folders.update(os.path.normpath(os.path.join(relative, name)) for name in folders)
            for name in sorted(names):
                files.add(os.path.normpath(os.path.join(relative, name)))
        return files


def _ours(at: str, folders: list[str], files: list[str]) -> bool:
    """Whether `besnet prepare` has written here, or is writing."""
    if ".work" in folders:
        return True
    if "dataset.json" not in files:
        return False
    try:
        about = read_json(Path(at, "dataset.json"))
    except ValueError:
        return False
    return isinstance(about, dict) and {"format", "passport", "rows"} <= about.keys()
