"""Starts a training or an evaluation on many ranks and restarts it: with torchrun here, or by Slurm."""

import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Literal

from besnet.environment import LAUNCHER
from besnet.files import write_text
from besnet.jobs.slurm import script
from besnet.training.exit_codes import NON_RETRYABLE

LONG_SEC = 600.0  # a job that ran this long made progress: its restarts are counted from zero again
LONGEST_WAIT_SEC = 60.0


def launch(
    command: list[str],
    launcher: Literal["local", "slurm"] = "local",
    nproc_per_node: int = 1,
    nnodes: int = 1,
    node_rank: int = 0,
    rdzv_endpoint: str = "127.0.0.1:29500",
    max_restarts: int = 3,
    sbatch: list[str] | None = None,
    warn_sec: int = 120,
    job_file: Path = Path("besnet.sbatch"),
    submit: bool = False,
) -> int:
    """Start `besnet COMMAND` on every rank, and restart it when it fails for a reason that may pass.

    Args:
        command: verb and arguments as after `besnet`, for instance train --config configs/weizmann.yaml.
        launcher: `local` runs the job on this machine with torchrun; `slurm` writes a job file and prints it.
        nproc_per_node: processes on each machine, one per GPU.
        nnodes: machines; with `local` run the same command on each of them.
        node_rank: with `local` on several machines: the number of this one, from 0.
        rdzv_endpoint: with `local` on several machines: address and free port of machine 0.
        max_restarts: restarts in a row of a job that fails; ten minutes of work reset the count.
        sbatch: with `slurm`: more options for the job, for example ["--time=24:00:00", "--partition=gpu"].
        warn_sec: with `slurm`: seconds before the time limit at which the run saves a checkpoint and is queued again.
        job_file: with `slurm`: the job file to write.
        submit: with `slurm`: submit the job file.
    """
    if node_rank >= nnodes:
        raise ValueError(f"launch: --node_rank {node_rank}: must be 0 to {nnodes - 1} with --nnodes {nnodes}")
    if not command or command[0] not in ("train", "evaluate"):
        raise ValueError("launch: nothing to run: write besnet launch [OPTIONS] train --config FILE ...")
    if launcher == "local":
        return local(command, nproc_per_node, nnodes, node_rank, rdzv_endpoint, max_restarts)
    text = script(command, nproc_per_node, nnodes, max_restarts, sbatch or [], warn_sec)
    write_text(job_file, text)
    print(text)
    if not submit:
        print(f"# submit it with: sbatch {job_file}")
        return 0
    try:
        return subprocess.run(["sbatch", str(job_file)]).returncode
    except FileNotFoundError:
        raise ValueError("launch: no sbatch on this machine: run this where Slurm jobs are submitted") from None


def local(
    command: list[str], nproc_per_node: int, nnodes: int, node_rank: int, rdzv_endpoint: str, max_restarts: int
) -> int:
    """Run the job until it succeeds, fails for good or fails too often; returns its exit code."""
    words = [f"--nproc_per_node={nproc_per_node}", "--max-restarts=0"]
    if nnodes == 1:
        words += ["--standalone"]
    else:
        address, _, port = rdzv_endpoint.rpartition(":")
        words += [f"--nnodes={nnodes}", f"--node_rank={node_rank}", f"--master_addr={address}", f"--master_port={port}"]
    torchrun = [sys.executable, "-m", "besnet.jobs.torchrun", *words, "-m", "besnet", *command]
    print(shlex.join(torchrun), flush=True)
    tried = 0
    while True:
        began_sec = time.monotonic()
        code = watch(torchrun)
        if code in NON_RETRYABLE:
            return code
        tried = 1 if time.monotonic() - began_sec > LONG_SEC else tried + 1
        if tried > max_restarts:
            print(
                f"besnet: the job failed {tried} times in a row, now with exit code {code}: not restarted",
                file=sys.stderr,
            )
            return code
        wait_sec = min(2.0 ** (tried - 1), LONGEST_WAIT_SEC)
        print(
            f"besnet: the job failed with exit code {code}: restarting in {wait_sec:.0f} s ({tried} of {max_restarts})",
            file=sys.stderr,
            flush=True,
        )
        time.sleep(wait_sec)


def watch(torchrun: list[str]) -> int:
    """One attempt of the job; stop signals are passed on to it. Returns its exit code."""
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
    environment = os.environ | {LAUNCHER: str(os.getpid())}
    # in a session of its own: otherwise Ctrl-C in the terminal would reach it twice
    with subprocess.Popen(torchrun, start_new_session=True, env=environment) as process:
        previous = {number: signal.signal(number, lambda got, _: os.kill(process.pid, got)) for number in numbers}
        try:
            code = process.wait()
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
    return code if code >= 0 else 128 - code
