"""What a lab's comparisons say: a sentence for each verdict, and the table of all of them."""

from typing import Any

from besnet.report.numbers import between, points, signed
from besnet.report.page import Cell, Page, Strong


def verdict_line(pair: dict[str, Any]) -> str:
    """What a comparison says, in one sentence."""
    interval = f"{signed(pair['mean'])} points ({between(pair['interval'], signed)})"
    if pair["verdict"] == "none shown":
        return (
            f"{pair['name']}: {interval}. No difference is shown; one of {points(pair['minimum_detectable'])} points "
            "would have been, in 80 % of trials."
        )
    return f"{pair['name']}: {interval}, {pair['verdict']}."


def comparison_table(page: Page, differences: list[dict[str, Any]]) -> None:
    """The table of all comparisons."""
    page.heading("Comparison")
    secondary = sum(pair["role"] == "secondary" for pair in differences)
    page.text(
        "Differences of top-1 in points. Bold: the interval excludes 0. The primary comparison has a 95 % interval; "
        f"the {secondary} secondary ones have those of Holm's procedure. The others have 95 % intervals and no "
        "verdict: one in twenty excludes 0 by chance. The minimum detectable difference is the smallest true "
        "difference that these seeds and videos would show in 80 % of trials; the last column gives it for any number "
        "of seeds on these videos."
    )
    rows: list[list[Cell]] = []
    for pair in differences:
        mark = Strong if pair["verdict"] in ("better", "worse") else str
        rows.append([
            pair["name"], pair["role"], len(pair["seeds"]), pair["groups"], mark(signed(pair["mean"])),
            mark(between(pair["interval"], signed)), f"{100 * pair['level']:.1f} %",
            "–" if pair["p"] is None else f"{pair['p']:.2g}",
            points(pair["minimum_detectable"]), points(pair["minimum_detectable_by_videos"]),
        ])  # fmt: skip
    headers = ["comparison", "role", "seeds", "groups", "difference", "interval", "level", "p"]
    page.table([*headers, "minimum detectable difference", "the same, any number of seeds"], rows)
