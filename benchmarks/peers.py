"""The training step of I3D-R50, built from BesNet's parts against PyTorchVideo's: the same weights, clips and update.

    python -m benchmarks.peers                     # fp32, two minutes on two cores
    python -m benchmarks.peers --precision bf16

Each network is in a process of its own, as its library would train it: ours as `besnet train` sets a process up,
PyTorchVideo's as torch does by itself and, once more, set up as ours. The processes take turns; one of ours is there
twice. (`besnet bench model --compare=true` has both networks in one process.)
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Callable

import torch

from besnet.bench.cases import OUR_I3D, PEER_I3D, Cases
from besnet.bench.timing import alternate
from besnet.cli.process import short_waits
from besnet.training.memory import keep_freed_memory

# Name → the network, and whether the process is set up as besnet does.
CONTENDERS = {
    "ours": (OUR_I3D, True),
    "ours again": (OUR_I3D, True),
    "theirs": (PEER_I3D, False),
    "theirs, set up as ours": (PEER_I3D, True),
}


def serve(name: str, cases: Cases) -> None:
    """Make a training step for every line on standard input, and answer with a line."""
    network, set_up = CONTENDERS[name]
    if set_up:
        keep_freed_memory()
    cases.add_peers(published=False)
    (case,) = (case for case in cases.cases if case.network == network and case.mode == "training step")
    for _ in range(2):
        case.run()
    for _ in sys.stdin:
        case.run()
        print(flush=True)


def start(name: str, words: list[str]) -> subprocess.Popen[str]:
    environment = dict(os.environ)
    if CONTENDERS[name][1]:
        short_waits(environment)
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.peers", *words, "--serve", name]
    return subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def step_of(process: subprocess.Popen[str]) -> Callable[[], None]:
    def step() -> None:
        print(file=process.stdin, flush=True)
        if not process.stdout.readline():  # type: ignore[union-attr]
            raise RuntimeError("a contender has ended")

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--batch_size", type=int, default=4)
    parser.add_argument("--num_frames", type=int, default=16)
    parser.add_argument("--crop_size", type=int, default=112)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--serve", choices=CONTENDERS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    shape = (given.batch_size, given.num_frames, given.crop_size)
    cases = Cases(torch.device("cpu"), given.precision, *shape, num_classes=400)
    if given.serve:
        return serve(given.serve, cases)
    processes = {name: start(name, sys.argv[1:]) for name in CONTENDERS}
    try:
        steps = {name: step_of(process) for name, process in processes.items()}
        timings = alternate(steps, given.rounds, cases.device)
    finally:
        for process in processes.values():
            process.kill()
    print(cases.describe())
    for name in CONTENDERS:
        milliseconds = 1e3 * timings.median(name)
        print(f"{name:24}{milliseconds:8.0f} ms{timings.ratio(name, 'ours'):8.3f} of ours")


if __name__ == "__main__":
    main()
