"""The results in docs/evidence.md and README.md are those of the labs; the conclusions follow the page's rule."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PAGE = (ROOT / "docs" / "evidence.md").read_text()
README = " ".join((ROOT / "README.md").read_text().split())
TITLES = {"jhmdb": "J-HMDB", "stick_figures": "Synthetic videos", "durations": "Durations"}
FINISHED = [study for study in TITLES if (RESULTS / f"evidence_{study}.json").exists()]
CARED_ABOUT = 2.0  # points


def named(study: str) -> list[dict[str, Any]]:
    """The primary comparison of a study and its secondary ones, in points."""
    found = json.loads((RESULTS / f"evidence_{study}.json").read_text())["differences"]
    return [
        {
            "name": row["name"],
            "mean": 100 * row["mean"],
            "low": 100 * row["interval"][0],
            "high": 100 * row["interval"][1],
            "detectable": 100 * row["minimum_detectable"],
        }
        for row in found
        if row["role"] != "other"
    ]


def section(study: str) -> str:
    """The page's text on the result of a study."""
    found = re.search(rf"^### {TITLES[study]}\n(.*?)(?=^##)", PAGE[PAGE.index("## Results") :], re.M | re.S)
    assert found, f"docs/evidence.md: '### {TITLES[study]}' is missing under '## Results'"
    return found[1]


def concluded(row: dict[str, Any]) -> str:
    """What the page's rule says of a primary comparison."""
    if row["low"] > 0:
        return "helps, by less than 2 points" if row["high"] < CARED_ABOUT else "helps"
    if row["high"] < 0:
        return "hurts"
    return "does not help" if row["high"] < CARED_ABOUT else "inconclusive"


def test_every_finished_study_is_on_the_page_and_no_other() -> None:
    results = PAGE[PAGE.index("## Results") :].split("\n## ")[0]
    assert re.findall(r"^### (.+)$", results, re.M) == [TITLES[study] for study in FINISHED]


@pytest.mark.parametrize("study", FINISHED)
def test_a_finished_study_followed_its_plan(study: str) -> None:
    plan = yaml.safe_load((ROOT / "configs" / "evidence" / f"{study}.yaml").read_text())
    rows = json.loads((RESULTS / f"evidence_{study}.json").read_text())["differences"]
    roles = {role: [row for row in rows if row["role"] == role] for role in ("primary", "secondary")}
    assert [row["terms"] for row in roles["primary"]] == [plan["primary"]]
    assert [row["terms"] for row in roles["secondary"]] == plan["secondary"]
    most = plan.get("primary_seeds", plan["seeds"])
    assert roles["primary"][0]["seeds"] == list(range(most))
    assert all(len(row["seeds"]) in (plan["seeds"], most) for row in roles["secondary"])


@pytest.mark.parametrize("study", FINISHED)
def test_the_table_of_a_study_is_its_results(study: str) -> None:
    told = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in section(study).splitlines()
        if line.startswith("| `") or line.startswith("| (")
    ]
    wanted = [
        [
            row["name"],
            f"{row['mean']:+.1f} ({row['low']:+.1f} to {row['high']:+.1f})",
            f"{row['detectable']:.1f}",
        ]
        for row in named(study)
    ]
    assert [[row[0].replace("`", ""), *row[1:3]] for row in told] == wanted


@pytest.mark.parametrize("study", FINISHED)
def test_the_conclusion_of_a_study_follows_the_rule(study: str) -> None:
    assert f"**Conclusion: {concluded(named(study)[0])}.**" in " ".join(section(study).split())


@pytest.mark.parametrize("study", FINISHED)
def test_readme_gives_the_primary_difference(study: str) -> None:
    primary = named(study)[0]
    assert (
        f"{TITLES[study]}: {primary['mean']:+.1f} points ({primary['low']:+.1f} to {primary['high']:+.1f}), "
        f"{primary['detectable']:.1f} detectable: {concluded(primary)}"
    ) in README


def test_the_page_says_how_well_the_networks_fit_their_training_clips() -> None:
    found = json.loads((RESULTS / "evidence_jhmdb_training.json").read_text())["networks"]
    text = section("jhmdb")
    text = text[text.index("There `c2d`") : text.index("(`benchmarks/training_accuracy.py`)")]
    told = dict(re.findall(r"`(\w+)`\s+(?:reaches )?(\d+\.\d) %", text))
    assert told == {name: f"{100 * row['mean']:.1f}" for name, row in found.items()}


def test_the_other_figures_of_jhmdb_are_those_of_its_results() -> None:
    """Accuracies, dilation 2, the end of the interval, without the clips of the settings, and fold by fold."""
    results = json.loads((RESULTS / "evidence_jhmdb.json").read_text())
    folds = json.loads((RESULTS / "evidence_jhmdb_folds.json").read_text())
    text = " ".join(section("jhmdb").split())
    accuracies = text[text.index("Top-1 is") : text.index("hardly changes")]
    told = {name: figure for figure, name in re.findall(r"(\d+\.\d) % for `(\w+)`", accuracies)}
    assert told == {one["name"]: f"{100 * one['top1']['mean']:.1f}" for one in results["controls"]}
    (none,) = (one for one in results["controls"] if one["name"] == "none")
    at_2 = none["variants"]["dilation_2"]["difference_to_averaged"]
    low, high = at_2["interval"]
    assert f"at dilation 2 ({100 * at_2['mean']:+.1f} points, {100 * low:+.1f} to {100 * high:+.1f})" in text
    assert f"the interval ends at {named('jhmdb')[0]['high']:+.2f}." in text
    without = folds["without"]
    low, high = without["interval"]
    assert f"Without the {folds['left_out']} clips" in text
    assert f"the difference is {100 * without['mean']:+.1f} points ({100 * low:+.1f} to {100 * high:+.1f})" in text
    *most, last = (f"{100 * folds[f'fold{number}']['mean']:+.1f}" for number in range(1, 6))
    assert f"On the five folds it is {', '.join(most)} and {last} points." in text
