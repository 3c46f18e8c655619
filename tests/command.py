"""besnet's command line as the tests call it: tiny training runs, in this process or in one of their own."""

import hashlib
import subprocess
import sys
import time
from pathlib import Path

import psutil

from besnet import cli
from besnet.checkpoints import store

LIMIT_SEC = 840.0  # for what must happen: a matter of a machine at its slowest
TINY = [
    "--model.blocks=[1,1]", "--model.width=8", "--model.temporal_padding=replicate", "--model.dropout=0.2",
    "--data.clip.num_frames=4", "--data.clip.frame_interval=2", "--data.crop_size=32", "--data.batch_size=4",
    "--data.workers=0", "--recipe.optimizer=adamw", "--recipe.lr=0.005", "--data.crop.flip=0",
    "--data.crop.short_side=[1.0,1.2]", "--evaluation.num_clips=2", "--evaluation.num_crops=1",
    "--trainer.accelerator=cpu", "--trainer.log_every_n_steps=1",
]  # fmt: skip


def train_words(data: Path, run: Path, *words: str) -> list[str]:
    """The arguments of a tiny training."""
    return [f"--data.folder={data}", f"--out={run}", "--trainer.max_epochs=3", *TINY, *words]


def train(data: Path, run: Path, *words: str) -> int:
    """Train in this process."""
    return cli.run("train", train_words(data, run, *words))


def start(verb: str, *words: str, ranks: int = 1, own_group: bool = False) -> subprocess.Popen[str]:
    """Start a verb in processes of its own; `own_group` lets a signal reach all of them and nothing else."""
    torchrun = (
        ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={ranks}", "-m"] if ranks > 1 else ["-m"]
    )
    command = [sys.executable, "-W", "ignore", *torchrun, "besnet", verb, *words]
    return subprocess.Popen(
        command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=own_group
    )


def loader_workers(rank: int, least: int) -> list[psutil.Process]:
    """The loader workers of a rank, by its process id, as soon as there are enough: children of its fork server.

    A worker has a thread that watches over its reader; what else such a child may be has none.
    """
    deadline_sec = time.monotonic() + LIMIT_SEC
    while time.monotonic() < deadline_sec:
        workers = [worker for child in psutil.Process(rank).children() for worker in workers_under(child)]
        if len(workers) >= least:
            return workers
        time.sleep(0.05)
    raise AssertionError("the workers did not start")


def workers_under(child: psutil.Process) -> list[psutil.Process]:
    """The loader workers of a process if it is a fork server; none of one that is ending (a finished helper)."""
    try:
        if "forkserver" not in " ".join(child.cmdline()):
            return []
        # what else it starts, such as ldconfig while it imports packages, is no worker
        forked = [worker for worker in child.children() if "forkserver" in " ".join(worker.cmdline())]
        return [worker for worker in forked if worker.num_threads() > 1]
    except psutil.Error:
        return []


def gone(process: psutil.Process) -> bool:
    """Whether a process has ended; what is left of it in the table of processes does not count."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def wait_for_step(run: Path, step: int) -> None:
    """Wait until a run has trained and noted a step."""
    table = run / "metrics.csv"
    deadline_sec = time.monotonic() + LIMIT_SEC
    while not table.exists() or len(table.read_text().splitlines()) <= step:
        assert time.monotonic() < deadline_sec, "the run does not get on"
        time.sleep(0.01)


def weights_hash(run: Path) -> str:
    """One number for every weight and every moment of the optimiser in a run's newest checkpoint."""
    checkpoint = store.load(run)
    digest = hashlib.sha256()
    for name, weight in sorted(checkpoint["state_dict"].items()):
        digest.update(name.encode() + weight.contiguous().numpy().tobytes())
    for state in checkpoint["optimizer_states"]:
        for number, moments in sorted(state["state"].items()):
            for name, value in sorted(moments.items()):
                if value is not None:
                    digest.update(f"{number} {name}".encode() + value.contiguous().numpy().tobytes())
    return digest.hexdigest()
