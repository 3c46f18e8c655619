"""Train a config on each fold of a data set, evaluate the test videos of each, and print the top-1 of all together.

    python -m benchmarks.folds --config configs/weizmann_lite0.yaml --data data/weizmann/fold* --out runs/weizmann

A run that is finished is not trained again, one that was killed resumes, and other settings need another --out. With
--baselines, one evaluation for each fold, it prints the paired difference to them, too. Every test video is in one fold
alone.
"""

import argparse
from pathlib import Path

import numpy as np

from besnet import cli
from besnet.data.manifest import Manifest
from besnet.evaluation.statistics import paired_difference, share
from besnet.evaluation.stored import RESULTS, read_evaluation


def evaluated(run: Path, words: list[str], split: str = "test") -> Path:
    """The evaluation of a run. A finished one is not trained again; other settings are refused."""
    results = run / ("results" if split == "test" else split)
    code = cli.run("train", [*words, f"--out={run}"])
    if not code and not (results / RESULTS).exists():
        known = ["--allow_training_videos"] if split == "train" else []
        code = cli.run("evaluate", [f"--ckpt_path={run}", f"--out={results}", f"--split={split}", *known])
    if code:
        raise SystemExit(code)
    return results


def right(folder: Path) -> dict[str, bool]:
    """Whether each test video's best guess is its label."""
    found = read_evaluation(folder)
    guess = found.probabilities.mean(axis=1).argmax(axis=1)
    return dict(zip(found.ids.tolist(), (guess == found.labels).tolist(), strict=True))


def line(figures: dict[str, float | list[float]]) -> str:
    """A mean and its interval, in %."""
    mean, low, high = np.array([figures["mean"], *figures["interval"]]) * 100
    return f"{mean:.1f} ({low:.1f} to {high:.1f}), {figures['groups']} groups"


def main() -> None:
    """Train, evaluate and print. Exits with 1 below --at_least."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="one prepared folder for each fold")
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--baselines", type=Path, nargs="*", default=[], help="one evaluation for each fold")
    parser.add_argument("--at_least", type=float, default=0.0, help="top-1 in %%")
    given, words = parser.parse_known_args()  # the others are besnet train's
    values, differences, groups = [], [], []
    for fold, data in enumerate(given.data):
        runs = [given.out / f"{data.name}-{seed}" for seed in range(given.seeds)]
        common = [f"--config={given.config}", f"--data.folder={data}", *words]
        found = [right(evaluated(run, [*common, f"--seed={seed}"])) for seed, run in enumerate(runs)]
        manifest = Manifest.load(data)
        rows = [row for row in manifest.select("test") if manifest[int(row)].id in found[0]]
        ids = [manifest[int(row)].id for row in rows]
        values.append(np.array([[one[name] for name in ids] for one in found], dtype=float))
        groups += manifest.groups(np.array(rows))
        if given.baselines:
            theirs = right(given.baselines[fold])
            differences.append(values[-1] - [theirs[name] for name in ids])
        shown = " ".join(f"{100 * one.mean():.1f}" for one in values[-1])
        print(f"{data.name}: top-1 {shown} % of {len(ids)} videos", flush=True)
    together, names = np.concatenate(values, axis=1), np.array(groups)
    print(f"top-1, all folds: {line(share(together, names))}, {together.shape[1]} videos")
    if differences:
        print(f"difference: {line(paired_difference(np.concatenate(differences, axis=1), names))}")
    raise SystemExit(int(100 * together.mean() < given.at_least))


if __name__ == "__main__":
    main()
