"""J-HMDB's tables with the film of each clip, which its file's name begins with: FILM_<label>_....mp4.

    python -m benchmarks.jhmdb_table .../jhmdb/split1.csv data/jhmdb             # split1.csv, the official split
    python -m benchmarks.jhmdb_table .../jhmdb/split1.csv data/jhmdb --folds 3   # fold1.csv to fold3.csv, settings.csv

The folds test every clip once. A film is in one of them alone, which does not hold for the official split. settings.csv
has only the training clips of fold1, with a quarter of their films as the split val: settings are chosen on it.
"""

import argparse
import csv
from pathlib import Path

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from besnet.files import write_table

QUARTERS = 4


def fold_splits(labels: np.ndarray, films: np.ndarray, folds: int) -> dict[str, np.ndarray]:
    """The split of each clip in each fold: classes spread evenly, films kept whole."""
    found = {}
    dealt = StratifiedGroupKFold(folds, shuffle=True, random_state=0).split(labels, labels, films)
    for number, (_, tested) in enumerate(dealt, start=1):
        found[f"fold{number}"] = np.full(len(labels), "train", dtype=object)
        found[f"fold{number}"][tested] = "test"
    return found


def main() -> None:
    """Write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--folds", type=int, default=0, help="0: the official split")
    given = parser.parse_args()
    with open(given.source, newline="") as file:
        rows = list(csv.DictReader(file))
    labels = np.array([row["label"] for row in rows])
    films = np.array([Path(row["path"]).name.partition(f"_{row['label']}_")[0] for row in rows])
    tables = {"split1": np.array([row["split"] for row in rows])}
    if given.folds:
        tables = fold_splits(labels, films, given.folds)
        learned = tables["fold1"] == "train"
        inner = fold_splits(labels[learned], films[learned], QUARTERS)["fold1"]
        tables["settings"] = np.full(len(rows), "", dtype=object)
        tables["settings"][learned] = np.where(inner == "test", "val", "train")
    for name, split in tables.items():
        lines = [
            [row["label"], row["path"], own, film] for row, own, film in zip(rows, split, films, strict=True) if own
        ]
        write_table(given.out / f"{name}.csv", [["label", "path", "split", "group"], *lines])
        held_out = np.isin(split, ("val", "test"))
        tested = set(films[held_out])
        shared = len(tested & set(films[split == "train"]))
        print(f"{given.out / name}.csv: {held_out.sum()} of {len(lines)} clips held out, of {len(tested)} films")
        if shared:
            print(f"  {shared} of these films have clips to learn from, too")


if __name__ == "__main__":
    main()
