"""Starts a training or an evaluation on many ranks and restarts it, and a preparation in parts: here, by Slurm or by
Kubernetes."""

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
from besnet.jobs import slurm
from besnet.jobs.kubernetes import Cluster, indexed_jobs, train_job
from besnet.jobs.stages import STAGES
from besnet.training.exit_codes import NON_RETRYABLE

LONG_SEC = 600.0  # a job that ran this long made progress: its restarts are counted from zero again
LONGEST_WAIT_SEC = 60.0


def launch(
    command: list[str],
    launcher: Literal["local", "slurm", "kubernetes"] = "local",
    nproc_per_node: int = 1,
    nnodes: int = 1,
    node_rank: int = 0,
    rdzv_endpoint: str = "127.0.0.1:29500",
    max_restarts: int = 3,
    sbatch: list[str] | None = None,
    warn_sec: int = 120,
    job_file: Path = Path("besnet.sbatch"),
    submit: bool = False,
    parts: int | None = None,
    image: str = "besnet:latest",
    data_claim: str = "videos",
    runs_claim: str = "runs",
) -> int:
    """Start `besnet COMMAND` on every rank, and restart it when it fails for a reason that may pass.

    `prepare` is done in parts, by Slurm or Kubernetes: a task does each, and a last one ends the work. So is `lab`: a
    task trains each run, one evaluates each network, and a last one writes the page.

    Args:
        command: verb and arguments as after `besnet`, for instance train --config configs/weizmann.yaml.
        launcher: `local` runs the job on this machine with torchrun; `slurm` and `kubernetes` write a job file and
            print it.
        nproc_per_node: processes on each machine, one per GPU.
        nnodes: machines; with `local` run the same command on each of them.
        node_rank: with `local` on several machines: the number of this one, from 0.
        rdzv_endpoint: with `local` on several machines: address and free port of machine 0.
        max_restarts: restarts in a row of a job that fails; ten minutes of work reset the count.
        sbatch: with `slurm`: more options for the job, for example ["--time=24:00:00", "--partition=gpu"].
        warn_sec: with `slurm`: seconds before the time limit at which the run saves a checkpoint and is queued again.
        job_file: with `slurm` and `kubernetes`: the job file to write; with prepare or lab and `slurm` there are others
            beside it, for the later jobs.
        submit: submit the job file, with sbatch or kubectl.
        parts: with prepare: the number of parts; a lab has one for each run.
        image: with `kubernetes`: the image of the pods.
        data_claim: with `kubernetes`: the claim of the volume /data.
        runs_claim: with `kubernetes`: the claim of the volume /runs.
    """
    if node_rank >= nnodes:
        raise ValueError(f"launch: --node_rank {node_rank}: must be 0 to {nnodes - 1} with --nnodes {nnodes}")
    if not command or command[0] not in ("train", "evaluate", "prepare", "lab"):
        raise ValueError("launch: nothing to run: write besnet launch [OPTIONS] train --config FILE ...")
    if (command[0] in STAGES) != (parts is not None):
        raise ValueError("launch: --parts N goes with prepare, and prepare with --parts N: the number of parts")
    if command[0] in STAGES and launcher == "local":
        raise ValueError(
            f"launch: on one machine `besnet {command[0]}` uses all cores: give --launcher slurm or kubernetes"
        )
    if launcher == "kubernetes":
        cluster = Cluster(image, data_claim, runs_claim)
        if parts is None:
            text = train_job(command, nproc_per_node, nnodes, cluster)
        else:
            text = indexed_jobs(command, parts, cluster)
        write_text(job_file, text)
        print(text)
        return applied(job_file, submit)
    if parts is not None:
        files = {}
        for name, text in slurm.scripts_of_parts(command, parts, max_restarts, sbatch or [], warn_sec).items():
            path = job_file.with_name(f"{job_file.stem}{name}{job_file.suffix}")
            write_text(path, text)
            print(f"# {path}\n{text}")
            files[name] = path
        if submit:
            return slurm.submit_parts(list(files.values()), parts)
        line = ""
        for path in files.values():
            behind = f"--dependency=afterany:$({line}) " if line else ""
            line = f"sbatch --parsable {behind}{path}"
        print(f"# submit them with: {line}")
        return 0
    if launcher == "local":
        return local(command, nproc_per_node, nnodes, node_rank, rdzv_endpoint, max_restarts)
    text = slurm.script(command, nproc_per_node, nnodes, max_restarts, sbatch or [], warn_sec)
    write_text(job_file, text)
    print(text)
    if not submit:
        print(f"# submit it with: sbatch {job_file}")
        return 0
    submitted = slurm.submit([str(job_file)])
    print(f"submitted: {submitted.stdout.strip()}")
    return submitted.returncode


def applied(job_file: Path, submit: bool) -> int:
    """Give a job file to the cluster, or say how; returns kubectl's exit code."""
    if not submit:
        print(f"# apply it with: kubectl apply -f {job_file}")
        return 0
    try:
        return subprocess.run(["kubectl", "apply", "-f", str(job_file)]).returncode
    except FileNotFoundError:
        raise ValueError("launch: no kubectl on this machine: run this where there is one") from None


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
