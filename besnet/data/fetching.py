"""Fetches one remote file: every attempt ends, is tried again a few times, and counts only with the size and hash that
are expected."""

import hashlib
import os
import random
import threading
import time
from pathlib import Path
from typing import Any

ATTEMPTS = 5
FIRST_PAUSE_SEC = 1.0  # doubled after each attempt, with jitter: hosts that failed together do not return together
WINDOW_SEC = 30.0
SLOWEST = 20_000  # bytes a second, over every window


class Unreachable(OSError):  # noqa: N818  (what is wrong is the data set's place, not one video)
    """A shard that cannot be had: the job ends, for an accuracy over what is left would be another one."""

    def __init__(self, text: str) -> None:
        # A loader worker hands an error over inside a traceback, of which the last line is the error's own.
        marker = "Unreachable: "
        super().__init__(text.strip().splitlines()[-1].partition(marker)[2] if marker in text else text)


def download(address: str, to: Path, size: int, digest: str) -> None:
    """Write a remote file of this size and hash to `to`. Unreachable where no attempt succeeds."""
    why = ""
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(FIRST_PAUSE_SEC * 2 ** (attempt - 1) * random.uniform(0.5, 1.5))
        why, final = _attempt(address, to, size, digest)
        if not why:
            return
        if final:
            break
    raise Unreachable(f"{address}: {why}")


def _attempt(address: str, to: Path, size: int, digest: str) -> tuple[str, bool]:
    """("", False), or why it failed and whether another attempt would fail alike."""
    transfer = _Transfer(address, to, size)
    thread = threading.Thread(target=transfer.run, name=f"fetches {address}", daemon=True)
    thread.start()
    before = -1
    while thread.is_alive():
        before = transfer.count
        thread.join(WINDOW_SEC)
        if thread.is_alive() and transfer.count - before < SLOWEST * WINDOW_SEC:
            transfer.stopped = True  # it notices with its next bytes; the next attempt writes another file
            return f"cannot be fetched: less than {SLOWEST} bytes a second", False
    error = transfer.error
    if error is not None:
        gone = isinstance(error, FileNotFoundError | PermissionError)
        return f"cannot be fetched: {type(error).__name__}: {error}".strip(" :"), gone
    found = hashlib.blake2b(digest_size=16)
    with open(transfer.to, "rb") as file:
        while block := file.read(1 << 22):
            found.update(block)
    if os.path.getsize(transfer.to) != size or found.hexdigest() != digest:
        transfer.to.unlink()
        return "is not the shard that the manifest describes (size or hash differ)", False
    os.replace(transfer.to, to)
    return "", False


class _Transfer:
    """One attempt, in a thread that can be left behind: libraries that wait for bytes cannot be interrupted."""

    def __init__(self, address: str, to: Path, size: int) -> None:
        self.address, self.size = address, size
        self.to = to.with_name(f"{to.name}.{os.getpid()}.{time.monotonic_ns()}")
        self.count = 0
        self.stopped = False
        self.error: Exception | None = None

    def run(self) -> None:
        try:
            from fsspec.callbacks import Callback
            from fsspec.core import url_to_fs

            transfer = self

            class Watch(Callback):
                def relative_update(self, inc: int = 1) -> None:
                    transfer.arrived(inc)

            system: Any
            system, path = url_to_fs(self.address)
            system.get_file(path, str(self.to), callback=Watch())
        except Exception as error:  # every file system of fsspec raises its own
            self.error = error
        if self.error or self.stopped:
            self.to.unlink(missing_ok=True)

    def arrived(self, more: int) -> None:
        """Called with every piece; an error here ends the transfer."""
        self.count += more
        if self.stopped:
            raise TimeoutError("too slow")
        if self.count > self.size:
            raise ValueError("is not the shard that the manifest describes: it is larger")
