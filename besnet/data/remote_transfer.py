"""One attempt to have bytes or an answer from a remote place, in a thread that can be left behind."""

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from besnet.data.file_systems import fetch_options, opened

WINDOW_SEC = 30.0
SLOWEST = 20_000  # bytes per second, over every window
BLOCK = 1 << 20
PIECE = 4 << 20  # of a range, where a file system returns all bytes or none: progress has to be seen


class Unranged(ValueError):  # noqa: N818
    """A server that sends whole files only."""


@dataclass(frozen=True)
class RemoteFile:
    """A file by the address of a place, and its name there. expected: what its bytes should be, for messages."""

    place: str
    name: str = ""
    expected: str = "the shard that the manifest describes"

    @property
    def address(self) -> str:
        """The whole address."""
        return f"{self.place}/{self.name}" if self.name else self.place


class Transfer:
    """One attempt, in a thread that can be left behind: libraries that wait for bytes cannot be interrupted."""

    def __init__(self, file: RemoteFile, size: int) -> None:
        self.file, self.size = file, size
        self.data = bytearray()
        self.to = Path(os.devnull)
        self.count = self.before = 0
        self.stopped = False
        self.error: Exception | None = None
        self.system: Any = None
        self.thread = threading.Thread(target=self.run, name=f"fetches {file.address}", daemon=True)

    def end(self) -> str:
        """Start and wait; "" or why it failed."""
        self.thread.start()
        while self.thread.is_alive():
            if slow := self.wait():
                self.stopped = True  # it notices with its next bytes
                return f"cannot be fetched: {slow}"
        if self.error is None:
            return ""
        lines = str(self.error).strip().splitlines() or [""]
        return f"cannot be fetched: {type(self.error).__name__}: {lines[0]:.300}".strip(" :")

    def wait(self) -> str:
        """Wait for a while; "" or why it is not waited for any longer."""
        before = self.count
        self.thread.join(WINDOW_SEC)
        slow = self.thread.is_alive() and self.count - before < SLOWEST * WINDOW_SEC
        return f"less than {SLOWEST} bytes per second" if slow else ""

    def run(self) -> None:
        try:
            self.system, root = opened(self.file.place)
            self.system.invalidate_cache()  # others write there, too
            self.get(f"{root}/{self.file.name}" if self.file.name else root)
        except Exception as error:  # every file system of fsspec raises its own
            self.error = error
        if self.error or self.stopped:
            self.discard()

    def get(self, path: str) -> None:
        raise NotImplementedError

    def discard(self) -> None:
        """Leave nothing behind."""

    def forget_connection(self) -> None:
        """Let the next attempt open the file system anew, with the credentials of that time."""
        if self.system is not None:
            type(self.system).clear_instance_cache()

    def begins(self) -> None:
        """Called when the file's first byte comes next: a library may try again by itself."""
        self.before = self.count

    def arrived(self, more: int) -> None:
        """Called with every piece; an error here ends the transfer."""
        self.count += more
        if self.stopped:
            raise TimeoutError("too slow")
        if self.count - self.before > self.size:
            raise ValueError(f"is not {self.file.expected}: it is larger")


class WholeFile(Transfer):
    """All bytes of a file, into a file of this attempt's own."""

    def __init__(self, file: RemoteFile, to: Path, size: int) -> None:
        super().__init__(file, size)
        self.to = to.with_name(f"{to.name}.{os.getpid()}.{time.monotonic_ns()}")

    def get(self, path: str) -> None:
        from fsspec.callbacks import Callback

        transfer = self

        class Watch(Callback):
            def set_size(self, size: int | None) -> None:
                transfer.begins()

            def relative_update(self, inc: int = 1) -> None:
                transfer.arrived(inc)

        self.system.get_file(path, str(self.to), callback=Watch(), **fetch_options(self.system))

    def discard(self) -> None:
        self.to.unlink(missing_ok=True)


class Range(Transfer):
    """Some bytes of a file, into memory."""

    def __init__(self, file: RemoteFile, offset: int, size: int, total: int) -> None:
        super().__init__(file, size)
        self.offset, self.total = offset, total

    def get(self, path: str) -> None:
        end = self.offset + self.size
        if not self.file.place.startswith(("http://", "https://")):
            for start in range(self.offset, end, PIECE):
                piece = self.system.cat_file(path, start=start, end=min(start + PIECE, end))
                self.arrived(len(piece))
                self.data += piece
            return
        asked = {"Range": f"bytes={self.offset}-{end - 1}"}
        with self.system.open(path, block_size=0, size=self.total, headers=asked) as file:
            if file.r.status != 206:
                raise Unranged(f"{self.file.address}: the server sends no ranges")
            while block := file.read(BLOCK):
                self.arrived(len(block))
                self.data += block


class Answer(Transfer):
    """What a file system says."""

    def __init__(self, file: RemoteFile, ask: Callable[[Any, str], Any], within_sec: float) -> None:
        super().__init__(file, 0)
        self.ask, self.within_sec = ask, within_sec
        self.result: Any = None

    def wait(self) -> str:
        self.thread.join(self.within_sec)
        return f"no answer within {self.within_sec:g} s" if self.thread.is_alive() else ""

    def get(self, path: str) -> None:
        self.result = self.ask(self.system, path)
