"""Runs jobs in worker processes, each with a deadline; a worker that crashes or hangs is replaced."""

import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from besnet.data.prepare.process_video import OF_THE_MACHINE, Job, Outcome

# Importing the libraries takes a second or more on a busy machine and is not the video's time.
START_SEC = 60.0


class _Worker:
    def __init__(self) -> None:
        here = str(Path(__file__).resolve().parents[3])
        path = os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH")]))
        threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "besnet.data.prepare.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **threads, "PYTHONPATH": path},
        )
        self.job: Job | None = None
        self.began = 0.0
        self.served = 0
        self.reply = b""

    def give(self, job: Job) -> None:
        assert self.process.stdin is not None
        self.job, self.began, self.reply = job, time.monotonic(), b""
        with suppress(BrokenPipeError):  # it died: reading its reply will show that
            self.process.stdin.write(json.dumps(asdict(job)).encode() + b"\n")
            self.process.stdin.flush()

    def due(self, deadline_sec: float) -> float:
        return self.began + deadline_sec + (0 if self.served else START_SEC)

    def end(self) -> int:
        self.process.kill()
        code = self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            with suppress(BrokenPipeError):
                pipe.close()
        return code


def run_jobs(jobs: Iterable[Job], workers: int, deadline_sec: float) -> Iterator[Outcome]:
    """Outcomes in the order in which jobs finish; at most `workers` are in flight."""
    waiting = iter(jobs)
    idle: list[_Worker] = []
    busy = selectors.DefaultSelector()
    alive: set[_Worker] = set()
    more = True
    try:
        while True:
            while more and len(busy.get_map()) < workers:
                job = next(waiting, None)
                if job is None:
                    more = False
                    break
                worker = idle.pop() if idle else _Worker()
                alive.add(worker)
                worker.give(job)
                busy.register(worker.process.stdout, selectors.EVENT_READ, worker)  # type: ignore[arg-type]
            if not busy.get_map():
                return
            now = time.monotonic()
            first = min(key.data.due(deadline_sec) for key in busy.get_map().values())
            ready = {key.data for key, _ in busy.select(max(0.0, first - now))}
            now = time.monotonic()
            for worker in [key.data for key in list(busy.get_map().values())]:
                outcome = _answer(worker) if worker in ready else None
                if outcome is None and worker not in ready and now >= worker.due(deadline_sec):
                    outcome = Outcome(worker.job.number, why=f"did not finish within {deadline_sec:g} s")
                if outcome is None:
                    continue
                busy.unregister(worker.process.stdout)
                if outcome.why and (worker.process.poll() is not None or worker.reply == b""):
                    alive.discard(worker)
                    worker.end()
                else:
                    worker.served += 1
                    idle.append(worker)
                yield outcome
    finally:
        busy.close()
        for worker in alive:
            worker.end()


def _answer(worker: _Worker) -> Outcome | None:
    """The outcome a worker has written, or why it cannot write one; None while half of it has arrived."""
    assert worker.process.stdout is not None
    assert worker.job is not None
    piece = os.read(worker.process.stdout.fileno(), 1 << 16)
    if not piece:
        code = worker.end()
        worker.reply = b""
        name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return Outcome(worker.job.number, why=f"the decoder crashed ({name})")
    worker.reply += piece
    if not worker.reply.endswith(b"\n"):
        return None
    raw: dict[str, Any] = json.loads(worker.reply)
    if OF_THE_MACHINE in raw:
        number, why = raw[OF_THE_MACHINE]
        raise OSError(number, f"{why}, while it was prepared", worker.job.path)
    return Outcome(**raw)
