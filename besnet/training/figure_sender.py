"""The process that sends a run's figures to one remote logger: `python -m besnet.training.figure_sender RUN LOGGER
TRAINING`, where TRAINING is the process that it ends with.

A line on its standard input is a step: what metrics.csv has before it may be sent. `finished STEP` and `stopped STEP`
are the last one. What has been sent, and the id of the remote run, are in RUN/loggers/LOGGER.jsonl.
"""

import os
import queue
import secrets
import signal
import sys
import threading
import time
from collections import deque
from pathlib import Path
from typing import Any, Protocol

import yaml

from besnet.files import Journal
from besnet.formats import stamp, upgraded
from besnet.supervision import when_ended
from besnet.text import short
from besnet.training.metrics_table import whole_rows

GONE_SEC = 20.0  # to close the remote run once the training is gone
FIRST_WAIT_SEC, LONGEST_WAIT_SEC = 5.0, 300.0
EPOCH = "epoch"


class Remote(Protocol):
    """A remote run. Every call may fail, with any exception, or hang."""

    id: str

    def connect(self) -> int:
        """Open the run, a new one or that of the id. Returns the last step that it is known to have, or -1."""

    def send(self, step: int, figures: dict[str, float]) -> None:
        """Write the figures of one step."""

    def finish(self, finished: bool) -> None:
        """Close the run; finished: whether the training has come to its end."""


class Wandb:
    """Weights & Biases. WANDB_PROJECT, WANDB_ENTITY, WANDB_MODE=offline and others are obeyed."""

    def __init__(self, run: Path, known: str) -> None:
        os.environ.setdefault("WANDB_CONSOLE", "off")
        self.id, self.run, self.new = known or secrets.token_hex(4), run, not known

    def connect(self) -> int:
        from pytorch_lightning.loggers import WandbLogger

        project = os.environ.get("WANDB_PROJECT", "besnet")
        self.logger = WandbLogger(name=self.run.name, save_dir=self.run, id=self.id, project=project)
        experiment: Any = self.logger.experiment
        if self.new:
            self.logger.log_hyperparams(settings(self.run))
        return int(experiment.step) - 1

    def send(self, step: int, figures: dict[str, float]) -> None:
        # with the step as its own: parts of a run that were made offline then follow each other
        self.logger.experiment.log(figures | {"trainer/global_step": step}, step=step)

    def finish(self, finished: bool) -> None:
        self.logger.experiment.finish(exit_code=0 if finished else 1)


class Mlflow:
    """MLflow, at MLFLOW_TRACKING_URI; without it, files in the run's folder `mlruns`."""

    def __init__(self, run: Path, known: str) -> None:
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
        self.id, self.run = known, run

    def connect(self) -> int:
        from pytorch_lightning.loggers import MLFlowLogger

        address = os.environ.get("MLFLOW_TRACKING_URI")
        if not address:
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        experiment = os.environ.get("MLFLOW_EXPERIMENT_NAME", "besnet")
        self.logger = MLFlowLogger(
            experiment, self.run.name, address, save_dir=str((self.run / "mlruns").resolve()), run_id=self.id or None
        )
        client, new = self.logger.experiment, not self.id
        self.id = str(self.logger.run_id)
        if new:
            self.logger.log_hyperparams(settings(self.run))
        client.update_run(self.id, status="RUNNING")
        return max((metric.step for metric in client.get_metric_history(self.id, EPOCH)), default=-1)

    def send(self, step: int, figures: dict[str, float]) -> None:
        # "@" is not allowed in the names of its metrics
        self.logger.log_metrics({name.replace("@", "_at_"): figure for name, figure in figures.items()}, step)

    def finish(self, finished: bool) -> None:
        self.logger.finalize("finished" if finished else "KILLED")


KINDS: dict[str, type[Wandb] | type[Mlflow]] = {"wandb": Wandb, "mlflow": Mlflow}


class Sender:
    """Sends each step once, in order, and tries again after a failure."""

    def __init__(self, run: Path, name: str, report: Any) -> None:
        self.run, self.name, self.report = run, name, report
        self.journal = journal_of(run, name)
        known = [upgraded(record, "logger", str(self.journal.path)) for record in self.journal.records()]
        self.remote: Remote = KINDS[name](run, next((str(record["id"]) for record in known if "id" in record), ""))
        self.connected = False
        self.sent = last_sent(run, name)
        self.failures = 0
        self.again_sec = 0.0  # the time of the next try
        self.closing = threading.Event()  # whether no more may be sent: the next process of the run does that

    def send_before(self, step: int) -> None:
        """Send what is still to be sent of the steps before this one."""
        if time.monotonic() < self.again_sec:
            return
        try:
            if not self.connected:
                self._connect()
            for number, figures in sorted(steps_of(self.run).items()):
                if self.sent < number < step and not self.closing.is_set():
                    self._send(number, figures)
        except Exception as error:  # whatever a logger raises
            self._failed(error)

    def finish(self, finished: bool) -> None:
        """Close the remote run."""
        if self.connected:
            self.remote.finish(finished)

    def _connect(self) -> None:
        if self.remote.id:
            self._note(id=self.remote.id)
        there = self.remote.connect()
        self._note(id=self.remote.id)
        self.connected = True
        self.sent = max(self.sent, there)

    def _send(self, step: int, figures: dict[str, float]) -> None:
        # noted first: a kill between the two loses a step there, and never writes it twice
        self.journal.append({"sent": step}, sync=False)
        try:
            self.remote.send(step, figures)
        except Exception:
            self.journal.append({"sent": self.sent}, sync=False)
            raise
        self.sent, self.failures = step, 0

    def _note(self, id: str) -> None:
        if not any(record.get("id") == id for record in self.journal.records()):
            self.journal.append(stamp("logger") | {"id": id})

    def _failed(self, error: Exception) -> None:
        if not self.failures:
            why = short(" ".join(str(error).split()), 200) or type(error).__name__
            print(f"besnet: {self.name}: {why}: the training goes on, and figures are sent later",
                  file=self.report, flush=True)  # fmt: skip
        self.connected = False  # what it has got is looked up again
        self.failures += 1
        self.again_sec = time.monotonic() + min(LONGEST_WAIT_SEC, FIRST_WAIT_SEC * 2 ** (self.failures - 1))


def journal_of(run: Path, name: str) -> Journal:
    """The record of what a logger has got."""
    return Journal(run / "loggers" / f"{name}.jsonl")


def last_sent(run: Path, name: str) -> int:
    """The last step that a logger has got; -1 for none."""
    return next(
        (int(record["sent"]) for record in reversed([*journal_of(run, name).records()]) if "sent" in record), -1
    )


def steps_of(run: Path) -> dict[int, dict[str, float]]:
    """The figures of every logged step, the validation's with those of the training."""
    header, *rows = whole_rows(run / "metrics.csv") or [[]]
    found: dict[int, dict[str, float]] = {}
    for row in rows:
        values = dict(zip(header, row, strict=False))
        if values.get("step", "").isdecimal():
            figures = {name: float(value) for name, value in values.items() if value and name != "step"}
            found.setdefault(int(values["step"]), {}).update(figures)
    return found


def settings(run: Path) -> dict[str, Any]:
    """The run's resolved configuration."""
    found: dict[str, Any] = yaml.safe_load((run / "config.yaml").read_text())
    return found


def main(run: Path, name: str, training: int) -> None:
    """Send until the training says that it ends, or is gone."""
    report = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what packages print goes to the log
    os.nice(10)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    lines: queue.Queue[str] = queue.Queue()
    threading.Thread(target=lambda: deque(map(lines.put, sys.stdin), maxlen=0), daemon=True).start()
    sender, step, word = Sender(run, name, report), 0, ""

    def close() -> None:
        sender.closing.set()
        lines.put("stopped 0")
        time.sleep(GONE_SEC)
        os._exit(1)

    when_ended(training, close)
    while not word:
        try:
            *words, number_text = lines.get(timeout=FIRST_WAIT_SEC).split()
            step, word = int(number_text), "".join(words)
        except queue.Empty:
            pass
        if word:
            sender.again_sec = 0.0
        sender.send_before(step)
    sender.finish(word == "finished")
    os._exit(0)  # without what packages still want to do: the training waits


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
