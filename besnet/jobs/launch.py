"""Starts a training or an evaluation on many ranks and keeps it going: with torchrun here, or by Slurm."""

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

LONG_SEC = 600.0  # a job that lasted so long had got on: its retries count from the beginning again
LONGEST_WAIT_SEC = 60.0


def launch(
    command: list[str],
    on: Literal["local", "slurm"] = "local",
    ranks: int = 1,
    nodes: int = 1,
    node: int = 0,
    master: str = "127.0.0.1:29500",
    retries: int = 3,
    sbatch: list[str] | None = None,
    warn_sec: int = 120,
    file: Path = Path("besnet.sbatch"),
    submit: bool = False,
) -> int:
    """Start `besnet COMMAND` on every rank, and start it again when it fails for a reason that may pass.

    Args:
        command: verb and arguments as after `besnet`, for instance train --config configs/weizmann.yaml.
        on: `local` runs it here until it ends; `slurm` writes a job file, prints it and submits it if asked.
        ranks: processes on each machine, one a GPU.
        nodes: machines; with `local` start the same line on each of them.
        node: with `local` on several machines: which of them this is, from 0.
        master: with `local` on several machines: address and a free port of machine 0.
        retries: how often in a row the whole job is started again; ten minutes of work count as success.
        sbatch: with `slurm`: more options for the job, for instance ["--time=24:00:00", "--partition=gpu"].
        warn_sec: with `slurm`: seconds before the time limit at which the run saves itself and is queued again.
        file: with `slurm`: the job file to write.
        submit: with `slurm`: submit it, too.
    """
    if node >= nodes:
        raise ValueError(f"launch: --node {node}: the machines of --nodes {nodes} count from 0 to {nodes - 1}")
    if not command or command[0] not in ("train", "evaluate"):
        raise ValueError("launch: say what to run: besnet launch [OPTIONS] train --config FILE ...")
    if on == "local":
        return local(command, ranks, nodes, node, master, retries)
    text = script(command, ranks, nodes, retries, sbatch or [], warn_sec)
    write_text(file, text)
    print(text)
    if not submit:
        print(f"# submit it with: sbatch {file}")
        return 0
    try:
        return subprocess.run(["sbatch", str(file)]).returncode
    except FileNotFoundError:
        raise ValueError("launch: there is no sbatch on this machine: log in where jobs are submitted") from None


def local(command: list[str], ranks: int, nodes: int, node: int, master: str, retries: int) -> int:
    """Run the whole job until it ends well, hopelessly, or too often; returns its exit code."""
    words = [f"--nproc_per_node={ranks}", "--max-restarts=0"]
    if nodes == 1:
        words += ["--standalone"]
    else:
        address, _, port = master.rpartition(":")
        words += [f"--nnodes={nodes}", f"--node_rank={node}", f"--master_addr={address}", f"--master_port={port}"]
    torchrun = [sys.executable, "-m", "besnet.jobs.torchrun", *words, "-m", "besnet", *command]
    print(shlex.join(torchrun), flush=True)
    tried = 0
    while True:
        began_sec = time.monotonic()
        code = watch(torchrun)
        if code in NON_RETRYABLE:
            return code
        tried = 1 if time.monotonic() - began_sec > LONG_SEC else tried + 1
        if tried > retries:
            print(f"besnet: the job ended with code {code}, {tried} times in a row: not started again", file=sys.stderr)
            return code
        wait_sec = min(2.0 ** (tried - 1), LONGEST_WAIT_SEC)
        print(
            f"besnet: the job ended with code {code}; starting it again in {wait_sec:.0f} s ({tried} of {retries})",
            file=sys.stderr,
            flush=True,
        )
        time.sleep(wait_sec)


def watch(torchrun: list[str]) -> int:
    """One life of the job; signals that ask for a stop are passed on to it. Returns its exit code."""
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
    environment = os.environ | {LAUNCHER: str(os.getpid())}
    # in a session of its own: a Ctrl-C in the terminal would reach it twice
    with subprocess.Popen(torchrun, start_new_session=True, env=environment) as process:
        previous = {number: signal.signal(number, lambda got, _: os.kill(process.pid, got)) for number in numbers}
        try:
            code = process.wait()
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
    return code if code >= 0 else 128 - code
