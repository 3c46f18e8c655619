"""The figures of the labs in README.md and docs/evidence.md are those of the results in benchmarks/results."""

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from scipy import stats

from besnet.lab.power import plan_lines
from besnet.reading import read_json

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
README = (ROOT / "README.md").read_text()
EVIDENCE = (ROOT / "docs" / "evidence.md").read_text()
NAMES = {"C2D, no temporal convolutions": "c2d", "no dilation": "none", "dilation 2": "fixed_2",
         "random {1,2}": "random_12", "random {1,2,3,4}": "random_1234"}  # fmt: skip
LABS = ("lab_stick_figures_hard", "lab_jhmdb_split1")


def lab(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text())
    return found


def half(figures: dict[str, Any], seeds: int, videos: int) -> float:
    """Half of the 95 % interval, by the rule of docs/evidence.md."""
    by_seeds = stats.t.ppf(0.975, seeds - 1) * figures["error_by_seeds"]
    by_videos = stats.t.ppf(0.975, videos - 1) * figures["error_by_videos"]
    return math.hypot(by_seeds, by_videos)


def rows() -> list[tuple[str, list[str]]]:
    """The lines of README's table of controls: name, and a cell for each lab."""
    found = []
    for line in README.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and cells[0] in NAMES:
            found.append((cells[0], cells[1:]))
    return found


def test_readme_has_every_control_of_the_labs() -> None:
    assert {name for name, _ in rows()} == NAMES.keys()
    for column, name in enumerate(LABS):
        told = {NAMES[control] for control, cells in rows() if cells[column]}
        assert told == {control["name"] for control in lab(name)["controls"]}


@pytest.mark.parametrize("row", rows(), ids=lambda row: NAMES[row[0]])
def test_readmes_accuracies_are_those_of_the_labs(row: tuple[str, list[str]]) -> None:
    name, cells = row
    for cell, file in zip(cells, LABS, strict=True):
        if not cell:
            continue
        results = lab(file)
        (control,) = [one for one in results["controls"] if one["name"] == NAMES[name]]
        width = half(control["top1"], len(control["seeds"]), results["coverage"]["evaluated"])
        mean = control["top1"]["mean"]
        told = [float(number) for number in re.findall(r"-?[\d.]+", cell)]
        assert told == pytest.approx([100 * mean, 100 * (mean - width), 100 * (mean + width)], abs=0.0501)


def test_readmes_differences_are_those_of_the_labs() -> None:
    sentence = README[README.index("Random {1,2} minus no dilation is") :].split(":")[0]
    told = [float(number) for number in re.findall(r"(?<![{,\d])[-+]\d+\.\d", sentence)]
    wanted: list[float] = []
    for file in LABS:
        results = lab(file)
        (one,) = [d for d in results["differences"] if {d["first"], d["second"]} == {"none", "random_12"}]
        sign = 1 if one["second"] == "random_12" else -1
        width = half(one, len(one["seeds"]), results["coverage"]["evaluated"])
        wanted += [100 * sign * one["mean"], 100 * (sign * one["mean"] - width), 100 * (sign * one["mean"] + width)]
    assert told == pytest.approx(wanted, abs=0.0501)


def test_the_seeds_that_the_plan_asks_for_are_those_of_power() -> None:
    command = EVIDENCE[EVIDENCE.index("besnet lab --power") :]
    pilot, effect, name, videos = re.match(  # type: ignore[union-attr]
        r"besnet lab --power\s+(\S+) --effect (\S+) --comparison '(.+?)' --videos (\d+)", command
    ).groups()
    report = read_json(ROOT / pilot, dict[str, Any], "lab")
    said = "\n".join(plan_lines(report, pilot, float(effect), name, int(videos)))
    table = {
        int(seeds): (least, more) for seeds, least, more in re.findall(r"^ *(\d+) +([\d.]+) +([\d.]+)$", said, re.M)
    }
    spread, upper = re.findall(r"[\d.]+(?= points \(standard)|(?<=at most )[\d.]+", said)[:2]
    told = " ".join(EVIDENCE.split())
    assert f"spreads over seeds by {spread} points" in told
    assert f"5 seeds find {table[5][0]} points in 80 % of trials, 10 seeds find {table[10][0]}." in told
    assert f"80 % upper bound is {upper} points. With that spread, 10 seeds detect only differences" in told
    assert f"differences of {table[10][1]} points or more" in told


def test_how_often_the_statistics_are_wrong_is_what_was_simulated() -> None:
    simulated = json.loads((RESULTS / "lab_statistics.json").read_text())
    rows = simulated["rows"]
    told = " ".join(EVIDENCE.split())
    assert f"simulates {simulated['labs']:,} labs" in told
    most = {name: math.ceil(1000 * max(row[name] for row in rows)) / 10 for name in ("primary", "family", "found")}
    assert f"excludes 0 in at most {most['primary']:.1f} % of labs" in told
    assert f"called a difference in at most {most['family']:.1f} % of labs" in told
    least = 100 * min(row["found"] for row in rows)
    assert f"found in {least:.0f} to {most['found']:.0f} % of labs" in told


def test_the_secondary_comparisons_of_the_page_are_those_of_the_plans() -> None:
    """As many in each column of the table as the plan of that column names."""
    lines = [line for line in EVIDENCE.splitlines() if line.startswith("|")]
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    (header,) = (row for row in table if row[0] == "comparison")
    rows = [dict(zip(header, row, strict=True)) for row in table if len(row) == len(header)]
    plans = {"synthetic": "stick_figures", "durations": "durations", "J-HMDB": "jhmdb"}
    files = {name: ROOT / "configs" / "evidence" / f"{plan}.yaml" for name, plan in plans.items()}
    told = {name: sum(row[name] == "yes" for row in rows) for name in plans}
    assert told == {name: len(yaml.safe_load(file.read_text())["secondary"]) for name, file in files.items()}
