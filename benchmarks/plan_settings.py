"""The learning rate and the frame interval of a lab's plan, chosen on validation videos before its first run.

    make evidence-jhmdb-settings
    python -m benchmarks.plan_settings --config configs/evidence/jhmdb_training.yaml --data data/jhmdb/evidence/settings

Both are chosen for `none`, the network without dilation: first the rate, then the interval at that rate. `random_12` is
then trained at every rate, to see that it is not the one with bad settings. Every accuracy is that of the split val; a
rate at the end of the list may not be the best. Finished trainings are not repeated.
"""

import argparse
import json
from pathlib import Path

import yaml

from benchmarks.folds import evaluated
from besnet.evaluation.stored import RESULTS
from besnet.lab.controls import find_control
from besnet.lab.networks import fitted
from besnet.lab.runs import curve

FACTORS = 0.5, 1.0, 2.0  # on the config's rate


def main() -> None:
    """Train, evaluate and print a line for each training."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True, help="prepared data with the splits train and val")
    parser.add_argument("--out", type=Path, default=Path("runs/plan_settings"), help="folder of the runs")
    parser.add_argument("--intervals", type=int, nargs="+", default=[1, 2, 3], help="frame intervals to try")
    given, more = parser.parse_known_args()  # the others are besnet train's
    settings = yaml.safe_load(given.config.read_text())
    rate, interval = settings["recipe"]["lr"], settings["data"]["clip"]["frame_interval"]

    def tried(name: str, lr: float, frame_interval: int) -> tuple[float, float]:
        run = given.out / f"{given.config.stem}-{name}-{lr:g}-{frame_interval}"
        own = fitted(find_control(name), settings).words
        results = evaluated(run, [
            f"--config={given.config}", f"--data.folder={given.data}", f"--recipe.lr={lr}",
            f"--data.clip.frame_interval={frame_interval}", *own, *more,
        ], "val")  # fmt: skip
        found = json.loads((results / RESULTS).read_text())
        top1 = found["accuracy"]["over_evaluated"]["top1"]
        loss = found["calibration"]["negative_log_likelihood"]
        print(
            f"{name:10} lr {lr:<8g} frame interval {frame_interval}: top-1 {100 * top1:.1f} %, "
            f"-log(probability) {loss:.3f}, training precision {curve(run / 'metrics.csv')[-1][2]:.1f} %",
            flush=True,
        )
        return top1, -loss

    rates = [rate * factor for factor in FACTORS]
    best_rate = max(rates, key=lambda lr: tried("none", lr, interval))
    intervals = [interval, *(one for one in given.intervals if one != interval)]
    best_interval = max(intervals, key=lambda one: tried("none", best_rate, one))
    print(f"chosen for none: lr {best_rate:g}, frame interval {best_interval}", flush=True)
    best_of_random = max(rates, key=lambda lr: tried("random_12", lr, best_interval))
    print(f"the best rate of random_12: {best_of_random:g}", flush=True)


if __name__ == "__main__":
    main()
