"""The learning rate and the frame interval of a lab's plan, chosen on validation videos before its first run.

    make evidence-jhmdb-settings
    python -m benchmarks.plan_settings --config configs/evidence/jhmdb_training.yaml --data data/jhmdb/evidence/settings

Both are chosen for `none`, the network without dilation: first the rate, then the interval at that rate. `random_12` is
then trained at every rate, to see that it is not the one with bad settings. `--seeds` of `none` at the chosen settings
show how much seeds differ. Every accuracy is that of the split val, with that of the training videos beside it. A rate
at the end of the list may not be the best.
Two trainings run at once, each on one core; the log of each is beside its run. Finished ones are not repeated.
"""

import argparse
import json
from concurrent.futures import ProcessPoolExecutor
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from statistics import stdev
from typing import Any

import torch
import yaml

from benchmarks.folds import evaluated
from besnet.evaluation.stored import RESULTS
from besnet.lab.controls import find_control
from besnet.lab.networks import fitted

FACTORS = 0.5, 1.0, 2.0  # on the config's rate


@dataclass(frozen=True)
class Trial:
    """One training."""

    name: str
    lr: float
    frame_interval: int
    seed: int = 0

    def __str__(self) -> str:
        return f"{self.name}-{self.lr:g}-{self.frame_interval}" + (f"-{self.seed}" if self.seed else "")


@dataclass(frozen=True)
class Found:
    """What a training reached on the validation videos, and on its own."""

    top1: float  # in %
    loss: float  # mean -log(probability)
    training_top1: float  # in %

    def __str__(self) -> str:
        return (
            f"top-1 {self.top1:.1f} %, -log(probability) {self.loss:.3f}, "
            f"on the training videos {self.training_top1:.1f} %"
        )


def tried(trial: Trial, given: argparse.Namespace, settings: dict[str, Any], more: list[str]) -> Found:
    """Train and evaluate, in a process of the pool."""
    run = given.out / f"{given.config.stem}-{trial}"
    run.parent.mkdir(parents=True, exist_ok=True)
    with open(run.parent / f"{run.name}.log", "a") as log, redirect_stdout(log):
        words = [
            f"--config={given.config}", f"--data.folder={given.data}", f"--recipe.lr={trial.lr}",
            f"--data.clip.frame_interval={trial.frame_interval}", f"--seed={trial.seed}",
            *fitted(find_control(trial.name), settings).words, *more,
        ]  # fmt: skip
        val, train = (json.loads((evaluated(run, words, split) / RESULTS).read_text()) for split in ("val", "train"))
    top1, training_top1 = (100 * one["accuracy"]["over_evaluated"]["top1"] for one in (val, train))
    return Found(top1, val["calibration"]["negative_log_likelihood"], training_top1)


def main() -> None:
    """Train, evaluate and print a line for each training."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True, help="prepared data with the splits train and val")
    parser.add_argument("--out", type=Path, default=Path("runs/plan_settings"), help="folder of the runs")
    parser.add_argument("--intervals", type=int, nargs="+", default=[1, 2, 3], help="frame intervals to try")
    parser.add_argument("--seeds", type=int, default=1, help="seeds of none at the chosen settings")
    given, more = parser.parse_known_args()  # the others are besnet train's
    settings = yaml.safe_load(given.config.read_text())
    rate, interval = settings["recipe"]["lr"], settings["data"]["clip"]["frame_interval"]
    rates = [rate * factor for factor in FACTORS]
    known: dict[Trial, Found] = {}

    with ProcessPoolExecutor(2, get_context("spawn"), torch.set_num_threads, (1,)) as pool:

        def best(trials: list[Trial]) -> Trial:
            new = [trial for trial in trials if trial not in known]
            work = partial(tried, given=given, settings=settings, more=more)
            for trial, found in zip(new, pool.map(work, new), strict=True):
                known[trial] = found
                print(f"{trial}: {found}", flush=True)
            return max(trials, key=lambda trial: (known[trial].top1, -known[trial].loss))

        lr = best([Trial("none", one, interval) for one in rates]).lr
        intervals = [interval, *(one for one in given.intervals if one != interval)]
        chosen = best([Trial("none", lr, one) for one in intervals])
        print(f"chosen for none: lr {chosen.lr:g}, frame interval {chosen.frame_interval}", flush=True)
        seeds = [Trial("none", chosen.lr, chosen.frame_interval, seed) for seed in range(given.seeds)]
        of_random = [Trial("random_12", one, chosen.frame_interval) for one in rates]
        best([*of_random, *seeds])
        print(f"the best rate of random_12: {best(of_random).lr:g}", flush=True)
        if given.seeds > 1:
            spread = stdev(known[one].top1 for one in seeds)
            print(f"none differs over {given.seeds} seeds by {spread:.1f} points (standard deviation)", flush=True)


if __name__ == "__main__":
    main()
