"""How a training process may end: its exit codes, and the one line that says why.

| code | means | start the same command again? |
|---|---|---|
| 0 | finished | |
| 2 | wrong use, or something to fix first: a disk, a file, a setting | after mending it |
| 65 | the loss or the weights were no longer finite | after changing something: it would happen again |
| 69 | nothing moved for `saving.watchdog_minutes`, or another rank was lost | yes |
| 71 | out of memory, or of shared memory | with smaller batches, or more of it |
| 74 | a worker that loads data died | yes |
| 75 | a signal asked the run to stop: it saved itself first | yes, to go on |
| 137 | its launcher was killed, or itself | yes |
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
NON_RETRYABLE = (0, WRONG_USE, NOT_FINITE, OUT_OF_MEMORY, STOPPED)  # a launcher does not try these again

DEAD_WORKER = re.compile(r"DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\)")
IN_WORKER = re.compile(r"Caught (\w+) in DataLoader worker process (\d+)\.")
NO_MEMORY = re.compile(r"can't allocate memory|not enough memory|out of memory", re.I)
NO_SHARED_MEMORY = re.compile(r"shared memory|torch_\d+_\d+_\d+|/dev/shm|Bus error")
TOO_MANY_FILES = re.compile(r"[Tt]oo many open files")
LOST_RANK = re.compile(r"gloo|NCCL|[Cc]onnection (closed|reset|refused)|Timed out waiting|Broken pipe|TCPStore")


GOES_ON = (
    ": it was killed, or this machine is short of memory or of shared memory (`besnet doctor` tells); the same command "
    "goes on from the last checkpoint"
)


class RunExit(Exception):  # noqa: N818  (no error: a documented way to end)
    """The end of a run for a reason that one line explains."""

    def __init__(self, code: int, line: str) -> None:
        super().__init__(line)
        self.code = code


def explain(error: BaseException, sizes: str) -> BaseException:
    """What a failure of the training loop means to the one who started it: a RunExit or a ValueError, else `error`.

    sizes: what the memory went into and what to lower, for a run that is out of memory.
    """
    text = str(error)
    worker = IN_WORKER.search(text)
    if worker and worker[1] in ("ValueError", "OSError"):
        return ValueError(f"loader worker {worker[2]}: {text.strip().splitlines()[-1].partition(': ')[2]}")
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return RunExit(OUT_OF_MEMORY, f"out of memory with {sizes}")
    if isinstance(error, ConnectionError | FileNotFoundError | EOFError) and between_processes(error):
        return RunExit(WORKER_DIED, f"loader worker died while it handed over a batch{GOES_ON}")
    if TOO_MANY_FILES.search(text):
        return ValueError("too many open files on this machine or in this process: raise it (ulimit -n 65536)")
    if not isinstance(error, RuntimeError):
        return error
    if "Pin memory thread exited" in text:
        return RunExit(WORKER_DIED, f"the thread that copies batches for the GPU died{GOES_ON}")
    dead = DEAD_WORKER.search(text)
    if dead and "Bus error" not in text:
        return RunExit(WORKER_DIED, f"loader worker with process id {dead[1]} died{GOES_ON}")
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
        return RunExit(HUNG, f"another rank was lost or did not answer in time ({reason}); start the whole job again")
    return error


def between_processes(error: BaseException) -> bool:
    """Whether an error came up where tensors travel between processes."""
    return any("multiprocessing" in Path(frame.filename).parts for frame in traceback.extract_tb(error.__traceback__))
