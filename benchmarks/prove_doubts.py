"""`besnet doubts` on drawn videos of which 5 % have a wrong label: how many of these are among the first 10 %.

    make prove-doubts                                # by five trainings from noise
    python -m benchmarks.prove_doubts --start lite   # by ImageNet's features, which see no motion: about a third

Labels of training and validation videos are changed to any other class. Exit code 1 below 80 %.
"""

import argparse
import csv
from pathlib import Path

import numpy as np

from besnet import cli
from besnet.files import write_table

FLIPPED, FIRST, WANTED = 0.05, 0.1, 0.8


def flip(table: Path, to: Path, seed: int) -> set[str]:
    """Write the table with wrong labels; returns the paths of their videos."""
    with open(table, newline="") as file:
        rows = list(csv.DictReader(file))
    rng = np.random.default_rng(seed)
    classes = sorted({row["label"] for row in rows})
    able = [row for row in rows if row["split"] != "test"]
    wrong = [able[place] for place in rng.permutation(len(able))[: round(FLIPPED * len(able))]]
    for row in wrong:
        row["label"] = str(rng.choice([name for name in classes if name != row["label"]]))
    write_table(to, [list(rows[0]), *(list(row.values()) for row in rows)])
    return {row["path"] for row in wrong}


def share_found(table: Path, wrong: set[str]) -> float:
    """The share of the wrong labels among the first tenth of the doubts."""
    with open(table, newline="") as file:
        paths = [row["path"] for row in csv.DictReader(file)]
    first = paths[: round(FIRST * len(paths))]
    return len(wrong.intersection(first)) / len(wrong)


def main() -> None:
    """Draw, flip, judge. Exits with 1 if too few are found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--start", choices=("lite", "noise"), action="append")
    parser.add_argument("--data", type=Path, default=Path("data/stick_figures/easy"))
    parser.add_argument("--out", type=Path, default=Path("runs/prove_doubts"))
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    if not (given.data / "index.csv").exists():
        cli.run("draw", [str(given.data)])
    given.out.mkdir(parents=True, exist_ok=True)
    table, prepared = given.out / f"flipped_{given.seed}.csv", given.out / f"prepared_{given.seed}"
    wrong = flip(given.data / "index.csv", table, given.seed)
    cli.run("prepare", [str(table), str(prepared), "--videos", str(given.data), "--index_only", "--group", "person"])
    shares = {}
    for start in given.start or ("noise",):
        run = given.out / f"{start}_{given.seed}"
        if start == "lite":
            words = ["--network", "tf_efficientnet_lite0", "--weights", "lite", "--input.num_frames", "8"]
            words += ["--input.sampling", "uniform", "--input.crop_size", "128"]
            cli.run("probe", ["--data", str(prepared), "--out", str(run), *words])
            model = run / "model"
        else:
            cli.run("train", ["--config=configs/stick_figures.yaml", f"--data.folder={prepared}", f"--out={run}"])
            model = run
        cli.run("doubts", [str(model), "--out", str(run / "doubts"), "--data", str(prepared)])
        shares[start] = share_found(run / "doubts" / "doubts.csv", wrong)
    for start, share in shares.items():
        print(f"{start}: {share:.0%} of {len(wrong)} wrong labels are among the first {FIRST:.0%} of the doubts")
    raise SystemExit(min(shares.values()) < WANTED)


if __name__ == "__main__":
    main()
