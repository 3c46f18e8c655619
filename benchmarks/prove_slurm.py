"""A real Slurm on this machine runs a job on one and on two nodes, warns it, queues it again: the same bits in the end.

    make prove-slurm     # about 6 minutes on two cores; needs root and Debian's munge slurmctld slurmd slurm-client

The cluster lives in a temporary folder: a controller and two node daemons, each with a host name of its own. The jobs
are written and submitted by `besnet launch --launcher slurm`. Once a job has saved a checkpoint, the batch shell gets
the signal that Slurm would send before the time limit; the job saves itself, goes back to the queue and goes on. Exit
code 1 unless the requeued job ends well with the weights and the optimiser of an undisturbed run.
"""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.prove_resume import STEPS_PER_EPOCH, hashes, run_words, saved, undisturbed
from tests import moving_squares

EPOCHS = 40
LIMIT_SEC = 400.0
CONFIGURATION = """\
ClusterName=besnet
SlurmctldHost=localhost
SlurmctldPort=16817
SlurmUser=root
AuthInfo=socket={folder}/munge.sock
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/controller.pid
SlurmdPidFile={folder}/node.%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ReturnToService=2
KillWait=10
SchedulerParameters=sched_interval=2,bf_interval=2
NodeName=n[1-2] NodeHostname=localhost NodeAddr=127.0.0.1 Port=[17001-17002] CPUs=2 RealMemory=2000
PartitionName=debug Nodes=ALL Default=YES MaxTime=INFINITE
"""


@contextlib.contextmanager
def cluster(folder: Path) -> Iterator[None]:
    """Start a controller and two nodes, and stop them all at the end."""
    (folder / "state").mkdir(parents=True)
    (folder / "slurm.conf").write_text(CONFIGURATION.format(folder=folder))
    (folder / "munge.key").touch(mode=0o600)
    (folder / "munge.key").write_bytes(os.urandom(128))
    (folder / "hosts").write_text(Path("/etc/hosts").read_text() + "127.0.0.1 n1 n2\n")
    os.environ["SLURM_CONF"] = str(folder / "slurm.conf")
    munge = [f"--{name}={folder}/munge.{end}" for name, end in (("key-file", "key"), ("pid-file", "pid"))]
    munge += [f"--seed-file={folder}/munge.seed", "-S", f"{folder}/munge.sock"]
    commands = [["munged", "-F", "--force", *munge], ["slurmctld", "-D"]]
    for node in ("n1", "n2"):
        see = f"mount --bind {folder}/hosts /etc/hosts && exec slurmd -D -N {node}"
        commands.append(["unshare", "-m", "sh", "-c", see])
    daemons: list[subprocess.Popen[bytes]] = []
    try:
        for command in commands:
            log = open(folder / f"{command[0]}{len(daemons)}.log", "wb")  # noqa: SIM115
            daemons.append(subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True))
            time.sleep(1)
        wait(idle, "the nodes are idle")
        yield
    finally:
        for daemon in reversed(daemons):
            daemon.send_signal(signal.SIGTERM)
        for daemon in daemons:
            with contextlib.suppress(subprocess.TimeoutExpired):
                daemon.wait(timeout=15)
            daemon.kill()


def out(*command: str) -> str:
    """What a command prints."""
    return subprocess.run(command, capture_output=True, text=True).stdout


def wait(ready: Callable[[], bool], what: str) -> None:
    """Wait until something holds."""
    until_sec = time.monotonic() + LIMIT_SEC
    while not ready():
        if time.monotonic() > until_sec:
            raise TimeoutError(f"waited {LIMIT_SEC:.0f} s in vain: {what}")
        time.sleep(0.5)


def idle() -> bool:
    """Whether no node has anything to do."""
    return out("sinfo", "-h", "-o", "%T").split() == ["idle"]


def state(job: str, field: str) -> str:
    """A field of `scontrol show job`."""
    words = out("scontrol", "show", "job", job).split()
    return next((word.partition("=")[2] for word in words if word.startswith(field + "=")), "")


def run_job(data: Path, run: Path, nodes: int) -> bool:
    """Submit, warn, let it be requeued and end. Whether it ended well after one restart."""
    ranks = 2 // nodes
    words = [*run_words(data, run, EPOCHS), f"--trainer.num_nodes={nodes}", f"--trainer.devices={ranks}"]
    file = run.with_suffix(".sbatch")
    options = [f"--nproc_per_node={ranks}", f"--nnodes={nodes}", f"--job_file={file}", "--submit", "--warn_sec=30",
               f'--sbatch=["--output={run}.log", "--time=10", "--cpus-per-task=1"]']  # fmt: skip
    launch = [sys.executable, "-m", "besnet", "launch", "--launcher=slurm", *options, "train", *words]
    printed = subprocess.run(launch, check=True, capture_output=True, text=True).stdout
    job = printed.split()[-1]
    print(f"job {job} on {nodes} node(s): {printed.splitlines()[-1]}", flush=True)
    wait(lambda: saved(run) > 0, f"job {job} saves its first checkpoint")
    subprocess.run(["scancel", "--batch", "--signal=USR1", job], check=True)
    wait(lambda: state(job, "Restarts") == "1", f"job {job} is queued again")
    print(f"  warned; saved itself at step {saved(run)} and was queued again", flush=True)
    # Slurm lets a requeued job wait two minutes, in which its first life ends; shortened only once that has ended
    wait(lambda: state(job, "JobState") != "PENDING" or idle(), f"the first life of job {job} ends")
    time.sleep(3)
    if state(job, "JobState") == "PENDING":
        subprocess.run(["scontrol", "update", f"JobId={job}", "StartTime=now"], check=True)
    wait(lambda: state(job, "JobState") not in ("PENDING", "RUNNING", "COMPLETING", "REQUEUED"), f"job {job} ends")
    print(f"  ended: {state(job, 'JobState')}, exit code {state(job, 'ExitCode')}, at step {saved(run)}", flush=True)
    return state(job, "JobState") == "COMPLETED"


def main() -> int:
    """Run the proof; returns the exit code."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = moving_squares.make(folder / "squares")
        undisturbed(data, folder / "undisturbed", EPOCHS)
        print(f"undisturbed, without Slurm: {EPOCHS * STEPS_PER_EPOCH} steps", flush=True)
        calm = hashes(folder / "undisturbed")
        good = True
        with cluster(folder / "slurm"):
            for nodes in (1, 2):
                run = folder / f"{nodes}_nodes"
                try:
                    ended = run_job(data, run, nodes)
                except TimeoutError as error:
                    print(error)
                    ended = False
                hurt = hashes(run) if saved(run) else {}
                for what, value in calm.items():
                    print(f"{what:10} undisturbed {value}\n{'':10} {nodes} node(s)   {hurt.get(what)}")
                if not ended or hurt != calm:
                    good = False
                    print(Path(f"{run}.log").read_text()[-3000:] if Path(f"{run}.log").exists() else "no output")
    print("the same bits on one node and on two" if good else "NOT as promised")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
