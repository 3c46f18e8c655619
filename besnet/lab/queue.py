"""The queue of a lab: commands that wait for a free device, and a journal of every attempt."""

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, NotRequired, TypedDict

import torch

from besnet.environment import LAUNCHER
from besnet.files import Journal
from besnet.progress import Line, clock
from besnet.schema import Length, checked
from besnet.training.exit_codes import NON_RETRYABLE

TRIES = 2  # of a command that fails for a temporary reason


@dataclass
class Job:
    """Processes that run one after the other; `commands`: the words after `besnet`, or `python -m` for a module.

    share_done: the share of the work that is done, from 0 to 1, as the files on the disk say.
    there: whether what its finished commands have left is still there; without it they run again.
    """

    name: str
    commands: list[list[str]]
    share_done: Callable[[], float] = lambda: 0.0
    there: Callable[[], bool] = lambda: True
    code: int | None = None
    why: str = ""
    step: int = 0
    tried: int = 0


@dataclass
class Slot:
    """A device that runs one process at a time: its name, and the environment that selects it."""

    name: str
    environment: dict[str, str]
    job: Job | None = None
    process: "subprocess.Popen[bytes] | None" = None
    began_sec: float = field(default=0.0)


class Attempt(TypedDict):
    """The part of a line of attempts.jsonl that is read again."""

    name: str
    command: Annotated[list[str], Length(1, 1000)]
    code: int | None
    cpu_sec: NotRequired[float]
    wall_sec: NotRequired[float]


class Attempts:
    """Every attempt with its exit code and cost: a JSON line each, only appended.

    part: the name of a part of the work, which has a journal of its own beside `path`; all are read.
    """

    def __init__(self, path: Path, part: str = "") -> None:
        self.journal = Journal(path.with_name(f"{path.stem}-{part}{path.suffix}") if part else path)
        self.known = [
            dict(checked(record, Attempt, f"{file}: record {number}"))
            for file in sorted(path.parent.glob(f"{path.stem}*{path.suffix}"))
            for number, record in enumerate(Journal(file).records(), 1)
        ]

    def add(self, **facts: Any) -> None:
        """Record an attempt durably."""
        self.known.append(facts)
        self.journal.append(facts)

    def done(self, name: str, command: list[str]) -> bool:
        """Whether this command has already succeeded."""
        return any(a["name"] == name and a["command"] == command and a["code"] == 0 for a in self.known)

    def cost(self, name: str) -> dict[str, float]:
        """CPU and wall seconds of all attempts of a job."""
        mine = [attempt for attempt in self.known if attempt["name"] == name]
        return {key: sum(attempt.get(key, 0.0) for attempt in mine) for key in ("cpu_sec", "wall_sec")}


def free_slots(settings: dict[str, Any], max_parallel: int | None, threads: int) -> list[Slot]:
    """The devices: every GPU that is visible, or CPU cores."""
    gpus = torch.cuda.device_count() if settings.get("trainer", {}).get("accelerator") != "cpu" else 0
    if gpus:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(gpus)))).split(",")
        return [Slot(f"GPU {number}", {"CUDA_VISIBLE_DEVICES": number}) for number in visible]
    count = max_parallel or max(1, len(os.sched_getaffinity(0)) // threads)
    environment = {"OMP_NUM_THREADS": str(threads), "CUDA_VISIBLE_DEVICES": ""}
    return [Slot(f"CPU {number}", environment) for number in range(count)]


def settle(job: Job, attempts: Attempts) -> None:
    """Take the commands of a job as done that have succeeded before, if what they left is there."""
    while job.there() and job.step < len(job.commands) and attempts.done(job.name, job.commands[job.step]):
        job.step += 1
    if job.step == len(job.commands):
        job.code = 0


def work(
    jobs: list[Job], slots: list[Slot], attempts: Attempts, logs: Path, what: str, of: list[Job] | None = None
) -> None:
    """Run the jobs that have no `code` on the slots there are; afterwards each has one. KeyboardInterrupt ends the
    processes.

    of: all jobs that the line of progress counts, where there are more of them.
    """
    logs.mkdir(parents=True, exist_ok=True)
    of = of or jobs
    waiting = [job for job in jobs if job.code is None]
    before = {job.name: job.share_done() for job in of if job.code is None}  # what is left of a resumed job takes less
    line, began_sec = Line(), time.monotonic()
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        while waiting or any(slot.job for slot in slots):
            for slot in slots:
                if slot.job is not None:
                    _poll(slot, attempts, logs)
                if slot.job is None and waiting:
                    _start(slot, waiting.pop(0), logs)
            if line.due():
                line.print(progress_line(of, slots, before, time.monotonic() - began_sec, what))
            time.sleep(0.2)
    finally:
        going = [slot for slot in slots if slot.process is not None]
        for slot in going:
            os.kill(_process(slot).pid, signal.SIGTERM)
        for slot in going:
            _note(slot, attempts, logs, *os.wait4(_process(slot).pid, 0)[1:])
        signal.signal(signal.SIGTERM, previous)
        line.close()


def progress_line(jobs: list[Job], slots: list[Slot], before: dict[str, float], took_sec: float, what: str) -> str:
    """Count, rate and time left; before: the shares of the jobs that were to do, when the clock began."""
    ended = sum(job.code is not None for job in jobs)
    running = [slot.job for slot in slots if slot.job is not None]
    shares = {job.name: job.share_done() if job.code is None else 1.0 for job in jobs if job.name in before}
    done = sum(shares.values()) - sum(before.values())
    left = clock(took_sec * (len(shares) - sum(shares.values())) / done) if done > 0.02 else "?"
    rate = f"{3600 * done / max(took_sec, 1e-6):.1f} {what}/h"
    names = ", ".join(job.name for job in running)
    return f"{ended}/{len(jobs)} {what}, {len(running)} running ({names})  {rate}  {left} left"


def _start(slot: Slot, job: Job, logs: Path) -> None:
    words = job.commands[job.step]
    module = [] if words[0].startswith("besnet.") else ["besnet"]
    environment = os.environ | slot.environment | {LAUNCHER: str(os.getpid())}
    path = logs / f"{job.name}.log"
    path.parent.mkdir(exist_ok=True)
    with open(path, "ab") as log:
        slot.process = subprocess.Popen(
            # in a group of its own: a Ctrl-C reaches it as one SIGTERM
            [sys.executable, "-m", *module, *words], stdout=log, stderr=log, env=environment, process_group=0
        )  # fmt: skip
    slot.job, slot.began_sec = job, time.monotonic()
    job.tried += 1


def _poll(slot: Slot, attempts: Attempts, logs: Path) -> None:
    """Check whether a slot's process has ended, and start the next command of its job."""
    ended, status, used = os.wait4(_process(slot).pid, os.WNOHANG)
    if not ended:
        return
    job = slot.job
    assert job is not None
    code, why = _note(slot, attempts, logs, status, used)
    if code == 0:
        job.step, job.tried = job.step + 1, 0
        job.code = 0 if job.step == len(job.commands) else None
    elif code in NON_RETRYABLE or job.tried >= TRIES:
        job.code, job.why = code, why
        print(f"besnet lab: {job.name} failed with exit code {code}: {why}", file=sys.stderr, flush=True)
    if job.code is None:
        _start(slot, job, logs)


def _note(slot: Slot, attempts: Attempts, logs: Path, status: int, used: resource.struct_rusage) -> tuple[int, str]:
    """Record an ended process and free its slot; its exit code and, unless 0, the last line of its log."""
    job = slot.job
    assert job is not None
    code = os.waitstatus_to_exitcode(status)
    why = "" if code == 0 else last_words(logs / f"{job.name}.log")
    attempts.add(
        name=job.name, step=job.step, code=code, why=why, device=slot.name, command=job.commands[job.step],
        wall_sec=time.monotonic() - slot.began_sec, cpu_sec=used.ru_utime + used.ru_stime,
    )  # fmt: skip
    _process(slot).returncode = code  # wait4 has reaped it, for its CPU time
    slot.job = slot.process = None
    return code, why


def _process(slot: Slot) -> "subprocess.Popen[bytes]":
    assert slot.process is not None
    return slot.process


def last_words(log: Path) -> str:
    """The last line of a log."""
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1].strip()[:400] if lines else ""
