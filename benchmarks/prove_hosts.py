"""Two hosts train together; one is killed or cut off again and again; the bits are those of an undisturbed run.

    make prove-hosts                                       # 20 faults, about 15 minutes on two cores; needs root
    python -m benchmarks.prove_hosts --faults 4 --seed 1

The hosts are two network namespaces of this machine with a cable (a veth pair) between them, and a folder that both
see. On each runs `besnet launch --nnodes 2`, one gloo rank a host. A fault is either the SIGKILL of everything on one
host, which is then switched on again, or the cable pulled for a drawn time, shorter or longer than the watchdog waits.
Exit code 1 unless every fault is followed by new checkpoints, the weights and the optimiser end as the same bits as
those of one undisturbed run on one host, and there were never two processes that could write.
"""

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil

from benchmarks.prove_resume import INTERVAL, STEPS_PER_EPOCH, hashes, run_words, saved, undisturbed
from tests import moving_squares

STEPS_PER_FAULT = 40
WATCHDOG_SEC = 15.0
RECOVERY_SEC = 300.0


@dataclass(frozen=True)
class Host:
    """A network namespace with one end of the cable."""

    number: int

    @property
    def name(self) -> str:
        return f"besnet{self.number}"

    @property
    def port(self) -> str:
        return f"besnetv{self.number}"

    def up(self) -> None:
        """Give it its end of the cable."""
        ip("link", "set", self.port, "netns", self.name)
        ip("-n", self.name, "addr", "add", f"10.77.0.{self.number + 1}/24", "dev", self.port)
        for device in ("lo", self.port):
            ip("-n", self.name, "link", "set", device, "up")

    def start(self, data: Path, run: Path, epochs: int) -> subprocess.Popen[bytes]:
        """Start this host's half of the job, and start it again by itself when it fails."""
        launch = [
            "launch",
            "--nproc_per_node=1",
            "--nnodes=2",
            f"--node_rank={self.number}",
            "--rdzv_endpoint=10.77.0.1:29500",
        ]
        words = [*launch, "--max_restarts=1000", "train", *run_words(data, run, epochs), "--trainer.num_nodes=2",
                 "--trainer.devices=1", f"--saving.watchdog_minutes={WATCHDOG_SEC / 60}"]  # fmt: skip
        command = ["ip", "netns", "exec", self.name, sys.executable, "-W", "ignore", "-m", "besnet", *words]
        with open(f"{run}.host{self.number}.log", "ab") as log:
            environment = os.environ | {"GLOO_SOCKET_IFNAME": self.port}
            return subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)

    def kill(self) -> None:
        """SIGKILL for everything on it, until nothing is left."""
        while numbers := ip("netns", "pids", self.name).split():
            for number in numbers:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(number), 9)
            time.sleep(0.05)

    def cable(self, state: str) -> None:
        """Pull the cable ("down") or plug it in ("up")."""
        ip("-n", self.name, "link", "set", self.port, state)


def ip(*words: str) -> str:
    """Run iproute2's `ip`."""
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout


@contextlib.contextmanager
def two_hosts() -> Iterator[list[Host]]:
    """Two namespaces and a cable, taken down again at the end with all that runs on them."""
    hosts = [Host(0), Host(1)]
    made = []
    try:
        for host in hosts:
            ip("netns", "add", host.name)
            made.append(host)
        ip("link", "add", hosts[0].port, "type", "veth", "peer", "name", hosts[1].port)
        for host in hosts:
            host.up()
        yield hosts
    finally:
        for host in made:
            host.kill()
            ip("netns", "del", host.name)


def writers(run: Path) -> int:
    """Processes that may write a run's checkpoints now: those of its rank 0."""
    seen: set[int] = set()
    for process in sorted(psutil.process_iter(), key=lambda process: process.pid):
        with contextlib.suppress(psutil.Error):
            words = process.cmdline()
            ours = f"--out={run}" in words and not {"launch", "besnet.jobs.torchrun"} & set(words)
            forked = process.ppid() in seen  # a copy of a rank for an instant, about to become another program
            if ours and not forked and process.environ().get("RANK") == "0":
                seen.add(process.pid)
    return len(seen)


class Watch:
    """Waits while counting the writers."""

    def __init__(self, run: Path) -> None:
        self.run = run
        self.most = 0

    def until(self, ready: object, limit_sec: float) -> bool:
        """Whether `ready()` came true in time."""
        end_sec = time.monotonic() + limit_sec
        while time.monotonic() < end_sec:
            self.most = max(self.most, writers(self.run))
            if callable(ready) and ready():
                return True
            time.sleep(0.1)
        return False

    def sleep(self, duration_sec: float) -> None:
        self.until(None, duration_sec)


def main() -> int:
    """Run the proof; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    words = parser.parse_args()
    rng = np.random.default_rng(words.seed)
    epochs = -(-words.faults * STEPS_PER_FAULT // STEPS_PER_EPOCH)
    recovered = 0
    with tempfile.TemporaryDirectory() as folder, two_hosts() as hosts:
        data = moving_squares.make(Path(folder) / "squares")
        calm, hurt = Path(folder) / "undisturbed", Path(folder) / "faulty"
        watch = Watch(hurt)
        pace = undisturbed(data, calm, epochs)
        print(f"undisturbed, on one host: {epochs * STEPS_PER_EPOCH} steps", flush=True)
        jobs = {host: host.start(data, hurt, epochs) for host in hosts}
        for number in range(words.faults):
            before = saved(hurt)
            if not watch.until(lambda seen=before: saved(hurt) > seen, RECOVERY_SEC):
                break
            watch.sleep(rng.uniform(0, 2 * pace.interval_sec))
            host = hosts[int(rng.integers(2))]
            began_sec, step = time.monotonic(), saved(hurt)
            if number % 2:
                away_sec = rng.uniform(1, 2 * WATCHDOG_SEC)
                host.cable("down")
                watch.sleep(away_sec)
                host.cable("up")
                what = f"host {host.number} cut off for {away_sec:.0f} s"
            else:
                host.kill()
                jobs[host].wait()
                watch.sleep(rng.uniform(0, 5))
                jobs[host] = host.start(data, hurt, epochs)
                what = f"host {host.number} killed and switched on again"
            if not watch.until(lambda seen=step: saved(hurt) > seen, RECOVERY_SEC):
                print(f"fault {number + 1}: {what} at step {step}: NOT recovered", flush=True)
                break
            recovered += 1
            took_sec = time.monotonic() - began_sec
            print(f"fault {number + 1}: {what} at step {step}: new checkpoint after {took_sec:.0f} s", flush=True)
        codes = []
        for job in jobs.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                codes.append(job.wait(timeout=2 * RECOVERY_SEC))
        first, second = hashes(calm), hashes(hurt) if saved(hurt) else {}
        for name, value in first.items():
            print(f"{name:10} undisturbed {value}\n{'':10} two hosts   {second.get(name)}")
        good = recovered == words.faults and codes == [0, 0] and first == second and watch.most == 1
        print(
            f"{recovered} of {words.faults} faults recovered from, exit codes {codes}, at most {watch.most} writer at "
            f"a time (interval {INTERVAL} steps): {'the same bits' if good else 'NOT as promised'}"
        )
        if not good:
            for host in hosts:
                print(f"host {host.number}:", Path(f"{hurt}.host{host.number}.log").read_text()[-2500:])
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
