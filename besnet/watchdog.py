"""Ends a process that makes no progress, and prints where it hangs."""

import contextlib
import faulthandler
import math
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator

import psutil

HUNG = 69  # exit code
STDERR = 2
START_SEC = 1800.0  # until the first step: imports, compilation, a cold disk
GRACE_SEC = 10.0  # other ranks hang, too: time for each to print where before the launcher ends all of them


class Watchdog:
    """A thread with a deadline that every change of phase renews.

    where: gives (what the process is doing, since when), see `StepTimer.now`. If nothing changes for `deadline_sec`,
    the rank, the phase and the stacks of all threads go to standard error and the process ends with code 69. If a
    thread holds Python's lock for ever (in a decoder, for example), a timer that needs no lock ends the process.
    moving: whether the first step has been made; until then the deadline is at least half an hour.
    setting: the name of the deadline in a config or on the command line.
    """

    def __init__(
        self,
        rank: int,
        deadline_sec: float,
        where: Callable[[], tuple[str, float]],
        moving: Callable[[], bool],
        setting: str = "saving.watchdog_minutes",
    ) -> None:
        self.rank = rank
        self.deadline_sec = deadline_sec
        self.where = where
        self.moving = moving
        self.setting = setting
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def start(self) -> None:
        """Start the watchdog."""
        self.thread.start()

    def stop(self) -> None:
        """Stop the watchdog."""
        self.over.set()
        self.thread.join()
        faulthandler.cancel_dump_traceback_later()

    def _watch(self) -> None:
        pause_sec = min(5.0, self.deadline_sec / 4)
        while not self.over.wait(pause_sec):
            deadline_sec = self.deadline_sec if self.moving() else max(self.deadline_sec, START_SEC)
            faulthandler.dump_traceback_later(deadline_sec + GRACE_SEC, exit=True, file=STDERR)
            phase, since_sec = self.where()
            if time.monotonic() - since_sec > deadline_sec:
                self._end(phase, time.monotonic() - since_sec)

    def _end(self, phase: str, idle_sec: float) -> None:
        print(
            f"besnet: rank {self.rank}: no progress for {idle_sec / 60:.1f} minutes ({self.setting}) "
            f"in the phase {phase!r}; the stacks of all threads follow, then this process exits with code {HUNG}",
            file=sys.__stderr__,
            flush=True,
        )
        faulthandler.dump_traceback(file=STDERR, all_threads=True)
        if not self.over.wait(min(GRACE_SEC, self.deadline_sec)):
            for child in psutil.Process().children(recursive=True):  # a child may be what all wait for
                with contextlib.suppress(psutil.Error):
                    child.kill()
            os._exit(HUNG)


class Pulse:
    """The phase of a process, set by itself: call it with the phase at each change and at each progress."""

    def __init__(self) -> None:
        self.now = ("starting", time.monotonic())
        self.beats = 0

    def __call__(self, phase: str) -> None:
        self.now = (phase, time.monotonic())
        self.beats += 1

    def wait_for_others(self) -> None:
        """Expect no progress until the next beat; the other ranks have their own watchdogs."""
        self.now = ("waiting for other ranks", math.inf)


@contextlib.contextmanager
def watched(minutes: float, rank: int = 0, setting: str = "--watchdog_minutes") -> Iterator[Pulse]:
    """Watch a process while it works; the second beat ends its start."""
    pulse = Pulse()
    watchdog = Watchdog(rank, minutes * 60, lambda: pulse.now, lambda: pulse.beats > 1, setting)
    watchdog.start()
    try:
        yield pulse
    finally:
        watchdog.stop()
