"""One training at a time writes into a run's folder."""

import errno
import fcntl
import os
import socket
import time
from io import TextIOWrapper
from pathlib import Path

from besnet.training.endings import HUNG, Ending

PATIENCE_SEC = 60.0  # what a life of the run that is being ended may still need


class OnlyWriter:
    """The run's lock, held by one process; the system takes it back when that process ends, however it ends."""

    def __init__(self, run: Path) -> None:
        self.run = run
        self.file: TextIOWrapper | None = None

    def take(self, patience_sec: float = PATIENCE_SEC) -> None:
        """Wait for the lock. Ending if another training keeps it. A file system without locks is trusted."""
        self.file = open(self.run / ".lock", "a+")  # noqa: SIM115  (open for as long as the run goes on)
        deadline_sec = time.monotonic() + patience_sec
        while not locked(self.file.fileno()):
            if time.monotonic() > deadline_sec:
                self.file.seek(0)
                holder = self.file.read().strip()
                self.release()
                raise Ending(
                    HUNG,
                    f"{self.run}: another training ({holder}) writes into this folder: end it, or "
                    "choose another folder with --out",
                )
            time.sleep(0.2)
        self.file.truncate(0)
        self.file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        self.file.flush()

    def release(self) -> None:
        """Let others write."""
        if self.file is not None:
            self.file.close()
            self.file = None


def locked(file: int) -> bool:
    """Whether the lock is ours now, or there is none to be had on this file system."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in (errno.EAGAIN, errno.EACCES)
    return True
