"""The files below a folder: videos, tars, and how much else there is."""

import os
from collections import Counter
from pathlib import Path

from besnet.data.paths import read_json
from besnet.data.shards import VIDEO_MEMBERS

VIDEO_EXTENSIONS = {f".{extension}" for extension in VIDEO_MEMBERS}
SILENT = {"thumbs.db", "desktop.ini"}  # what systems leave behind; hidden files are the same


class Files:
    """What lies below a folder, all paths relative to it and in sorted order.

    Links to folders are followed, but no folder is visited twice. Hidden files and folders are passed over, and so are
    `out` and every folder that `besnet prepare` has written or is writing: its shards are no source.

    Attributes: `videos`, named like videos; `tars`; `others`, {extension: how many files have it}; `folders`;
    `prepared`, the folders passed over that are data sets of ours; `closed`, {folder that cannot be listed: why}.
    """

    def __init__(self, root: Path, out: Path | None = None) -> None:
        self.root = root
        self.videos: list[str] = []
        self.tars: list[str] = []
        self.others: Counter[str] = Counter()
        self.folders: set[str] = set()
        self.prepared: list[str] = []
        self.closed: dict[str, str] = {}
        seen = {os.path.realpath(out)} - {os.path.realpath(root)} if out else set()
        for at, folders, files in os.walk(root, onerror=self._cannot_list, followlinks=True):
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

    def _cannot_list(self, error: OSError) -> None:
        self.closed[str(error.filename)] = error.strerror or str(error)

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

    def _add(self, path: str) -> None:
        extension = os.path.splitext(path)[1].lower()
        if extension in VIDEO_EXTENSIONS:
            self.videos.append(path)
        elif extension == ".tar":
            self.tars.append(path)
        else:
            self.others[extension or "no extension"] += 1


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
