"""Kill a training run again and again, start it again with the same command, and compare it with an undisturbed one.

    make prove-resume                                       # 60 kills, about half an hour on two cores
    make prove-networks                                     # 6 kills each of Lite0, r3d_18 and a class of one's own
    python -m benchmarks.prove_resume --kills 6 --seed 1    # what CI runs
    python -m benchmarks.prove_resume --backbone tf_efficientnet_lite0

Two gloo ranks with a loader worker each train a small network (dropout, BatchNorm, AdamW, mixup, CutMix, a moving
average of the weights) on drawn videos under torchrun. SIGKILL hits rank 0, rank 1, a loader worker or torchrun itself:
while the run starts, after new progress, or while a checkpoint is being written (its .partial file is there). The run
has no end of its own: it goes on until all kills are made, and an undisturbed one is then trained as far. Exit code
1 if anything of this does not hold: the same bits of weights and optimiser, no unreadable checkpoint, at most one
interval replayed, no process left over.
"""

import argparse
import contextlib
import hashlib
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil

from besnet.checkpoints import store
from tests import command, moving_squares
from tests.conftest import ROOT

INTERVAL = 5  # steps between checkpoints
STEPS_PER_EPOCH = 6
NO_END = 100_000  # epochs
TINY = [word for word in command.TINY if word.startswith("--model.")]
LIMIT_SEC = 900.0  # for anything that is waited for: a matter of a machine at its slowest, not of the proof
TARGETS = ("rank 0", "rank 1", "loader worker", "launcher")
MOMENTS = ("inside a save", "after progress", "while starting")


@dataclass
class Kill:
    """One SIGKILL: whom, when it was meant, and what was seen."""

    target: str
    moment: str
    instant_sec: float = 0.0
    progressed: bool = False
    saving: bool = False
    replayed: int = 0
    left_over: int = 0
    unreadable: int = 0


def plan(kills: int, rng: np.random.Generator) -> list[Kill]:
    """Every target and every moment in turn: two of six inside a save, three after progress, one while starting."""
    share = ("inside a save", "after progress", "inside a save", "after progress", "while starting", "after progress")
    moments = [share[number % len(share)] for number in range(kills)]
    targets = [TARGETS[number % len(TARGETS)] for number in range(kills)]
    rng.shuffle(moments)
    rng.shuffle(targets)
    return [Kill(target, moment) for target, moment in zip(targets, moments, strict=True)]


def run_words(data: Path, run: Path, epochs: int, network: Sequence[str] = TINY) -> list[str]:
    """The arguments of the training that is to survive: two ranks in all, whatever the hosts."""
    others = [word for word in command.TINY if word not in TINY]
    return [f"--data.folder={data}", f"--out={run}", *others, *network, f"--trainer.max_epochs={epochs}",
            "--data.batch_size=2", "--data.workers=1", "--trainer.devices=2", "--trainer.strategy=ddp",
            "--recipe.ema=0.99", "--recipe.mixup=0.4", "--recipe.cutmix=1.0",
            f"--saving.every_steps={INTERVAL}", "--saving.watchdog_minutes=2"]  # fmt: skip


def start(data: Path, run: Path, epochs: int, *more: str, network: Sequence[str] = TINY) -> subprocess.Popen[bytes]:
    """The command that is started again and again."""
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m", "besnet", "train"]
    words = [sys.executable, "-W", "ignore", *torchrun, *run_words(data, run, epochs, network), *more]
    with open(run.with_suffix(".log"), "ab") as log:
        return subprocess.Popen(words, stdout=log, stderr=log, env=os.environ | {"PYTHONPATH": str(ROOT)})


def victims(launcher: psutil.Process, target: str) -> list[psutil.Process]:
    """The processes that a target names, as far as they are there (yet)."""
    if target == "launcher":
        return [launcher]
    members = [member for member in descendants(launcher) if alive(member)]
    found = []
    for member in members:
        with contextlib.suppress(psutil.Error):  # it may end while we look at it
            parent = member.parent()
            if target == "loader worker" and parent and is_worker(member, parent):
                found.append(member)
            if parent == launcher and "besnet" in member.cmdline() and member.environ().get("RANK") == target[-1]:
                found.append(member)
    return found


def is_worker(member: psutil.Process, parent: psutil.Process) -> bool:
    """Whether it was forked to load data: by a fork server, whose command line it keeps, and with a thread of its own.

    While it imports torch the fork server has ldconfig list the libraries, in a child that lives for a moment and has
    no thread: its death is the loss of a list that is then looked up in another way, and ends nothing.
    """
    forked = all("forkserver" in " ".join(process.cmdline()) for process in (member, parent))
    return forked and member.num_threads() > 1


def descendants(process: psutil.Process) -> list[psutil.Process]:
    """Every process below one."""
    try:
        return process.children(recursive=True)
    except psutil.Error:
        return []


def alive(process: psutil.Process) -> bool:
    """Whether a process still runs."""
    return not command.gone(process)


def wait(process: subprocess.Popen[bytes], ready: Callable[[], bool], limit_sec: float) -> bool:
    """Look every half a millisecond; False if the process ends first or it takes too long."""
    until_sec = time.monotonic() + limit_sec
    while time.monotonic() < until_sec:
        if ready():
            return True
        if process.poll() is not None:
            return False
        time.sleep(0.0005)
    return False


def partials(folder: Path) -> set[str]:
    """Checkpoints that are being written, or that a kill left half written."""
    return {path.name for path in folder.glob(".step_*.partial")}


def steps_noted(run: Path) -> int:
    """The last step that the run's table of figures shows."""
    try:
        lines = (run / "metrics.csv").read_text().splitlines()
        return int(lines[-1].split(",")[0]) if len(lines) > 1 else 0
    except (OSError, ValueError):
        return 0


def saved(run: Path) -> int:
    """The step of the newest checkpoint."""
    found = store.by_age(run / "checkpoints")
    return int(found[0].name[5:14]) if found else 0


def hit(kill: Kill, process: subprocess.Popen[bytes], run: Path, pace: "Pace", rng: np.random.Generator) -> bool:
    """Wait for the drawn instant and kill. False if the run ended before it."""
    began_sec = time.monotonic()
    launcher = psutil.Process(process.pid)
    folder = run / "checkpoints"
    before = saved(run)
    if kill.moment == "while starting":
        instant_sec = rng.uniform(0, pace.start_sec)
        wait(process, lambda: time.monotonic() - began_sec > instant_sec or saved(run) > before, LIMIT_SEC)
    else:
        if not wait(process, lambda: saved(run) > before, LIMIT_SEC):
            return False
        if kill.moment == "after progress":
            until_sec = time.monotonic() + rng.uniform(0, 2 * pace.interval_sec)
            wait(process, lambda: time.monotonic() > until_sec, LIMIT_SEC)
    killed = False
    while not killed:
        candidates: list[psutil.Process] = []
        if not wait(process, lambda found=candidates: found.extend(victims(launcher, kill.target)) or found, LIMIT_SEC):
            return False
        chosen = candidates[rng.integers(len(candidates))]
        family = [launcher, *descendants(launcher)]
        if kill.moment == "inside a save":
            old = partials(folder)
            if not wait(process, lambda before=old: bool(partials(folder) - before), LIMIT_SEC):
                return False
            time.sleep(rng.uniform(0, 0.003))
        kill.saving = bool(partials(folder))
        with contextlib.suppress(psutil.NoSuchProcess):  # it may have ended by itself: then another one
            chosen.kill()
            killed = True
    kill.instant_sec = time.monotonic() - began_sec
    process.wait(timeout=LIMIT_SEC)
    psutil.wait_procs(family, timeout=LIMIT_SEC / 3)
    left = [member for member in family if not command.gone(member)]
    for member in left:
        member.kill()
    kill.left_over = len(left)
    kill.progressed = saved(run) > before
    checkpoints = store.by_age(folder)
    kill.unreadable = sum(not readable(path) for path in checkpoints)
    kill.replayed = max(0, steps_noted(run) - saved(run))
    return True


def readable(path: Path) -> bool:
    """Whether a checkpoint verifies and loads."""
    try:
        store.load(path)
    except ValueError:
        return False
    return True


@dataclass(frozen=True)
class Pace:
    """How fast the undisturbed run was: seconds to its first checkpoint, and between two of them."""

    start_sec: float
    interval_sec: float


def undisturbed(data: Path, run: Path, epochs: int) -> Pace:
    """Train once without harm."""
    began_sec = time.monotonic()
    process = start(data, run, epochs)
    wait(process, lambda: saved(run) > 0, 240)
    first_sec = time.monotonic()
    if process.wait(timeout=3600):
        sys.exit(f"the undisturbed run failed:\n{run.with_suffix('.log').read_text()[-3000:]}")
    intervals = max(1, epochs * STEPS_PER_EPOCH / INTERVAL - 1)
    return Pace(first_sec - began_sec, (time.monotonic() - first_sec) / intervals)


def until(data: Path, run: Path, step: int, network: Sequence[str] = TINY) -> Pace:
    """Train without harm until there is a checkpoint of this step or a later one, then kill everything."""
    began_sec = time.monotonic()
    process = start(data, run, NO_END, "--saving.keep=10000", network=network)
    wait(process, lambda: saved(run) > 0, LIMIT_SEC)
    first_sec, first = time.monotonic(), saved(run)
    wait(process, lambda: saved(run) >= step, 4 * LIMIT_SEC)
    last_sec, last = time.monotonic(), saved(run)
    if process.poll() is not None or last < step:
        sys.exit(f"the undisturbed run failed:\n{run.with_suffix('.log').read_text()[-3000:]}")
    end(process)
    return Pace(first_sec - began_sec, (last_sec - first_sec) * INTERVAL / max(last - first, INTERVAL))


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill a job, and wait for all of its processes to be gone."""
    family = descendants(psutil.Process(process.pid))
    process.kill()
    process.wait()
    psutil.wait_procs(family, timeout=LIMIT_SEC / 3)


def hashes(run: Path, step: int | None = None) -> dict[str, str]:
    """SHA-256 of the weights (trained and averaged) and of the optimiser's moments in a run's checkpoint of a step, and
    of the figures up to it; by default of the newest."""
    step = saved(run) if step is None else step
    checkpoint = store.load(next(path for path in store.by_age(run / "checkpoints") if int(path.name[5:14]) == step))
    weights, optimiser = hashlib.sha256(), hashlib.sha256()
    for name, weight in sorted(checkpoint["state_dict"].items()):
        weights.update(name.encode() + weight.contiguous().numpy().tobytes())
    for state in checkpoint["optimizer_states"]:
        for number, moments in sorted(state["state"].items()):
            for name, value in sorted(moments.items()):
                optimiser.update(f"{number} {name}".encode() + value.contiguous().numpy().tobytes())
    return {
        "step": str(checkpoint["global_step"]),
        "weights": weights.hexdigest(),
        "optimiser": optimiser.hexdigest(),
        "figures": hashlib.sha256("\n".join(figures_until(run, step)).encode()).hexdigest(),
    }


def figures_until(run: Path, step: int) -> list[str]:
    """The rows of a run's table up to a step."""
    head, *rows = (run / "metrics.csv").read_text().splitlines()
    return [head, *(row for row in rows if int(row.split(",")[0]) <= step)]


def histogram(kills: list[Kill]) -> str:
    """Instants in bins of two seconds since the start, and what was hit when."""
    lines = ["instants of the kills, seconds after the start:"]
    bins = Counter(int(kill.instant_sec // 2) * 2 for kill in kills)
    lines += [f"  {low:4d}-{low + 2:<4d} {'#' * count} {count}" for low, count in sorted(bins.items())]
    lines.append("targets and moments:")
    for target in TARGETS:
        hits = [kill for kill in kills if kill.target == target]
        saving, progress = sum(kill.saving for kill in hits), sum(kill.progressed for kill in hits)
        lines.append(f"  {target:14} {len(hits):3d} kills, {saving:3d} inside a save, {progress:3d} after new progress")
    return "\n".join(lines)


def main() -> int:
    """Run the proof; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--network", help="a video network by name, or module:Class")
    parser.add_argument("--backbone", help="a 2D network by name, to make a BesNet from")
    words = parser.parse_args()
    given = [f"--model.{name}={value}" for name in ("network", "backbone") if (value := getattr(words, name))]
    network = given or TINY
    rng = np.random.default_rng(words.seed)
    with tempfile.TemporaryDirectory() as folder:
        data = moving_squares.make(Path(folder) / "squares")
        calm, hurt = Path(folder) / "undisturbed", Path(folder) / "killed"
        pace = until(data, Path(folder) / "pace", 4 * INTERVAL, network)
        print(f"{pace.start_sec:.1f} s to the first checkpoint, {pace.interval_sec:.2f} s to the next", flush=True)
        done: list[Kill] = []
        lost: list[Kill] = []
        planned = deque(plan(words.kills, rng))
        while planned and len(lost) <= words.kills // 4:
            kill = planned.popleft()
            process = start(data, hurt, NO_END, network=network)
            if not hit(kill, process, hurt, pace, rng):
                code = process.poll()
                process.kill()
                lost.append(kill)
                planned.append(Kill(kill.target, kill.moment))  # it is made up for at the end
                why = "its instant did not come" if code is None else f"the run ended before with code {code}"
                print(f"no kill ({kill.target}, {kill.moment}): {why}", flush=True)
                print(hurt.with_suffix(".log").read_text()[-2000:] if code else "", flush=True)
                continue
            done.append(kill)
            print(
                f"kill {len(done)}: {kill.target}, {kill.moment}, {kill.instant_sec:.1f} s after the start; at step "
                f"{saved(hurt)}, replays {kill.replayed}{', half a checkpoint' if kill.saving else ''}"
                f"{f', {kill.left_over} processes left over' if kill.left_over else ''}",
                flush=True,
            )
        before, process = saved(hurt), start(data, hurt, NO_END, network=network)
        if not wait(process, lambda: saved(hurt) > before, LIMIT_SEC):
            print(hurt.with_suffix(".log").read_text()[-3000:])
            return 1
        end(process)
        step = saved(hurt)
        until(data, calm, step, network)
        print(histogram(done))
        return judge(done, hashes(calm, step), hashes(hurt, step), words.kills)


def judge(done: list[Kill], calm: dict[str, str], hurt: dict[str, str], kills: int) -> int:
    """Print what was promised and what was seen; 0 if it is the same."""
    for name in ("step", "weights", "optimiser", "figures"):
        print(f"{name:10} undisturbed {calm[name]}\n{'':10} killed      {hurt[name]}")
    unreadable = sum(kill.unreadable for kill in done)
    replayed = max((kill.replayed for kill in done), default=0)
    left = sum(kill.left_over for kill in done)
    inside, progressed = sum(kill.saving for kill in done), sum(kill.progressed for kill in done)
    print(
        f"{len(done)} kills of {kills} ({inside} inside a save, {progressed} after new progress): {unreadable} "
        f"unreadable checkpoints, at most {replayed} steps replayed (interval {INTERVAL}), {left} processes left over"
    )
    good = calm == hurt and not unreadable and not left and replayed <= INTERVAL and len(done) == kills
    print("the same bits" if good else "NOT as promised")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
