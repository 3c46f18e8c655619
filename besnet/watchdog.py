"""Ends a process in which nothing moves any more, and says where it stood."""

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
START_SEC = 1800.0  # until the first step is made: packages, compilation, a cold disk
GRACE_SEC = 10.0  # other ranks hang with this one: time for each to say where, before the launcher ends them all


class Watchdog:
    """A thread with a deadline that every change of phase moves.

    where: gives (what the process is doing, since when), see `StepTimer.now`. If nothing changes for `deadline_sec`,
    the rank, the phase and the stacks of all threads go to standard error and the process ends with code 69. Should a
    thread hold Python's lock for ever (inside a decoder, say), a timer that needs no lock ends the process.
    moving: whether the first step has been made; until then the bound is half an hour, if `deadline_sec` is less.
    setting: what the deadline is called where it can be changed.
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
            deadline_sec = self.deadline_sec if self.moving() else max(self.deadline_sec, START_SEC)
            faulthandler.dump_traceback_later(deadline_sec + GRACE_SEC, exit=True, file=STDERR)
            phase, since_sec = self.where()
            if time.monotonic() - since_sec > deadline_sec:
                self._end(phase, time.monotonic() - since_sec)

    def _end(self, phase: str, idle_sec: float) -> None:
        print(
            f"besnet: rank {self.rank}: nothing has moved for {idle_sec / 60:.1f} minutes ({self.setting}) "
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


class Pulse:
    """What a process is doing, told by itself: call it with a few words whenever that changes, or gets on."""

    def __init__(self) -> None:
        self.now = ("starting", time.monotonic())
        self.beats = 0

    def __call__(self, phase: str) -> None:
        self.now = (phase, time.monotonic())
        self.beats += 1

    def wait_for_others(self) -> None:
        """Nothing is to be expected of this process until its next beat; the others have their own watchdogs."""
        self.now = ("waiting for other ranks", math.inf)


@contextlib.contextmanager
def watched(minutes: float, rank: int = 0, setting: str = "--watchdog_minutes") -> Iterator[Pulse]:
    """Watch over a process while it goes from one thing to the next; the second beat ends the start."""
    pulse = Pulse()
    watchdog = Watchdog(rank, minutes * 60, lambda: pulse.now, lambda: pulse.beats > 1, setting)
    watchdog.start()
    try:
        yield pulse
    finally:
        watchdog.stop()
