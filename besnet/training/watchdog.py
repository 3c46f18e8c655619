"""Ends a training process in which nothing moves any more, and says where it stood."""

import contextlib
import faulthandler
import os
import sys
import threading
import time
from collections.abc import Callable

import psutil

from besnet.training.endings import HUNG

STDERR = 2
GRACE_SEC = 10.0  # other ranks hang with this one: time for each to say where, before the launcher ends them all


class Watchdog:
    """A thread with a deadline that every change of phase moves.

    where: gives (what the process is doing, since when), see `Phases.now`. If nothing changes for `deadline_sec`, the
    rank, the phase and the stacks of all threads go to standard error and the process ends with code 69. Should a
    thread hold Python's lock for ever (inside a decoder, say), a timer that needs no lock ends the process.
    """

    def __init__(self, rank: int, deadline_sec: float, where: Callable[[], tuple[str, float]]) -> None:
        self.rank = rank
        self.deadline_sec = deadline_sec
        self.where = where
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self.thread.start()

    def stop(self) -> None:
        """Watch no longer."""
        self.over.set()
        self.thread.join()
        faulthandler.cancel_dump_traceback_later()

    def _watch(self) -> None:
        pause_sec = min(5.0, self.deadline_sec / 4)
        while not self.over.wait(pause_sec):
            faulthandler.dump_traceback_later(self.deadline_sec + GRACE_SEC, exit=True, file=STDERR)
            phase, since_sec = self.where()
            if time.monotonic() - since_sec > self.deadline_sec:
                self._end(phase, time.monotonic() - since_sec)

    def _end(self, phase: str, idle_sec: float) -> None:
        print(
            f"besnet: rank {self.rank}: nothing has moved for {idle_sec / 60:.1f} minutes (saving.watchdog_minutes) "
            f"in the phase {phase!r}; the stacks of all threads follow, then this process ends with code {HUNG}",
            file=sys.__stderr__,
            flush=True,
        )
        faulthandler.dump_traceback(file=STDERR, all_threads=True)
        if not self.over.wait(min(GRACE_SEC, self.deadline_sec)):
            for child in psutil.Process().children(recursive=True):  # one of them may be what everything waits for
                with contextlib.suppress(psutil.Error):
                    child.kill()
            os._exit(HUNG)
