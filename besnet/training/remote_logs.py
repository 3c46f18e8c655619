"""Where else a training's figures go: Weights & Biases and MLflow, each fed by a process of its own.

The process reads metrics.csv and sends what lies before the newest checkpoint: such steps are never trained again, so
that none is sent twice. A logger that fails or hangs keeps nobody waiting, and what it missed is sent later.
"""

import importlib.util
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import pytorch_lightning as pl

from besnet.training.figure_sender import last_sent, steps_of
from besnet.training.saving import Saving

Logger = Literal["tensorboard", "csv", "wandb", "mlflow"]
REMOTE = ("wandb", "mlflow")
CLOSING_SEC = 60.0  # for the last figures, all loggers together


def check_loggers(loggers: Sequence[str]) -> None:
    """ValueError for a logger whose package is not installed."""
    for name in loggers:
        if name in REMOTE and importlib.util.find_spec(name) is None:
            raise ValueError(f"loggers: {name} is not installed: pip install 'besnet[{name}]'")


class RemoteLogs(pl.Callback):
    """Starts a process for each remote logger, tells it which steps are safe in a checkpoint, and ends it."""

    def __init__(self, run: Path, loggers: Sequence[str], saving: Saving) -> None:
        self.run = run
        self.names = [name for name in dict.fromkeys(loggers) if name in REMOTE]
        self.saving = saving
        self.senders: dict[str, subprocess.Popen[bytes]] = {}
        self.told = 0
        self.finished = False

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the processes, once metrics.csv ends with the checkpoint that the run starts from."""
        for name in self.names if trainer.is_global_zero else ():
            (self.run / "loggers").mkdir(exist_ok=True)
            words = [sys.executable, "-P", "-W", "ignore", "-m", "besnet.training.figure_sender"]
            words += [str(self.run), name, str(os.getpid())]
            with open(self.run / "loggers" / f"{name}.log", "ab") as log:
                sender = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=2, stderr=log, start_new_session=True)
            assert sender.stdin
            os.set_blocking(sender.stdin.fileno(), False)
            self.senders[name] = sender
        self._tell(self.saving.last_step)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        """After a save: the steps before it may be sent."""
        if self.senders and self.saving.last_step != self.told:
            self._tell(self.saving.last_step)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """After the last save of a run that is not to be resumed, its own step may be sent as well."""
        self.finished = not self.saving.stopped

    def _tell(self, step: int, word: str = "") -> None:
        self.told = step
        for sender in self.senders.values():
            assert sender.stdin
            with suppress(OSError):  # one that is gone, or hangs with a full pipe
                os.write(sender.stdin.fileno(), f"{word}{step}\n".encode())

    def close(self) -> None:
        """Have the last figures sent, wait for it for a minute at most, and print what is left to do."""
        if self.finished:
            self._tell(self.saving.last_step + 1, "finished ")
        else:
            self._tell(self.saving.last_step, "stopped ")
        until_sec = time.monotonic() + CLOSING_SEC
        for name, sender in self.senders.items():
            with suppress(subprocess.TimeoutExpired):
                sender.wait(max(0.0, until_sec - time.monotonic()))
            with suppress(ProcessLookupError):
                os.killpg(sender.pid, signal.SIGKILL)
            sender.communicate()
            for line in self._left(name):
                print(line, flush=True)
        self.senders = {}

    def _left(self, name: str) -> list[str]:
        """What a logger has not got, and how to look at what it has."""
        sent = last_sent(self.run, name)
        missing = sum(sent < step < self.told for step in steps_of(self.run))
        lines = []
        if missing:
            lines.append(
                f"{name}: {missing} logged steps were not sent, see {self.run / 'loggers' / name}.log: the same "
                "command sends them; metrics.csv has them all"
            )
        offline = shlex.quote(str(self.run / "wandb")) + "/offline-run-*"
        if name == "wandb" and any((self.run / "wandb").glob("offline-run-*")):
            lines.append(f"wandb: offline: wandb sync {offline}")
        local = self.run / "mlruns"
        if name == "mlflow" and local.is_dir():
            where = shlex.quote(str(local))
            lines.append(f"mlflow: offline: MLFLOW_ALLOW_FILE_STORE=true mlflow ui --backend-store-uri {where}")
        return lines
