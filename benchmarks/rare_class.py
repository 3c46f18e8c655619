"""Drawn videos of four directions, one class 20 times rarer than the others: its recall with and without balancing.

make bench-rare      # three seeds each, a few minutes
"""

import argparse
import csv
import tempfile
from pathlib import Path

import numpy as np

from besnet import cli
from besnet.data.prepare import prepare
from besnet.evaluation.stored import read_evaluation
from tests import moving_squares

COMMON, TIMES, TEST = 120, 20, 40
RARE = "up"
WAYS = {
    "as it is": [],
    "data.balance 1": ["--data.balance=1"],
    "data.balance 0.5": ["--data.balance=0.5"],
    "recipe.class_weights balanced": ["--recipe.class_weights=balanced"],
}
NETWORK = ["--model.blocks=[1,1]", "--model.width=16", "--model.temporal_padding=replicate", "--model.dilations=[1,2]"]
SETTINGS = [
    *NETWORK, "--data.clip.num_frames=8", "--data.clip.frame_interval=2", "--data.crop_size=32", "--data.batch_size=8",
    "--data.crop.flip=0", "--data.workers=1", "--recipe.optimizer=adamw", "--recipe.lr=0.005",
    "--recipe.weight_decay=0.05", "--evaluation.num_clips=1", "--evaluation.num_crops=1", "--trainer.accelerator=cpu",
]  # fmt: skip


def draw(folder: Path) -> Path:
    """Draw and prepare the data."""
    rows = []
    for place, (label, direction) in enumerate(moving_squares.DIRECTIONS.items()):
        counts = {"train": COMMON // TIMES if label == RARE else COMMON, "test": TEST}
        for split, count in counts.items():
            for number in range(count):
                path = f"{split}/{label}_{number}.mp4"
                moving_squares.draw(folder / path, direction, 10_000 * place + number + 5_000 * (split == "test"))
                rows.append((label, path, split))
    with open(folder / "index.csv", "w", newline="") as file:
        csv.writer(file).writerows([("label", "path", "split"), *rows])
    return prepare(folder / "index.csv", folder / "prepared", index_only=True, workers=1).folder


def recalls(data: Path, run: Path, words: list[str]) -> np.ndarray:
    """The recall of each class after a training."""
    if cli.run("train", [f"--data.folder={data}", f"--out={run}", *SETTINGS, *words]):
        raise SystemExit(1)
    cli.run("evaluate", ["--ckpt_path", str(run), "--split=test", "--workers=0", "--out", str(run / "results")])
    probabilities, labels = read_evaluation(run / "results").labelled()
    right = probabilities.argmax(1) == labels
    return np.array([right[labels == one].mean() for one in range(probabilities.shape[1])])


def main() -> None:
    """Train, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=2)
    given = parser.parse_args()
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        data = draw(Path(folder))
        rare = sorted(moving_squares.DIRECTIONS).index(RARE)
        for way, words in WAYS.items():
            runs = [Path(folder) / f"{way}-{seed}" for seed in range(given.seeds)]
            more = [*words, f"--trainer.max_epochs={given.epochs}"]
            found = np.stack([recalls(data, run, [*more, f"--seed={seed}"]) for seed, run in enumerate(runs)])
            own, others = found[:, rare], np.delete(found, rare, axis=1).mean(axis=1)
            shown = " ".join(f"{100 * value:.0f}" for value in own)
            lines.append(f"{way:30} {100 * own.mean():5.1f} % ({shown})   others {100 * others.mean():5.1f} %")
            print(lines[-1], flush=True)
    print(f"\nrecall of the class with {COMMON // TIMES} training videos, the others have {COMMON}; each seed")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
