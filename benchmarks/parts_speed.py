"""Two parts of a preparation on two cores, and one part with all of it on one: at least 1.8 times as fast.

    python -m benchmarks.parts_speed     # two minutes on two idle cores

Each part is a process with one worker, bound to a core, as on machines of their own. The videos are encoded.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests import moving_squares

VIDEOS, FRAMES, DRAWN, WANTED = 320, 300, 8, 1.8


def listed(folder: Path, videos: int = VIDEOS) -> Path:
    """A table of videos of ten seconds; a few are drawn, the others are links to them."""
    folder.mkdir()
    names = list(moving_squares.DIRECTIONS)
    lines = ["label,path,split"]
    for number in range(videos):
        label, path = names[number % len(names)], folder / f"{number}.mp4"
        if number < DRAWN:
            moving_squares.draw(path, moving_squares.DIRECTIONS[label], number, FRAMES)
        else:
            os.link(folder / f"{number % DRAWN}.mp4", path)
        lines.append(f"{label},{path.name},train")
    (folder / "index.csv").write_text("\n".join(lines) + "\n")
    return folder / "index.csv"


def part(number: int, count: int, source: Path, out: Path, core: int) -> "subprocess.Popen[bytes]":
    """Start a part on one core."""
    words = ["besnet", "prepare", str(source), str(out), f"--part={number}/{count}", "--workers=1",
             "--videos_per_shard=20"]  # fmt: skip
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: os.sched_setaffinity(0, {core}),
    )


def main() -> int:
    """Measure both; returns the exit code."""
    cores = sorted(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source, took_sec = listed(folder / "squares"), {}
        for count in (1, 2):
            began_sec = time.perf_counter()
            running = [part(number, count, source, folder / f"{count}", cores[number]) for number in range(count)]
            if any(process.wait() for process in running):
                return 1
            took_sec[count] = time.perf_counter() - began_sec
    ratio = took_sec[1] / took_sec[2]
    print(f"1 part {took_sec[1]:.1f} s, 2 parts {took_sec[2]:.1f} s: {ratio:.2f} times as fast")
    return 0 if ratio >= WANTED else 1


if __name__ == "__main__":
    sys.exit(main())
