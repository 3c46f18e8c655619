"""The exit codes of a training process, and the one line that gives the reason.

| code | means | start the same command again? |
|---|---|---|
| 0 | finished | |
| 2 | wrong use, or something to fix first: a disk, a file, a setting | after fixing it |
| 65 | the loss or the weights were no longer finite | after a change: it would happen again |
| 69 | no progress for `saving.watchdog_minutes`, another rank was lost, or remote data cannot be reached now | yes |
| 71 | out of memory, or of shared memory | with smaller batches, or more of it |
| 74 | a loader worker died | yes |
| 75 | the run saved a checkpoint and stopped after a signal | yes, to resume |
| 137 | the process or its launcher was killed | yes |
| 128 + n | a second signal n ended it at once | yes |
"""

import re
import traceback
from pathlib import Path

import torch
import torch.distributed as dist

from besnet.watchdog import HUNG

WRONG_USE = 2
NOT_FINITE = 65
OUT_OF_MEMORY = 71
WORKER_DIED = 74
STOPPED = 75
NON_RETRYABLE = (0, WRONG_USE, NOT_FINITE, OUT_OF_MEMORY, STOPPED)  # a launcher does not restart after these

DEAD_WORKER = re.compile(r"DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\)")
IN_WORKER = re.compile(r"Caught (\w+) in DataLoader worker process (\d+)\.")
NO_MEMORY = re.compile(r"can't allocate memory|not enough memory|out of memory", re.I)
NO_SHARED_MEMORY = re.compile(r"shared memory|torch_\d+_\d+_\d+|/dev/shm|Bus error")
TOO_MANY_FILES = re.compile(r"[Tt]oo many open files")
LOST_RANK = re.compile(r"gloo|NCCL|[Cc]onnection (closed|reset|refused)|Timed out waiting|Broken pipe|TCPStore")


RESUMES = (
    ": it was killed, or this machine is short of memory or shared memory (see `besnet doctor`); the same command "
    "resumes from the last checkpoint"
)


class RunExit(Exception):  # noqa: N818  (not an error: a documented exit)
    """The end of a run, with its exit code and the line that gives the reason."""

    def __init__(self, code: int, line: str) -> None:
        super().__init__(line)
        self.code = code


def explain(error: BaseException, sizes: str) -> BaseException:
    """A failure of the training loop in the user's terms: a RunExit or a ValueError, else `error` itself.

    sizes: the settings that take memory and which to lower, for a run that is out of memory.
    """
    text = str(error)
    worker = IN_WORKER.search(text)
    if worker and worker[1] in ("ValueError", "OSError"):
        return ValueError(f"loader worker {worker[2]}: {text.strip().splitlines()[-1].partition(': ')[2]}")
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return RunExit(OUT_OF_MEMORY, f"out of memory with {sizes}")
    if isinstance(error, ConnectionError | FileNotFoundError | EOFError) and between_processes(error):
        return RunExit(WORKER_DIED, f"a loader worker died while it sent a batch{RESUMES}")
    if TOO_MANY_FILES.search(text):
        return ValueError("too many open files: raise the limit with ulimit -n 65536")
    if not isinstance(error, RuntimeError):
        return error
    if "Pin memory thread exited" in text:
        return RunExit(WORKER_DIED, f"the thread that copies batches to the GPU died{RESUMES}")
    dead = DEAD_WORKER.search(text)
    if dead and "Bus error" not in text:
        return RunExit(WORKER_DIED, f"loader worker with process id {dead[1]} died{RESUMES}")
    if NO_SHARED_MEMORY.search(text) and "rror" in text and not LOST_RANK.search(text):
        return RunExit(
            OUT_OF_MEMORY,
            f"no shared memory left for {sizes}; in a container start it with --shm-size=16g "
            f"({text.strip().splitlines()[-1]})",
        )
    if NO_MEMORY.search(text):
        return RunExit(OUT_OF_MEMORY, f"out of memory with {sizes}")
    if isinstance(error, dist.DistError) or LOST_RANK.search(text):
        reason = " ".join(text.strip().splitlines()[0].split())[:160]
        return RunExit(HUNG, f"another rank was lost or did not respond in time ({reason}): start the whole job again")
    return error


def between_processes(error: BaseException) -> bool:
    """Whether an error was raised while tensors were sent between processes."""
    return any("multiprocessing" in Path(frame.filename).parts for frame in traceback.extract_tb(error.__traceback__))
