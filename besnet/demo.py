"""`besnet demo`: every step on drawn videos, with the commands that a user would type."""

import json
import os
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from besnet.progress import clock

DATA = Path("data/stick_figures/easy")
CONFIG = Path("configs/stick_figures.yaml")
# The same network without temporal taps cannot use the order of frames.
NETWORKS = {"BesNet": [], "C2D (no temporal taps)": ["--model.dilations", "[]"]}


def demo(runs: Path = Path("runs/demo")) -> int:
    """Draw stick figures, train BesNet and a C2D of the same size on them, and evaluate both on new figures.

    The two networks train side by side, each on half of the cores. The demo prints every command before it runs it, and
    ends with a table of both networks and the path of the report. An interrupted demo resumes.

    Args:
        runs: folder for the two runs.
    """
    if not CONFIG.is_file():
        raise ValueError(f"{CONFIG}: not found: run the demo in the folder of besnet's source code")
    started_sec = time.monotonic()
    if not (DATA / "index.csv").exists():
        step("draw", DATA)
    step("prepare", DATA / "index.csv", DATA / "prepared", "--short_side", 96)
    folders = {name: runs / name.split()[0].lower() for name in NETWORKS}
    together({name: ["train", "--config", CONFIG, "--out", folders[name], *words] for name, words in NETWORKS.items()})
    together({name: ["evaluate", "--ckpt_path", folders[name]] for name in NETWORKS})
    results = {
        name: max((run / "evaluations").glob("*/results.json"), key=lambda path: path.stat().st_mtime)
        for name, run in folders.items()
    }
    table({name: json.loads(path.read_text()) for name, path in results.items()})
    print(f"\npage: {results['BesNet'].parent / 'report.html'}\ntook {clock(time.monotonic() - started_sec)}")
    return 0


def step(*words: object) -> None:
    """Run one besnet command in its own process; if it fails, the demo ends."""
    end_if_failed(start(words, {}).wait())


def together(commands: dict[str, list[object]]) -> None:
    """Run a command for each network side by side on an equal share of the cores; lines begin with its name."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    share = {"OMP_NUM_THREADS": str(max(1, cores // len(commands)))}
    jobs = {name: start(words, share, subprocess.PIPE) for name, words in commands.items()}
    print(flush=True)
    relays = [threading.Thread(target=relay, args=(name.split()[0], job)) for name, job in jobs.items()]
    for thread in relays:
        thread.start()
    for thread in relays:
        thread.join()
    for job in jobs.values():
        end_if_failed(job.wait())


def start(words: Sequence[object], environment: dict[str, str], out: int | None = None) -> "subprocess.Popen[str]":
    """Print a besnet command and start it."""
    command = [str(word) for word in words]
    print(f"\n$ besnet {shlex.join(command)}", flush=True)
    return subprocess.Popen([sys.executable, "-m", "besnet", *command], env=os.environ | environment, stdout=out,
                            stderr=subprocess.STDOUT if out else None, text=True)  # fmt: skip


def relay(name: str, job: "subprocess.Popen[str]") -> None:
    """Print a command's output, each line after its network's name."""
    assert job.stdout is not None
    for line in job.stdout:
        print(f"{name:6} {line}", end="", flush=True)


def end_if_failed(code: int) -> None:
    """Exit with the code of a command that failed."""
    if code:
        print(f"besnet demo: this command failed with exit code {code}; `besnet demo` resumes here", file=sys.stderr)
        sys.exit(code)


def table(results: dict[str, dict[str, Any]]) -> None:
    """Print the accuracy of each network on the test figures."""
    pairs = [" / ".join(pair["pair"]) for pair in next(iter(results.values()))["pairs"]]
    headers = ["on new figures", "top-1", "top-5", *pairs]
    lines = []
    for name, result in results.items():
        shares = result["accuracy"]["over_evaluated"]
        told = [f"{pair['share']:.2f}" for pair in result["pairs"]]
        lines.append([name, f"{shares['top1']:.3f}", f"{shares['top5']:.3f}", *told])
    widths = [max(len(line[column]) for line in [headers, *lines]) for column in range(len(headers))]
    print("\nAccuracy, and pairwise accuracy on time reversals (0.5 is chance):")
    for line in [headers, *lines]:
        print("  ".join(f"{cell:{width}}" for cell, width in zip(line, widths, strict=True)))
