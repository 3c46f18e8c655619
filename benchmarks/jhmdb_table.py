"""J-HMDB's table with the film of each clip, which its file's name begins with: FILM_<label>_....mp4.

python -m benchmarks.jhmdb_table .../jhmdb/split1.csv data/jhmdb/split1.csv
"""

import csv
import sys
from pathlib import Path

from besnet.files import write_table


def main(source: Path, out: Path) -> None:
    """Add the column `group`."""
    with open(source, newline="") as file:
        rows = list(csv.DictReader(file))
    films = [Path(row["path"]).name.partition(f"_{row['label']}_")[0] for row in rows]
    lines = [[row["label"], row["path"], row["split"], film] for row, film in zip(rows, films, strict=True)]
    write_table(out, [["label", "path", "split", "group"], *lines])
    print(f"{out}: {len(rows)} clips of {len(set(films))} films")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
