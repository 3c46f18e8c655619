"""The part of a lab's page on the same videos at other speeds."""

from typing import Any

from besnet.report.numbers import between, estimate, signed
from besnet.report.page import Cell, Page


def speeds(page: Page, found: dict[str, Any]) -> None:
    """The accuracy at each speed, and what each control loses there more than the reference."""
    factors = [f"{one['speed']:g}" for one in found["speeds"]]
    page.heading("Speeds")
    clips = "; ".join(
        f"x {name}: {one['num_frames']} frames, {100 * one['looped']:.0f} % looped"
        for name, one in zip(factors, found["speeds"], strict=True)
    )
    page.text(
        f"Top-1 on the same {found['videos']} videos, of {found['groups']} groups, at other speeds. A clip has as many "
        f"frames as cover the same share of a video: {clips}."
    )
    headers = [f"x {name}" for name in factors]
    rows: list[list[Cell]] = [
        [control["name"], *(estimate(control["speeds"][name]) for name in factors)]
        for control in found["controls"]
        if control["speeds"]
    ]
    page.table(["control", *headers], rows)
    reference = found["reference"]
    page.text(
        f"The change from x 1, minus the change of {reference}: in points, then in logits of accuracy, in which a weak "
        "network's loss counts as much as a strong one's. 95 % intervals; a verdict has only a comparison that the lab "
        "names. A dash: an accuracy is 0 or 100 %."
    )
    away = [name for name in factors if name != "1"]
    changes: list[list[Cell]] = []
    for control in found["controls"]:
        there = [control["speeds"][name] for name in away if "against_reference" in control["speeds"].get(name, {})]
        if there:
            changes.append([control["name"], "points", *(_change(one["against_reference"], signed) for one in there)])
            changes.append([control["name"], "logits", *(_change(one["logits"], _logit) for one in there)])
    if changes:
        page.table(["control", "", *(f"x {name}" for name in away)], changes)


def _logit(value: float) -> str:
    return f"{value:+.2f}"


def _change(values: dict[str, Any] | None, how: Any) -> str:
    return "–" if values is None else f"{how(values['mean'])} ({between(values['interval'], how)})"
