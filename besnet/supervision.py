"""No process is left behind: loader workers end with their reader, ranks with their launcher. Imports nothing heavy."""

import atexit
import contextlib
import functools
import multiprocessing
import os
import select
import signal
import sys
import tempfile
import threading
from collections.abc import Callable
from multiprocessing import forkserver
from multiprocessing.queues import Queue
from pathlib import Path

import psutil

from besnet.environment import LAUNCHER, whole_number

LAUNCHER_GONE = 137  # exit code of a rank whose launcher is gone: as if the same SIGKILL had hit it
SAFE_PATH = "PYTHONSAFEPATH"  # keeps the working folder off the path of Python processes that start with it
LONGEST_TMPDIR = 70  # of the 107 characters of a socket's path, less those of its own name
FOR_THE_READER = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)


def when_ended(process: int, then: Callable[[], None]) -> None:
    """Call `then` in a thread of its own as soon as another process ends, at once if it is not there."""

    def watch() -> None:
        with contextlib.suppress(ProcessLookupError):
            handle = os.pidfd_open(process)
            select.select([handle], [], [])
        then()

    threading.Thread(target=watch, name=f"ends with {process}", daemon=True).start()


class EndWithReader:
    """Ends a loader worker, and the fork server above it, when the process that reads from it dies.

    torch's own watchdog looks at the worker's parent, which here is the fork server: after a SIGKILL of the training
    process the workers would wait for ever. Signals that ask for a stop are the reader's business: a launcher sends
    them to the whole process group, and a worker that obeyed would take away the batch that the reader waits for.
    """

    def __init__(self, reader: int) -> None:
        self.reader = reader

    def __call__(self, worker: int) -> None:
        """Watch from a thread of the worker's own."""
        for signum in FOR_THE_READER:
            signal.signal(signum, signal.SIG_IGN)
        # a batch that cannot be sent: the reader would wait for it for ever
        Queue._on_queue_feeder_error = staticmethod(give_up)  # type: ignore[attr-defined]
        when_ended(self.reader, self.end)

    def end(self) -> None:
        """Take the fork server along; where it is gone already, the parent is now some other process: not that one."""
        parent = os.getppid()
        with contextlib.suppress(OSError):
            if b"forkserver" in Path(f"/proc/{parent}/cmdline").read_bytes():
                os.kill(parent, signal.SIGKILL)
        os._exit(1)


@functools.cache
def end_workers_at_exit() -> None:
    """Have workers that an error left behind killed when this process ends, which would wait for them for ever.

    They ignore the SIGTERM that Python sends them then.
    """

    def end_workers() -> None:
        for child in multiprocessing.active_children():
            child.kill()

    atexit.register(end_workers)


def give_up(error: BaseException, batch: object) -> None:
    """End this worker, whose reader notices, with a line that says why."""
    why = " ".join(str(error).split()) or type(error).__name__
    print(f"besnet: loader worker {os.getpid()}: a batch could not be sent: {why}", file=sys.stderr, flush=True)
    os._exit(1)


def start_fork_server() -> None:
    """Start the process that loader workers are forked from; signals that ask for a stop do not reach it.

    It never executes files of the working folder. ValueError where TMPDIR is too long for its sockets.
    """
    end_workers_at_exit()
    temporary = tempfile.gettempdir()
    if len(os.fsencode(temporary)) > LONGEST_TMPDIR:
        raise ValueError(
            f"TMPDIR={temporary}: too long for the sockets of loader workers: choose a folder of at most "
            f"{LONGEST_TMPDIR} characters, or no workers"
        )
    previous = {signum: signal.signal(signum, signal.SIG_IGN) for signum in FOR_THE_READER} if in_main_thread() else {}
    unsafe = os.environ.get(SAFE_PATH)
    os.environ[SAFE_PATH] = "1"
    try:
        forkserver.ensure_running()
    finally:
        if unsafe is None:
            del os.environ[SAFE_PATH]
        else:
            os.environ[SAFE_PATH] = unsafe
        for signum, handler in previous.items():
            signal.signal(signum, handler)


def in_main_thread() -> bool:
    """Whether this thread may set signal handlers."""
    return threading.current_thread() is threading.main_thread()


def end_with_launcher() -> None:
    """End this process when its launcher or its torchrun is killed; call it before anything that takes time."""
    end_with(whole_number(LAUNCHER, 0, least=1))
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return
    launcher = os.getppid()
    if launcher == 1 and not launches(Path("/proc/1/cmdline")):
        os._exit(LAUNCHER_GONE)  # killed before this line: its orphans are given to process 1
    when_ended(launcher, lambda: os._exit(LAUNCHER_GONE))


def end_with(launcher: int) -> None:
    """End this process when the one that `BESNET_LAUNCHER` names ends; 0 stands for none."""
    if not launcher:
        return
    if not psutil.pid_exists(launcher):
        print(f"besnet: {LAUNCHER}={launcher}: that launcher has ended: so does this process", file=sys.stderr)
        os._exit(LAUNCHER_GONE)
    when_ended(launcher, lambda: os._exit(LAUNCHER_GONE))


def launches(command: Path) -> bool:
    """Whether a process is a launcher, from its command: in a container it may itself be process 1."""
    try:
        words = command.read_bytes()
    except OSError:
        return True
    return any(name in words for name in (b"torchrun", b"torch.distributed", b"besnet"))
