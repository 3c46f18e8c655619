"""A process that runs commands on files that a generator spoilt, within 2 GiB, and says how each of them ended."""

import io
import multiprocessing
import resource
import shutil
import sys
import traceback
import warnings
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import wraps
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

MEMORY = 2 * 2**30
HANG_SEC = 20.0


@dataclass(frozen=True)
class Case:
    """A command, the files that it finds in a copy of the folder `template`, and whether only its words are read.

    `PLACE` in a word stands for that copy.
    """

    words: tuple[str, ...]
    template: str = ""
    files: tuple[tuple[str, bytes], ...] = ()
    parse_only: bool = False


@dataclass(frozen=True)
class Ended:
    """How a command ended: exit code, what it said, and the traceback of what nobody had foreseen."""

    code: object
    said: str
    fault: str = ""


class Worker:
    """The process, started again when a case has ended it."""

    def __init__(self, templates: Path, place: Path) -> None:
        self.templates, self.place = templates, place
        self.process: Any = None

    def run(self, case: Case) -> Ended:
        """Run one case; a hang or a death of the process is a fault."""
        if self.process is None or not self.process.is_alive():
            self.start()
        self.pipe.send(case)
        if not self.pipe.poll(HANG_SEC):
            self.stop()
            return Ended(None, "", f"no end within {HANG_SEC:g} s")
        try:
            ended: Ended = self.pipe.recv()
            return ended
        except EOFError:
            self.process.join()
            return Ended(None, "", f"the process died with code {self.process.exitcode}")

    def start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs, self.templates, self.place), daemon=True)
        self.process.start()
        theirs.close()
        assert self.pipe.recv() == "ready"

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.join()


def serve(pipe: Connection, templates: Path, place: Path) -> None:
    """Run cases until the pipe closes."""
    import matplotlib.pyplot  # noqa: F401  (what is loaded late would count as a case's memory)
    import torch._refs

    from besnet.cli import training  # noqa: F401
    from besnet.cli.verbs import Verb
    from besnet.lab import lab  # noqa: F401
    from besnet.predict import export  # noqa: F401

    torch.set_num_threads(1)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, resource.RLIM_INFINITY))
    pipe.send("ready")
    real = Verb.load
    while True:
        try:
            case = pipe.recv()
        except EOFError:
            return
        shutil.rmtree(place, ignore_errors=True)
        if case.template:
            shutil.copytree(templates / case.template, place)
        place.mkdir(exist_ok=True)
        for name, content in case.files:
            (place / name).write_bytes(content)
        Verb.load = nothing_but_arguments(real) if case.parse_only else real  # type: ignore[method-assign]
        pipe.send(run([word.replace("PLACE", str(place)) for word in case.words]))


def run(words: list[str]) -> Ended:
    """Run a command in this process."""
    from besnet import cli

    said = io.StringIO()
    try:
        with redirect_stdout(said), redirect_stderr(said), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            sys.argv = ["besnet", *words]
            cli.main(words)
    except SystemExit as end:
        return Ended(end.code, said.getvalue())
    except BaseException:
        return Ended(None, said.getvalue(), traceback.format_exc())


def nothing_but_arguments(real: Any) -> Any:
    """Verbs that take the same arguments and do nothing."""

    def idle(verb: Any) -> Any:
        @wraps(real(verb))
        def nothing(*arguments: Any, **named: Any) -> int:
            return 0

        return nothing

    return idle
