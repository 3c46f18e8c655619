"""Fetches one remote file, or a range of its bytes: every attempt ends, is tried again a few times with a line, and
counts only with the size and hash that are expected."""

import os
import random
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from besnet.data.paths import hash_file

ATTEMPTS = 5
FIRST_PAUSE_SEC = 1.0  # doubled after each attempt, with jitter: hosts that failed together do not return together
WINDOW_SEC = 30.0
SLOWEST = 20_000  # bytes per second, over every window
BLOCK = 1 << 20
GONE = (404, 410)
PASSING = (408, 425, 429)  # of the codes that blame the request


class Unreachable(OSError):  # noqa: N818  (what is wrong is the data set's place, not one video)
    """A shard that cannot be had: the job ends, for an accuracy over what is left would be another one."""

    def __init__(self, text: str) -> None:
        # A loader worker hands an error over inside a traceback, of which the last line is the error's own.
        marker = "Unreachable: "
        super().__init__(text.strip().splitlines()[-1].partition(marker)[2] if marker in text else text)


class Unranged(ValueError):  # noqa: N818
    """A server that sends whole files only."""


@dataclass
class Tally:
    """What fetching has cost: bytes that arrived, attempts that failed."""

    bytes: int = 0
    failed: int = 0


def download(address: str, to: Path, size: int, digest: str, tally: Tally) -> None:
    """Write a remote file of this size and hash to `to`. Unreachable where no attempt succeeds."""

    def fits(transfer: "_Transfer") -> bool:
        return os.path.getsize(transfer.to) == size and hash_file(transfer.to)[0] == digest

    os.replace(_fetch(address, lambda: _WholeFile(address, to, size), fits, tally).to, to)


def download_range(address: str, offset: int, size: int, total: int, tally: Tally) -> bytes:
    """`size` bytes from `offset` of a remote file of `total` bytes. Unreachable where no attempt succeeds, Unranged
    where the server does not send ranges."""
    transfer = _fetch(
        address, lambda: _Range(address, offset, size, total), lambda transfer: len(transfer.data) == size, tally
    )
    return bytes(transfer.data)


def _fetch(
    address: str, begin: Callable[[], "_Transfer"], fits: Callable[["_Transfer"], bool], tally: Tally
) -> "_Transfer":
    """A finished transfer that fits. Refusals are tried once more with fresh credentials, what is gone is not."""
    why, reopened = "", False
    for attempt in range(ATTEMPTS):
        if attempt:
            tally.failed += 1
            print(f"besnet: {address}: {why}; attempt {attempt + 1} of {ATTEMPTS}", file=sys.stderr, flush=True)
            time.sleep(FIRST_PAUSE_SEC * 2 ** (attempt - 1) * random.uniform(0.5, 1.5))
        transfer = begin()
        why = transfer.end()
        tally.bytes += transfer.count
        error = transfer.error
        if isinstance(error, Unranged):
            raise error
        if not why and fits(transfer):
            return transfer
        transfer.discard()
        why = why or "is not the shard that the manifest describes (size or hash differ)"
        code = _status(error)
        refused = isinstance(error, PermissionError) or (400 <= code < 500 and code not in PASSING)
        if isinstance(error, FileNotFoundError) or code in GONE or (refused and reopened):
            break
        if refused:  # credentials expire
            transfer.forget_connection()
            reopened = True
    tally.failed += 1
    raise Unreachable(f"{address}: {why}")


def _status(error: BaseException | None) -> int:
    """The HTTP status that a file system's error stands for (aiohttp's, gcsfs's, that behind s3fs's); 0 without one."""
    for found in (getattr(error, "status", None), getattr(error, "code", None) if _of("gcsfs", error) else None):
        if isinstance(found, int):
            return found
    answer = getattr(error.__cause__ if error else None, "response", None)
    found = answer.get("ResponseMetadata", {}).get("HTTPStatusCode") if isinstance(answer, dict) else None
    return found if isinstance(found, int) else 0


def _of(package: str, error: BaseException | None) -> bool:
    return type(error).__module__.partition(".")[0] == package


class _Transfer:
    """One attempt, in a thread that can be left behind: libraries that wait for bytes cannot be interrupted."""

    def __init__(self, address: str, size: int) -> None:
        self.address, self.size = address, size
        self.data = bytearray()
        self.to = Path(os.devnull)
        self.count = 0
        self.stopped = False
        self.error: Exception | None = None
        self.system: Any = None
        self.thread = threading.Thread(target=self.run, name=f"fetches {address}", daemon=True)

    def end(self) -> str:
        """Start and wait; "" or why it failed."""
        self.thread.start()
        while self.thread.is_alive():
            before = self.count
            self.thread.join(WINDOW_SEC)
            if self.thread.is_alive() and self.count - before < SLOWEST * WINDOW_SEC:
                self.stopped = True  # it notices with its next bytes
                return f"cannot be fetched: less than {SLOWEST} bytes per second"
        if self.error is None:
            return ""
        lines = str(self.error).strip().splitlines() or [""]
        return f"cannot be fetched: {type(self.error).__name__}: {lines[0]:.300}".strip(" :")

    def run(self) -> None:
        try:
            from fsspec.core import url_to_fs

            self.system, path = url_to_fs(self.address)
            self.get(path)
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

    def arrived(self, more: int) -> None:
        """Called with every piece; an error here ends the transfer."""
        self.count += more
        if self.stopped:
            raise TimeoutError("too slow")
        if self.count > self.size:
            raise ValueError("is not the shard that the manifest describes: it is larger")


class _WholeFile(_Transfer):
    """All bytes of a file, into a file of this attempt's own."""

    def __init__(self, address: str, to: Path, size: int) -> None:
        super().__init__(address, size)
        self.to = to.with_name(f"{to.name}.{os.getpid()}.{time.monotonic_ns()}")

    def get(self, path: str) -> None:
        from fsspec.callbacks import Callback

        transfer = self

        class Watch(Callback):
            def relative_update(self, inc: int = 1) -> None:
                transfer.arrived(inc)

        self.system.get_file(path, str(self.to), callback=Watch())

    def discard(self) -> None:
        self.to.unlink(missing_ok=True)


class _Range(_Transfer):
    """Some bytes of a file, into memory."""

    def __init__(self, address: str, offset: int, size: int, total: int) -> None:
        super().__init__(address, size)
        self.offset, self.total = offset, total

    def get(self, path: str) -> None:
        end = self.offset + self.size
        if not self.address.startswith(("http://", "https://")):
            self.data += self.system.cat_file(path, start=self.offset, end=end)
            self.arrived(len(self.data))
            return
        asked = {"Range": f"bytes={self.offset}-{end - 1}"}
        with self.system.open(path, block_size=0, size=self.total, headers=asked) as file:
            if file.r.status != 206:
                raise Unranged(f"{self.address}: the server sends no ranges")
            while block := file.read(BLOCK):
                self.arrived(len(block))
                self.data += block
