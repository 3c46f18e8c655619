"""A place in object storage that videos are read from: what lies there, and its lists on this machine."""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatch
from functools import cached_property
from pathlib import Path

from besnet.data.fetching import Tally, download_file
from besnet.data.file_systems import Held
from besnet.data.paths import MAX_LIST_BYTES
from besnet.data.prepare.copies import own_folder
from besnet.data.prepare.files import Files, Place
from besnet.data.prepare.object_storage import ObjectStorage, address_of
from besnet.data.remote_transfer import RemoteFile

LISTS = ("*.csv", "*.txt", "*labels.json", "*train.json", "*validation.json", "*test.json")  # of the sources we know
OURS = {"dataset.json", "manifest.jsonl", "manifest.npy"}


class RemoteFolder:
    """A folder by its address. OSError where it cannot be listed, ValueError where nothing lies there."""

    def __init__(self, address: str) -> None:
        self.storage = ObjectStorage(address)
        self.root = self.storage.address
        self.name = self.root.rpartition("/")[2]

    @cached_property
    def objects(self) -> dict[str, Held]:
        """All objects below by their names, in the order in which a folder of this machine is walked."""
        if self.root.startswith("http"):
            raise ValueError(
                f"{self.root}: no such file or folder: a web server lists no files; s3://, gs:// and the like do"
            )
        found = self.storage.held()
        if not found:
            raise ValueError(f"{self.root}: no such file or folder")
        return {name: found[name] for name in sorted(found, key=place_in_walk)}

    @property
    def is_file(self) -> bool:
        """Whether it is the address of one file."""
        return "" in self.objects

    def inventory(self, out: Path | None) -> str:
        """A hash of all that lies there but for `out`, which grows."""
        written = f"{address_of(out) if out else ''}/"
        facts = [
            (name, held.size, held.tag)
            for name, held in self.objects.items()
            if not f"{self.root}/{name}".startswith(written)
        ]
        return hashlib.blake2b(json.dumps([self.root, facts]).encode(), digest_size=16).hexdigest()

    def absent(self, path: str) -> str:
        """Why there is no such file below it; "" where there is one."""
        return "" if path in self.objects else "no file"

    def below(self, paths: Sequence[str]) -> tuple[Place, list[str]]:
        """The paths relative to it; whole addresses are below it, or ValueError."""
        return self, [self._relative(path) for path in paths]

    def _relative(self, path: str) -> str:
        whole = path if "://" in path else address_of(Path(path)) or path
        if whole.startswith(self.root + "/"):
            return whole[len(self.root) + 1 :]
        if "://" in path or os.path.isabs(path):
            raise ValueError(f"{path} leads outside {self.root}; name the folder above it with --videos")
        return path

    @contextmanager
    def here(self, path: str) -> Iterator[Path]:
        """A file below it, on this machine as long as the `with` lasts. Unreachable where it cannot be had."""
        with own_folder() as folder:
            yield self._downloaded(path, folder / os.path.basename(path))

    @contextmanager
    def lists(self) -> Iterator[Path]:
        """The list at this address, or a folder with those right below it; its name is that of the place."""
        with own_folder() as folder:
            here = folder / self.root.partition("://")[2].strip("/")
            if self.is_file:
                here.parent.mkdir(parents=True)
                yield self._downloaded("", here)
                return
            here.mkdir(parents=True)
            for name, held in self.objects.items():
                if any(fnmatch(name, pattern) for pattern in LISTS) and "/" not in name and held.size <= MAX_LIST_BYTES:
                    self._downloaded(name, here / name)
            yield here

    def _downloaded(self, name: str, to: Path) -> Path:
        file = RemoteFile(self.root, name, "the file that was listed")
        download_file(file, to, self.objects[name].size, lambda _: True, Tally())
        return to

    def files(self, out: Path | None = None) -> Files:
        """What lies below it but for `out`."""
        files = Files(self, self.root)
        folders: set[str] = set()
        for name in self.objects:
            parts = name.split("/")[:-1]
            folders.update("/".join(parts[:depth]) for depth in range(1, len(parts) + 1))
        written = (address_of(out) if out else None) or ""
        skipped = [
            folder for folder in sorted(folders)
            if f"{self.root}/{folder}" == written
            or f"{folder}/.work" in folders or all(f"{folder}/{name}" in self.objects for name in OURS)
        ]  # fmt: skip
        files.prepared = [folder for folder in skipped if f"{self.root}/{folder}" != written]
        own = self.root == written or ".work" in folders or self.objects.keys() >= OURS
        ignored = tuple(f"{folder}/" for folder in [*skipped, *(["shards"] if own else [])])
        for name in self.objects:
            if name and not name.startswith(ignored) and "/." not in f"/{name}":
                files.add(name)
        files.folders = {
            folder for folder in folders if not f"{folder}/".startswith(ignored) and "/." not in f"/{folder}"
        }
        return files


def place_in_walk(name: str) -> list[tuple[bool, str]]:
    """Sorts files as a walk comes to them: a folder's files, then its folders, by name."""
    *folders, file = name.split("/")
    return [*((True, folder) for folder in folders), (False, file)]
