"""The part of an evaluation's page on videos with several labels: mAP, and the average precision of each class."""

from typing import Any

from besnet.report.numbers import percent
from besnet.report.page import Page
from besnet.report.plots import class_bars, gain_bars

MEANING = (
    "Average precision (AP) is the area below the steps of precision over recall, without interpolation; videos of "
    "equal probability share one place in the ranking. mAP is the mean over the classes that have videos."
)


def precision_line(found: dict[str, Any]) -> str:
    """mAP with its interval, in one line."""
    low, high = (percent(bound) for bound in found["interval"])
    left_out = len(found["without_positives"])
    more = f"; {left_out} without videos are left out" if left_out else ""
    return (
        f"{percent(found['map'])} ({low} to {high}) over {found['classes']} classes{more}; missing videos counted "
        f"wrong {percent(found['missing_counted_wrong'])}"
    )


def add_average_precision(page: Page, found: dict[str, Any], activation: str) -> None:
    """mAP, and AP of each class."""
    page.heading("Average precision")
    page.cards(
        [
            (percent(found["map"]), f"mAP, mean over {found['classes']} classes"),
            (percent(found["missing_counted_wrong"]), "mAP, missing videos counted wrong"),
        ]
    )
    low, high = (percent(bound) for bound in found["interval"])
    page.text(f"95 % interval of mAP: {low} to {high} ({found['videos']} videos, bootstrap over groups). {MEANING}")
    if found["without_positives"]:
        names = ", ".join(found["without_positives"][:20])
        page.text(f"Left out, because no video shows them: {len(found['without_positives'])} classes ({names}).")
    if activation == "softmax":
        page.text("The network gives one label per video: its videos are ranked by the softmax.")
    rows = [row for row in found["per_class"] if row["ap"] is not None]
    if rows:
        bars = [{"class": row["class"], "top1": row["ap"]} for row in rows]
        page.figure(class_bars(bars, "average precision"), "AP of each class, the lowest at the bottom.")
        cells = [[row["class"], row["positives"], row["ap"]] for row in rows]
        page.table(["class", "videos", "AP"], cells, folded=f"All {len(rows)} classes with videos")


def add_difference(page: Page, baseline: dict[str, Any]) -> None:
    """The difference in mAP to the baseline, and what each class gained."""
    page.heading("Comparison")
    low, high = baseline["interval"]
    difference = "unknown" if baseline["difference"] is None else f"{100 * baseline['difference']:+.1f} points"
    page.text(
        f"Baseline: {baseline['folder']} ({baseline['checkpoint']['network']}). Difference in mAP: {difference}, 95 % "
        f"interval {100 * low:+.1f} to {100 * high:+.1f} by a bootstrap over {baseline['groups']} groups, on the "
        f"{baseline['videos']} videos of both."
    )
    if baseline["per_class"]:
        page.figure(gain_bars(baseline["per_class"], "AP"), "AP gained or lost in each class, in points.")
