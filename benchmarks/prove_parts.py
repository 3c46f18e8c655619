"""Prepare in 1, 3 and 7 parts, with parts killed at random instants: the same bytes as one machine's.

    make prove-parts                                             # an hour on two cores, J-HMDB's 928 clips among it
    python -m benchmarks.prove_parts --jhmdb FOLDER --clips 60   # a part of it

The drawn videos and J-HMDB are encoded, as for a training. Two parts run at a time. A part is killed after a random
number of its videos, at most 0.3 s later, and starts again; the last call, too. Exit code 1 unless all bytes (shards,
manifest, passport) are those of an undisturbed preparation on one machine.
"""

import argparse
import csv
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests import moving_squares
from tests.prepared import bytes_of

COUNTS = (1, 3, 7)
AT_ONCE = 2
AFTER_SEC = 0.3
DRAWN = 96


def start(source: Path, out: Path, videos: Path, *more: str) -> "subprocess.Popen[bytes]":
    """One process of a preparation."""
    words = ["prepare", str(source), str(out), f"--videos={videos}", "--videos_per_shard=4", "--workers=1", *more]
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "besnet", *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def done(out: Path) -> int:
    """How many videos the journals hold."""
    return sum(path.read_bytes().count(b"\n") for path in (out / ".work").glob("outcomes*.jsonl"))


def ended(process: "subprocess.Popen[bytes]") -> None:
    """Wait for a process that nobody kills. RuntimeError with its last line where it fails."""
    _, said = process.communicate()
    if process.returncode:
        raise RuntimeError(said.decode().strip().splitlines()[-1])


def killed(process: "subprocess.Popen[bytes]", out: Path, more: int, rng: random.Random) -> bool:
    """Kill a process once `more` videos are done; whether it was still at work."""
    wanted = done(out) + more
    while process.poll() is None and done(out) < wanted:
        time.sleep(0.02)
    time.sleep(rng.uniform(0, AFTER_SEC))
    at_work = process.poll() is None
    process.kill()
    process.communicate()
    return at_work


def in_parts(source: Path, videos: Path, out: Path, count: int, kills: int, rng: random.Random) -> int:
    """Prepare in parts, beside each other in random order, `kills` of them and the last call killed; how many were."""
    waiting, killed_parts = list(range(count)), 0
    rng.shuffle(waiting)
    while waiting:
        at_once, waiting = waiting[:AT_ONCE], waiting[AT_ONCE:]
        running = {number: start(source, out, videos, f"--part={number}/{count}") for number in at_once}
        if killed_parts < kills:
            number = rng.choice(at_once)
            if killed(running.pop(number), out, rng.randint(0, 6), rng):
                killed_parts += 1
            waiting.insert(rng.randint(0, len(waiting)), number)
        for process in running.values():
            ended(process)
    if killed(start(source, out, videos), out, 0, rng):
        killed_parts += 1
    ended(start(source, out, videos))
    return killed_parts


def table(folder: Path, jhmdb: Path, clips: int) -> Path:
    """A table with every n-th clip of J-HMDB's first split."""
    with open(jhmdb / "split1.csv", newline="") as file:
        header, *rows = list(csv.reader(file))
    chosen = rows[:: max(1, len(rows) // clips)][:clips] if clips else rows
    folder.mkdir()
    with open(folder / "index.csv", "w", newline="") as file:
        csv.writer(file).writerows([header, *chosen])
    return folder / "index.csv"


def main() -> int:
    """Run the proof; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jhmdb", type=Path, help="J-HMDB's folder with split1.csv; without it drawn videos only")
    parser.add_argument("--clips", type=int, default=0, help="clips of J-HMDB; 0 for all")
    parser.add_argument("--kills", type=int, default=20, help="in all")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    rng, good, kills = random.Random(asked.seed), True, 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        moving_squares.make(folder / "squares", train=DRAWN, test=DRAWN // 4)
        sources = {"drawn": (folder / "squares" / "index.csv", folder / "squares")}
        if asked.jhmdb:
            sources["jhmdb"] = (table(folder / "jhmdb", asked.jhmdb, asked.clips), asked.jhmdb)
        each = -(-asked.kills // (len(COUNTS) * len(sources)))
        for data, (source, videos) in sources.items():
            whole = folder / f"{data}_whole"
            ended(start(source, whole, videos))
            wanted = bytes_of(whole)
            for count in COUNTS:
                out = folder / f"{data}_{count}"
                hit = in_parts(source, videos, out, count, each, rng)
                same = bytes_of(out) == wanted
                kills, good = kills + hit, good and same
                print(f"{data}, {count} parts, {hit} killed: {'the same bytes' if same else 'OTHER BYTES'}", flush=True)
    print(f"{kills} processes were killed at work")
    return 0 if good and kills >= asked.kills else 1


if __name__ == "__main__":
    sys.exit(main())
