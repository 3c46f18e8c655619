"""The primary comparison of a finished lab, fold by fold, and without the clips that its settings were chosen on.

    python -m benchmarks.fold_differences --plan configs/evidence/jhmdb.yaml --without data/jhmdb/five/settings.csv \
      --out benchmarks/results/evidence_jhmdb_folds.json

`--without` is a table; the clips of its split val are left out of the last line. The intervals follow the lab's rule. A
lab whose runs have not all ended is refused: nobody looks before.
"""

import argparse
import csv
from pathlib import Path
from typing import Any

import numpy as np

from besnet.cli.commands import arguments
from besnet.evaluation.statistics import paired_difference
from besnet.files import write_json
from besnet.lab.outcomes import EvaluatedRuns
from besnet.lab.results import of_controls, right
from besnet.lab.setup import Setup
from besnet.report.numbers import between, signed


def main(words: list[str] | None = None) -> None:
    """Print a line for each fold and one without those clips, and keep them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plan", type=Path, required=True)
    parser.add_argument("--without", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args(words)
    asked = Setup.of(arguments("lab", [f"--plan={given.plan}"])).check()
    with open(given.without, newline="") as file:
        chosen_on = {row["path"] for row in csv.DictReader(file) if row["split"] == "val"}
    found: dict[str, Any] = {}
    values, groups, ids = [], [], []
    for one in asked.each_fold:
        of_fold, of_groups, of_ids = differences(one)
        values.append(of_fold)
        groups.append(of_groups)
        ids += of_ids
        found[Path(str(one.fold)).name] = paired_difference(of_fold, of_groups)
    others = np.array([name not in chosen_on for name in ids])
    if others.all():
        raise SystemExit(f"{given.without}: none of its val clips is a test clip of {given.plan}")
    together, of_all = np.concatenate(values, axis=1), np.concatenate(groups)
    found["all"] = paired_difference(together, of_all)
    found["without"] = paired_difference(together[:, others], of_all[others])
    for name, row in found.items():
        print(f"{name}: {signed(row['mean'])} points ({between(row['interval'], signed)}), {row['groups']} films")
    write_json(given.out, {"comparison": str(asked.comparisons.primary), "left_out": int((~others).sum()), **found})


def differences(asked: Setup) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """The primary comparison of a fold, (seeds, videos), with the groups and the ids of its videos."""
    known, primary = EvaluatedRuns(asked.out, asked.text), asked.comparisons.primary
    if primary is None:
        raise SystemExit("the plan has no primary comparison")
    wanted = [run for runs in asked.runs_of_seeds for run in runs]
    if absent := [run for run in wanted if asked.job_name(run) not in known.known]:
        raise SystemExit(f"{asked.out}: not every run has ended: {asked.job_name(absent[0])} is to do")
    outcomes, videos = asked.gathered(wanted, known)
    networks = of_controls(asked.chosen, asked.seeds_of, outcomes)

    def of(control: str, variant: str, seeds: list[int]) -> np.ndarray:
        return right({seed: networks[control][seed] for seed in seeds}, variant)

    unread = {video["id"] for video in videos.unread}
    rows = asked.manifest.select(asked.split)
    ids = [name for row in rows if (name := asked.manifest[int(row)].id) not in unread]
    return primary.differences(of, list(range(asked.primary_seeds or asked.seeds))), videos.groups, ids


if __name__ == "__main__":
    main()
