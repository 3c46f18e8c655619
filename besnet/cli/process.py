"""What every process of the command line sets up before it does anything, and how it leaves."""

import io
import os
import resource
import sys
from collections.abc import Callable, MutableMapping
from contextlib import redirect_stderr, redirect_stdout, suppress
from typing import NoReturn

from besnet.text import VisibleStream, short

WRONG_USE = 2
LONGEST = 2000  # characters of a message, which may repeat what it is about
PIPE_CLOSED = 141  # what a shell says of a program that SIGPIPE ended
LEAST_FILES = 256  # torch, its data loaders and a data set's files


def set_up(environment: MutableMapping[str, str]) -> None:
    """Streams, waits of threads, the path of child processes, and open files. ValueError where that cannot work."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by whoever started this process
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115  (open as long as the process is)
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a file's name need not be UTF-8
    short_waits(environment)
    # A file random.py beside the user's data is not for our processes to execute.
    environment["PYTHONSAFEPATH"] = "1"
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY or hard > soft:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if resource.getrlimit(resource.RLIMIT_NOFILE)[0] < LEAST_FILES:
        raise ValueError(f"only {soft} files may be open at a time here: raise it, ulimit -n {LEAST_FILES} or more")


def short_waits(environment: MutableMapping[str, str]) -> None:
    """Have torch's threads sleep soon while they wait, unless the user says otherwise; read when torch is loaded.

    Threads that spin take the cores from the decoders, threads that sleep at once come late (figures in LOG.md).
    """
    environment.setdefault("OMP_WAIT_POLICY", "passive")
    environment.setdefault("GOMP_SPINCOUNT", "1000")  # turns of waiting; goes before the policy, in GNU's library


def leave(work: Callable[[], int]) -> NoReturn:
    """Do the work and leave with its exit code; output that cannot be written is one line, and code 2.

    What is printed cannot move a cursor, whatever names from files are in it.
    """
    try:
        try:
            with redirect_stdout(VisibleStream(sys.stdout)), redirect_stderr(VisibleStream(sys.stderr)):
                code: object = work()
        except SystemExit as request:
            code = request.code
        sys.stdout.flush()
    except BrokenPipeError:  # the reader (`| head`) has seen enough
        close(sys.stdout)
        sys.exit(PIPE_CLOSED)
    except OSError as error:
        close(sys.stdout)
        complain(f"standard output: {(error.strerror or str(error)).lower()}")
    sys.exit(code)  # type: ignore[arg-type]  # an exit code, or what SystemExit was raised with


def complain(message: str) -> NoReturn:
    """Say what is wrong in one line and leave with exit code 2."""
    with suppress(OSError):
        print(f"besnet: {short(message, LONGEST)}", file=sys.stderr, flush=True)
    sys.exit(WRONG_USE)


def close(stream: object) -> None:
    """Let nothing be written into a stream any more, not even at the interpreter's end."""
    with suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())  # type: ignore[attr-defined]
