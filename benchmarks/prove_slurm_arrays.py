"""A real Slurm on this machine prepares in parts and runs a lab as arrays, with tasks killed: what one machine makes.

    make prove-slurm     # after the trainings of prove_slurm.py, which says what it needs
    python -W ignore -m benchmarks.prove_slurm_arrays

Two nodes. A preparation is an array of four tasks and a last job, a lab of two controls and two seeds is an array of
trainings, one of evaluations, and a last job. A part of the preparation is killed once it has done a video, and a
training while it runs; their scripts queue them again. Exit code 1 unless the prepared bytes and the lab's figures are
those of one machine.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import yaml

from benchmarks.parts_speed import listed
from benchmarks.prove_slurm import cluster, out, wait
from tests import moving_squares
from tests.prepared import bytes_of
from tests.test_lab import CONFIG, figures

PARTS, VIDEOS = 4, 120


def submitted(file: Path, *words: str) -> list[str]:
    """The numbers of the jobs that `besnet launch` submits for a command."""
    options = [f"--job_file={file}", "--submit", f'--sbatch=["--output={file}.log", "--time=15", "--cpus-per-task=1"]']
    launch = [sys.executable, "-W", "ignore", "-m", "besnet", "launch", "--launcher=slurm", *options, *words]
    said = subprocess.run(launch, check=True, capture_output=True, text=True).stdout.splitlines()[-1]
    print(said, flush=True)
    return [word.strip(",") for word in said.split() if word.strip(",").isdecimal()]


def killed_once(array: str, at_work: Callable[[], bool]) -> None:
    """Kill the processes of task 1 once it is at work. Slurm lets a requeued task wait two minutes: shortened here."""
    task = f"{array}_1"
    wait(lambda: out("squeue", "-h", "-j", task, "-t", "RUNNING") != "", f"task {task} runs")
    wait(at_work, f"task {task} is at work")
    subprocess.run(["scancel", "--signal=KILL", f"{task}.0"], check=True)
    wait(lambda: "Restarts=1" in out("scontrol", "show", "job", task), f"task {task} is queued again")
    print(f"  task {task} was killed and queued again", flush=True)
    time.sleep(5)
    subprocess.run(["scontrol", "update", f"JobId={task}", "StartTime=now"])


def ended(jobs: list[str], at_work: Callable[[], bool]) -> None:
    """Kill task 1 of the first array, and wait for all jobs to end."""
    killed_once(jobs[0], at_work)
    wait(lambda: all(out("squeue", "-h", "-j", job) == "" for job in jobs), f"jobs {jobs} end")


def main() -> int:
    """Run the proof; returns the exit code."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = moving_squares.make(folder / "squares", train=48)
        source = str(listed(folder / "long", VIDEOS))
        settings = ["--videos_per_shard=3", "--workers=1"]
        besnet = [sys.executable, "-W", "ignore", "-m", "besnet"]
        subprocess.run([*besnet, "prepare", source, str(folder / "whole"), *settings], check=True, capture_output=True)
        config = folder / "tiny.yaml"
        settled = CONFIG | {"data": CONFIG["data"] | {"folder": str(data)}}  # type: ignore[operator]
        config.write_text(yaml.safe_dump(json.loads(json.dumps(settled))))
        lab = [f"--config={config}", "--controls=[none,random_12]", "--seeds=2", "--frame_interval_scales=[1,2]",
               "--recalibration_videos=16", "--max_parallel=2"]  # fmt: skip
        subprocess.run([*besnet, "lab", f"--out={folder / 'one'}", *lab], check=True, capture_output=True)
        with cluster(folder / "slurm"):
            metrics = folder / "many" / "runs" / "random_12-0" / "metrics.csv"
            ended(submitted(folder / "lab.sbatch", "lab", f"--out={folder / 'many'}", *lab), metrics.exists)
            parts = [f"--parts={PARTS}", "prepare", source, str(folder / "parts"), *settings]
            journal = folder / "parts" / ".work" / f"outcomes-1-of-{PARTS}.jsonl"
            ended(submitted(folder / "prepare.sbatch", *parts), lambda: journal.exists() and journal.stat().st_size > 0)
        logs = {path.name: path.read_text()[-1500:] for path in folder.glob("*.log")}
        same_bytes = bytes_of(folder / "parts") == bytes_of(folder / "whole")
        same_figures = (folder / "many" / "results.json").exists() and figures(folder / "many") == figures(
            folder / "one"
        )
        print(f"prepare in {PARTS} parts: {'the same bytes' if same_bytes else 'OTHER BYTES'}")
        print(f"lab in arrays: {'the same figures' if same_figures else 'OTHER FIGURES'}")
        if not (same_bytes and same_figures):
            print(logs)
    return 0 if same_bytes and same_figures else 1


if __name__ == "__main__":
    sys.exit(main())
