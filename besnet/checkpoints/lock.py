"""One process at a time writes into a folder."""

import errno
import fcntl
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path

PATIENCE_SEC = 30.0  # what an earlier process in this folder, that is being ended, may still need


class Busy(OSError):  # noqa: N818
    """Another process keeps on writing into a folder."""


class OnlyWriter:
    """A folder's lock, held by one process; the system takes it back when that process ends, however it ends.

    what: the work that is done in the folder, for the line that another process gets.
    """

    def __init__(self, folder: Path, what: str) -> None:
        self.folder = folder
        self.what = what
        self.file: TextIOWrapper | None = None

    def take(self, patience_sec: float | None = None) -> None:
        """Wait for the lock, with a message. Busy if another process keeps it; OSError if the folder cannot be written.

        Nothing else is written. A file system without locks is trusted.
        """
        deadline_sec = time.monotonic() + (PATIENCE_SEC if patience_sec is None else patience_sec)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.file = open(self.folder / ".lock", "a+")  # noqa: SIM115  (open while the lock is held)
        except OSError as error:
            raise OSError(
                f"{self.folder}: cannot be written ({error.strerror}): choose another folder with --out"
            ) from error
        waits = False
        while not locked(self.file.fileno()):
            self.file.seek(0)
            other = f"{self.folder}: another {self.what} ({self.file.read().strip()}) writes into this folder"
            if time.monotonic() > deadline_sec:
                self.release()
                raise Busy(f"{other}: end it, or choose another folder with --out")
            if not waits:
                left_sec = deadline_sec - time.monotonic()
                print(f"besnet: {other}: waiting up to {left_sec:.0f} s for it to end", file=sys.stderr, flush=True)
                waits = True
            time.sleep(0.2)
        self.file.truncate(0)
        self.file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        self.file.flush()

    def release(self) -> None:
        """Let others write."""
        if self.file is not None:
            self.file.close()
            self.file = None


@contextmanager
def only_writer(folder: Path, what: str) -> Iterator[None]:
    """Hold a folder's lock."""
    writer = OnlyWriter(folder, what)
    writer.take()
    try:
        yield
    finally:
        writer.release()


def is_held(folder: Path) -> bool:
    """Whether a process holds a folder's lock now."""
    try:
        with open(folder / ".lock") as file:
            return not locked(file.fileno(), fcntl.LOCK_SH)
    except OSError:
        return False


def locked(file: int, kind: int = fcntl.LOCK_EX) -> bool:
    """Whether the lock is ours now, or there is none to be had on this file system."""
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in (errno.EAGAIN, errno.EACCES)
    return True
