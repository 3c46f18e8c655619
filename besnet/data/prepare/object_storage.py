"""A place in object storage, by its address: what lies there, reading and writing it. OSError names it."""

import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from besnet.data.fetching import SHORT_ANSWER_SEC, Unreachable, answer
from besnet.data.file_systems import PROTOCOLS, Held, held, opened
from besnet.data.remote_transfer import RemoteFile


def address_of(path: Path) -> str | None:
    """The address that a path stands for (`s3://bucket/name`, of which Path keeps one slash); None for a folder."""
    match = re.fullmatch(r"(\w+):/+(.+)", str(path))
    if not match or match[1] not in PROTOCOLS:
        return None
    return f"{match[1]}://{'/' * (match[1] == 'file')}{match[2]}"


class ObjectStorage:
    """A place in object storage. ValueError where the library for its protocol is missing."""

    def __init__(self, address: str) -> None:
        self.address = address.rstrip("/")
        if "::" in self.address:
            raise ValueError(f"{self.address}: not the address of one place")
        try:
            _, self.root = opened(self.address)
        except ImportError as error:
            raise ValueError(f"{self.address}: {error}") from None

    def held(self) -> dict[str, Held]:
        """All objects below by their names; the one object named "" where the address is that of an object."""
        found = answer(RemoteFile(self.address), lambda system, path: system.find(path, detail=True))
        return {path[len(self.root) + 1 :]: held(about) for path, about in found.items() if not path.endswith("/")}

    def now(self, name: str) -> Held:
        """An object as it is now."""
        return held(answer(RemoteFile(self.address, name), lambda system, path: system.info(path), SHORT_ANSWER_SEC))

    def has(self, name: str) -> bool:
        """Whether there is such an object."""

        def ask(system: Any, path: str) -> bool:
            try:
                system.info(path)  # `exists` of some file systems is false where the network fails
            except FileNotFoundError:
                return False
            return True

        return bool(answer(RemoteFile(self.address, name), ask, SHORT_ANSWER_SEC))

    def create(self, name: str, data: bytes) -> bool:
        """Write an object unless there is one, which storage decides for one of several writers; whether it was, also
        where storage cannot say."""

        def ask(system: Any, path: str) -> bool:
            try:
                system.pipe_file(path, data, mode="create")
            except FileExistsError:
                return False
            return True

        try:
            return bool(answer(RemoteFile(self.address, name), ask, SHORT_ANSWER_SEC))
        except Unreachable:
            return True

    def read(self, name: str) -> bytes:
        """An object's bytes."""
        data: bytes = answer(RemoteFile(self.address, name), lambda system, path: system.cat_file(path))
        return data

    def write(self, name: str, data: bytes) -> None:
        """Write an object."""
        answer(RemoteFile(self.address, name), lambda system, path: system.pipe_file(path, data))

    def remove(self, names: Sequence[str]) -> None:
        """Remove objects; another process may have done so before."""

        def rm(system: Any, path: str) -> None:
            with suppress(FileNotFoundError):
                system.rm([f"{path}/{name}" for name in names])

        answer(RemoteFile(self.address), rm)
