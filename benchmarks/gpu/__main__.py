"""Everything that only a GPU can show, in two calls of at most fifteen minutes each.

    make gpu-bundle                              # build/gpu: wheels, shards, raw videos and weights, to carry there
    python -m benchmarks.gpu correctness --data build/gpu/shards --out results
    python -m benchmarks.gpu speed --data build/gpu/shards --raw build/gpu/table.csv --out results
    python -m benchmarks.gpu speed --data SHARDS --out results --tiny    # tiny networks on a CPU: does it run?

Every step is a process of its own with a deadline. Its result is in OUT/<call>.json as soon as it is there, so that a
step that fails or is too slow loses nothing but itself. Exit code 1 where a step failed or a bound does not hold.
"""

import argparse
import json
import multiprocessing
import os
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from besnet.cli.process import short_waits

short_waits(os.environ)  # read when torch is loaded

import psutil
import torch

from benchmarks.gpu import correctness, speed
from benchmarks.gpu.step import Line, Options, Step, run_inside

CALLS = {"correctness": correctness.STEPS, "speed": speed.STEPS}
KEPT = 4000  # characters of what a failed step printed
SLOWER = 20.0  # a CPU's deadlines, in those of a GPU


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("call", choices=list(CALLS))
    parser.add_argument("--data", type=Path, required=True, help="prepared shards with a train and a test split")
    parser.add_argument("--raw", type=Path, help="table of the same videos as files")
    parser.add_argument("--weights", type=Path, help="weights of tf_efficientnet_lite0, where no package holds them")
    parser.add_argument("--out", type=Path, required=True, help="folder for <call>.json")
    parser.add_argument("--seconds", type=float, default=900.0, help="for all steps together")
    parser.add_argument("--ranks", type=int, help="GPUs to use; by default all")
    parser.add_argument("--batch_size", type=int, default=16, help="clips at once in the timings")
    parser.add_argument("--tiny", action="store_true", help="tiny networks, on a CPU")
    parser.add_argument("--only", nargs="+", help="some steps, by name")
    words = parser.parse_args()
    if not words.tiny and not torch.cuda.is_available():
        parser.error("no CUDA device is visible here; --tiny runs on a CPU")
    steps = [step for step in CALLS[words.call] if words.only is None or step.name in words.only]
    if not steps:
        parser.error(
            f"--only {' '.join(words.only)}: the steps are {', '.join(step.name for step in CALLS[words.call])}"
        )
    words.out.mkdir(parents=True, exist_ok=True)
    slower = SLOWER if words.tiny else 1.0
    ranks = words.ranks or max(1, torch.cuda.device_count())
    with tempfile.TemporaryDirectory() as work:
        given = words.data, words.raw, words.weights, ranks, words.batch_size, words.tiny
        options = Options(Path(work), *given)
        sys.exit(run_all(steps, options, words.seconds * slower, slower, words.out / f"{words.call}.json"))


def run_all(steps: list[Step], options: Options, seconds: float, slower: float, file: Path) -> int:
    """Run the steps in their order within the seconds that there are; write and print each result as it comes."""
    begun_sec = time.monotonic()
    content: dict[str, Any] = {"torch": torch.__version__, "cores": os.cpu_count(), "steps": []}
    bad = 0
    for step in steps:
        left_sec = seconds - (time.monotonic() - begun_sec)
        outcome = run_one(step, min(step.deadline_sec * slower, left_sec), options)
        content["steps"].append(outcome)
        content["seconds"] = round(time.monotonic() - begun_sec, 1)
        file.write_text(json.dumps(content, indent=1) + "\n")
        print(f"{step.name}: {outcome['state']}, {outcome['seconds']:.0f} s, on {outcome['device']}", flush=True)
        lines = [Line(**line) for line in outcome["lines"]]
        print(*lines, *(f"  {note}" for note in outcome["notes"]), sep="\n", flush=True)
        bad += outcome["state"] != "done" or any(line.holds is False for line in lines)
    return int(bad > 0)


def run_one(step: Step, seconds: float, options: Options) -> dict[str, Any]:
    """A step in a process of its own, killed at its deadline.

    It is forked by a process that has imported what steps need and never asked for a GPU: CUDA does not start in a fork
    of a process that did.
    """
    outcome: dict[str, Any] = {"name": step.name, "state": "no time left", "seconds": 0.0, "device": "no device"}
    outcome |= {"lines": [], "notes": []}
    if seconds < 1:
        return outcome
    started_sec = time.monotonic()
    result, printed = options.work / "result.json", options.work / "printed"
    result.unlink(missing_ok=True)
    printed.touch()
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(["benchmarks.gpu.speed"])
    process = server.Process(target=run_inside, args=(step, options, result, printed))
    process.start()
    process.join(seconds)
    if process.is_alive():
        outcome["state"] = f"stopped at its deadline of {seconds:.0f} s"
        end(psutil.Process(process.pid))
    else:
        outcome["state"] = "done" if process.exitcode == 0 and result.exists() else "failed"
    outcome["seconds"] = round(time.monotonic() - started_sec, 1)
    if outcome["state"] == "done":
        outcome |= json.loads(result.read_text())
    else:
        outcome["notes"] = printed.read_text(errors="replace")[-KEPT:].splitlines()
    return outcome


def end(process: psutil.Process) -> None:
    """Kill a process and all that it started, also in other process groups."""
    for one in [*process.children(recursive=True), process]:
        with suppress(psutil.NoSuchProcess):
            one.kill()


if __name__ == "__main__":
    main()
