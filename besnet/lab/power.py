"""What a lab can find: the seeds that an effect needs, from the spread of a pilot lab."""

import math
from pathlib import Path
from typing import Any

from scipy import stats

from besnet.evaluation.statistics import LEVEL, POWER, minimum_detectable
from besnet.reading import read_json

SHOWN = (3, 4, 5, 6, 8, 10, 15, 20, 30, 50)
MOST_SEEDS = 1000
SURE = 0.8  # of the upper bound of a pilot's spread over seeds


def power(pilot: Path, effect: float, comparison: str | None = None, videos: int | None = None) -> int:
    """Print the smallest effect that so many seeds find in 80 % of trials, and the seeds that an effect needs.

    Args:
        pilot: folder of a finished lab, or its results.json; at least two seeds.
        effect: the true difference to find, in points.
        comparison: the comparison of the pilot whose spread counts, by its name on the page; by default the primary
            one, or the one with the widest spread over seeds.
        videos: test videos of the planned lab; by default as many as the pilot's.
    """
    file = pilot / "results.json" if pilot.is_dir() else pilot
    report = read_json(file, dict[str, Any], "lab")
    for line in plan_lines(report, str(pilot), effect, comparison, videos):
        print(line)
    return 0


def plan_lines(
    report: dict[str, Any], where: str, effect: float, comparison: str | None, videos: int | None
) -> list[str]:
    """The lines that `power` prints. ValueError where the pilot cannot say."""
    row = chosen(report, where, comparison)
    seeds, there = len(row["seeds"]), report["coverage"]["evaluated"]
    scale = there / (videos or there)
    error, groups = row["error_by_videos"] * math.sqrt(scale), max(2, round(row["groups"] / scale))
    spread = row["seeds_deviation"]
    # a spread from few seeds is itself uncertain
    upper = spread * math.sqrt((seeds - 1) / stats.chi2.ppf(1 - SURE, seeds - 1))
    found = [f"pilot {where}: {row['name']}, {seeds} seeds, {there} videos in {row['groups']} groups",
             f"spread of the difference over seeds: {100 * spread:.1f} points (standard deviation; with "
             f"{SURE:.0%} confidence at most {100 * upper:.1f})",
             f"standard error by videos: {100 * error:.1f} points, with {videos or there} videos", ""]  # fmt: skip
    found.append("seeds   smallest effect, points   with the larger spread")
    for count in SHOWN:
        smallest, more = (100 * minimum_detectable(deviation, count, error, groups) for deviation in (spread, upper))
        found.append(f"{count:5}   {smallest:23.1f}   {more:22.1f}")
    found.append("")
    for name, deviation in (("the pilot's spread", spread), ("the larger spread", upper)):
        found.append(f"{effect:g} points, with {name}: {needed(deviation, error, groups, effect / 100)}")
    found.append(f"Each is found in {POWER:.0%} of trials, by a {LEVEL:.0%} interval that excludes 0.")
    return found


def chosen(report: dict[str, Any], where: str, comparison: str | None) -> dict[str, Any]:
    """The comparison of a pilot that the plan is for. ValueError without one, or with a single seed."""
    rows: list[dict[str, Any]] = [row for row in report.get("differences", []) if "seeds_deviation" in row]
    if not rows:
        raise ValueError(f"{where}: its results.json has no comparison over seeds: run the lab's command again")
    if comparison is not None:
        rows = [row for row in rows if row["name"] == comparison]
        if not rows:
            known = ", ".join(repr(row["name"]) for row in report["differences"])
            raise ValueError(f"--comparison {comparison!r}: {where} has {known}")
    primary = [row for row in rows if row["role"] == "primary"]
    row = max(primary or rows, key=lambda row: float(row["seeds_deviation"]))
    if len(row["seeds"]) < 2:
        raise ValueError(f"{where}: {row['name']} has one seed: a pilot needs two or more")
    return row


def needed(deviation: float, error: float, groups: int, effect: float) -> str:
    """The number of seeds that an effect needs, as text."""
    limit = minimum_detectable(0.0, 1, error, groups)
    if limit >= effect:
        more = (limit / effect) ** 2
        return f"not with these videos ({100 * limit:.1f} points is their limit): {more:.1f} times as many or more"
    low, high = 2, MOST_SEEDS  # more seeds find smaller effects
    if minimum_detectable(deviation, high, error, groups) > effect:
        return f"more than {MOST_SEEDS} seeds"
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if minimum_detectable(deviation, middle, error, groups) <= effect else (middle, high)
    return f"{max(3, high)} seeds"
