"""Two figures in one picture, each with an action of its own: mAP of a network for several labels, and of one for one.

Draws and prepares the videos, trains both networks with the same settings, chooses thresholds on the validation videos
and evaluates both on the test videos. The network for one label has learned from what the left figure does.
"""

import argparse
import csv
import json
from pathlib import Path

from besnet import cli
from besnet.files import write_table

CONFIG = Path(__file__).resolve().parent.parent / "configs" / "stick_figures_pairs.yaml"
WANTED = 0.9


def besnet(verb: str, *words: object) -> None:
    """Run one besnet command. SystemExit where it fails."""
    code = cli.run(verb, [str(word) for word in words])
    if code:
        raise SystemExit(code)


def first_labels(index: Path, to: Path) -> Path:
    """The table with the first label of each video alone."""
    with open(index, newline="") as file:
        rows = list(csv.DictReader(file))
    lines = [[row["label"].split(";")[0], row["path"], row["split"], row["person"]] for row in rows]
    write_table(to, [["label", "path", "split", "person"], *lines])
    return to


def prove(folder: Path, runs: Path, draw: list[str], train: list[str]) -> tuple[float, float]:
    """mAP on the test videos of the network for several labels, and of the one for one label."""
    index = folder / "index.csv"
    if not index.exists():
        besnet("draw", folder, "--variant", "pairs", *draw)
    besnet("prepare", index, folder / "prepared", "--copy", "--group", "person")
    one = first_labels(index, folder / "first.csv")
    besnet("prepare", one, folder / "prepared_one", "--copy", "--group", "person")
    for name, data in (("several", "prepared"), ("one", "prepared_one")):
        besnet("train", "--config", CONFIG, "--out", runs / name, "--data.folder", folder / data, *train)
    data = ["--data", folder / "prepared"]
    several = runs / "several"
    besnet("evaluate", "--ckpt_path", several, *data, "--split", "val", "--out", several / "validation")
    besnet("evaluate", "--ckpt_path", several, *data, "--out", several / "test")
    besnet("calibrate", several / "validation", "--reported", several / "test", "--run_folder", several)
    besnet("evaluate", "--ckpt_path", runs / "one", *data, "--out", runs / "one" / "test",
           "--baseline", several / "test")  # fmt: skip
    of_several, of_one = (
        json.loads((runs / name / "test" / "results.json").read_text())["average_precision"]["map"]
        for name in ("several", "one")
    )
    return of_several, of_one


def main() -> None:
    """Exits with 1 below the wanted mAP."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("data/stick_figures/pairs"))
    parser.add_argument("--out", type=Path, default=Path("runs/prove_labels"))
    given, words = parser.parse_known_args()  # the others are besnet train's
    several, one = prove(given.data, given.out, [], words)
    print(f"\nmAP: several labels {100 * several:.1f} %, one label {100 * one:.1f} %")
    raise SystemExit(several < WANTED)


if __name__ == "__main__":
    main()
