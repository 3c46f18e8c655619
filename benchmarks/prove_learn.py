"""`besnet learn` with no options on Weizmann as class folders, three people held out: its accuracy on them.

The folder holds index.csv (label, person, path), as data/weizmann/README.md describes it. The test people are in a
folder test/ of class folders; who is in the other videos, `besnet learn` reads off the names of the files.
"""

import argparse
import csv
import json
import time
from pathlib import Path

from besnet import cli

HELD_OUT = ("daria", "denis", "eli")
WANTED = 0.9


def class_folders(index: Path, to: Path, held_out: tuple[str, ...]) -> Path:
    """Links to the videos of an index, in test/ for some people and in train/ for the others."""
    with open(index, newline="") as file:
        for row in csv.DictReader(file):
            place = to / ("test" if row["person"] in held_out else "train") / row["label"]
            place.mkdir(parents=True, exist_ok=True)
            link = place / Path(row["path"]).name
            if not link.exists():
                link.symlink_to((index.parent / row["path"]).resolve())
    return to


def main() -> None:
    """Learn, and print what became of it. Exits with 1 below the wanted accuracy."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="folder with index.csv")
    parser.add_argument("--out", type=Path, default=Path("runs/prove_learn"))
    parser.add_argument("--people", default=",".join(HELD_OUT), help="who is held out")
    given, words = parser.parse_known_args()  # the others are besnet learn's
    began_sec = time.monotonic()
    source = class_folders(given.data / "index.csv", given.out / "videos", tuple(given.people.split(",")))
    code = cli.run("learn", [str(source), "--out", str(given.out / "mine"), *words])
    if code:
        raise SystemExit(code)
    top1 = json.loads((given.out / "mine/results/results.json").read_text())["accuracy"]["over_evaluated"]["top1"]
    print(f"\n{given.people}: top-1 {100 * top1:.1f} %, {(time.monotonic() - began_sec) / 60:.1f} minutes")
    raise SystemExit(top1 < WANTED)


if __name__ == "__main__":
    main()
