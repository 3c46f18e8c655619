"""How accurate the networks of a finished lab are on the videos that they were trained on: whether they fit them.

    python -m benchmarks.training_accuracy --plan configs/evidence/jhmdb.yaml \
      --out benchmarks/results/evidence_jhmdb_training.json

Each network is evaluated as in the lab, without augmentation. It needs the checkpoints of the lab, which only the
machine that trained them has. Two evaluations run at once, each on one core; finished ones are not repeated.
"""

import argparse
import json
from concurrent.futures import ProcessPoolExecutor
from contextlib import redirect_stdout
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from statistics import mean

import torch

from besnet import cli
from besnet.cli.commands import arguments
from besnet.evaluation.stored import RESULTS
from besnet.files import write_json
from besnet.lab.setup import Setup


def top1(run: tuple[str, Path, Path], out: Path) -> tuple[str, float]:
    """The name of a run and its top-1 on the training videos; run: its name, its folder and its data."""
    name, folder, data = run
    results = out / name
    results.parent.mkdir(parents=True, exist_ok=True)
    if not (results / RESULTS).exists():
        with open(results.parent / f"{results.name}.log", "a") as log, redirect_stdout(log):
            code = cli.run("evaluate", [
                f"--ckpt_path={folder}", f"--data={data}", f"--out={results}", "--split=train", "--workers=0",
                "--allow_training_videos",
            ])  # fmt: skip
        if code:
            raise SystemExit(code)
    return name, json.loads((results / RESULTS).read_text())["accuracy"]["over_evaluated"]["top1"]


def main() -> None:
    """Evaluate, print a line for each network and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plan", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    asked = Setup.of(arguments("lab", [f"--plan={given.plan}"])).check()
    runs = [
        (one.job_name(run), asked.out / "runs" / one.job_name(run), one.manifest.folder)
        for one in asked.each_fold
        for run in one.jobs()
    ]
    with ProcessPoolExecutor(2, get_context("spawn"), torch.set_num_threads, (1,)) as pool:
        of_runs = dict(pool.map(partial(top1, out=asked.out / "training_accuracy"), runs))
    networks = {}
    for name in asked.seeds_of:
        values = [value for run, value in of_runs.items() if Path(run).name.rpartition("-")[0] == name]
        networks[name] = {"mean": mean(values), "least": min(values), "runs": len(values)}
        print(f"{name}: {100 * mean(values):.1f} % on the training videos, {100 * min(values):.1f} at least")
    write_json(given.out, {"plan": str(given.plan), "networks": networks, "runs": of_runs})


if __name__ == "__main__":
    main()
