"""The files below a folder: videos, tars, and how much else there is."""

import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from besnet.data.shards import VIDEO_MEMBERS

VIDEO_ENDINGS = {f".{ending}" for ending in VIDEO_MEMBERS}
SILENT = {"thumbs.db", "desktop.ini"}  # what systems leave behind; hidden files are the same


class Files:
    """What lies below a folder, all paths relative to it and in sorted order.

    Links to folders are followed, but no folder is visited twice. Hidden files and folders are passed over, and so are
    `out` and every folder that `besnet prepare` has written or is writing: its shards are no source.

    Attributes: `videos`, named like videos; `tars`; `others`, {ending: how many files have it}; `folders`;
    `prepared`, the folders passed over that are data sets of ours.
    """

    def __init__(self, root: Path, out: Path | None = None) -> None:
        self.root = root
        self.videos: list[str] = []
        self.tars: list[str] = []
        self.others: Counter[str] = Counter()
        self.folders: set[str] = set()
        self.prepared: list[str] = []
        seen = {os.path.realpath(out)} - {os.path.realpath(root)} if out else set()
        for at, folders, files in os.walk(root, followlinks=True):
            real = os.path.realpath(at)
            relative = os.path.relpath(at, root)
            ours = _ours(at, folders, files)
            if real in seen or (ours and relative != "."):
                if real not in seen:
                    self.prepared.append(relative)
                self.folders.discard(relative)
                folders.clear()
                continue
            seen.add(real)
            folders[:] = sorted(name for name in folders if name[0] != "." and not (ours and name == "shards"))
            self.folders.update(os.path.normpath(os.path.join(relative, name)) for name in folders)
            for name in sorted(files):
                if name[0] != "." and name.lower() not in SILENT:
                    self._add(os.path.normpath(os.path.join(relative, name)))

    def _add(self, path: str) -> None:
        ending = os.path.splitext(path)[1].lower()
        if ending in VIDEO_ENDINGS:
            self.videos.append(path)
        elif ending == ".tar":
            self.tars.append(path)
        else:
            self.others[ending or "no ending"] += 1


def videos_below(folder: Path) -> Iterator[str]:
    """Paths of the files below a folder that are named like videos, relative to it, in sorted order."""
    return iter(Files(folder).videos)


def _ours(at: str, folders: list[str], files: list[str]) -> bool:
    """Whether `besnet prepare` has written here, or is writing."""
    if ".work" in folders:
        return True
    if "dataset.json" not in files:
        return False
    try:
        about = json.loads(Path(at, "dataset.json").read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(about, dict) and {"format", "passport", "rows"} <= about.keys()
