"""The page of an evaluation: what was reached, on what, and where it goes wrong."""

from typing import Any

import numpy as np

from besnet.report import confusion
from besnet.report.page import Page
from besnet.report.plots import class_bars, gain_bars, reliability_plot
from besnet.report.sheet import contact_sheet


def percent(share: float | None) -> str:
    """A share as people read it; a dash where nothing can be said."""
    return "–" if share is None else f"{100 * share:.1f} %"


def trained_on_line(known: int, videos: int) -> str:
    """What has to be said where a network was evaluated on what it was trained on."""
    return (
        f"{known} of these {videos} videos are training videos of the network: these figures say how well it remembers "
        "them, and nothing about new ones"
    )


def evaluation_page(
    results: dict[str, Any],
    pairs: np.ndarray | None,
    mistakes: list[tuple[str, np.ndarray]],
    others: list[dict[str, Any]],
) -> Page:
    """Build the page from an evaluation's results, what was taken for what (K, 3) if it had labels, and its mistakes.

    mistakes: (what was said, frames uint8 (N, H, W, 3)) of videos that were taken for something else with confidence.
    others: the same checkpoint's other evaluations, see besnet.evaluation.comparison.siblings.
    """
    page = Page(f"{results['data']['name']} · {results['split']}", results["checkpoint"]["network"])
    coverage = results["coverage"]
    if results["trained_on"]:
        page.warning(trained_on_line(results["trained_on"], coverage["evaluated"]))
    if pairs is not None:
        over, strict = results["accuracy"]["over_evaluated"], results["accuracy"]["missing_counted_wrong"]
        seen = len(np.unique(pairs[:, 0]))
        page.cards(
            [
                (percent(over["top1"]), "top-1"),
                (percent(over["top5"]), "top-5"),
                (percent(over["mean"]), "mean of both"),
                (percent(results["accuracy"]["mean_class_top1"]), f"top-1, mean over {seen} classes"),
                (percent(strict["top1"]), "top-1, missing counted wrong"),
            ]
        )
        if over["top1"] is not None:
            low, high = over["top1_interval"]
            page.text(
                f"The 95 % interval of top-1 is {percent(low)} to {percent(high)} ({int(pairs[:, 2].sum())} videos)."
            )
    page.heading("Coverage")
    page.table(["expected", "evaluated", "missing", "undecodable", "looped"], [[coverage[key] for key in coverage]])
    if results["unread"]:
        page.text(f"Not evaluated ({len(results['unread'])}; at most 50 are listed here, all of them in results.json):")
        page.table(["video", "why"], [[video["id"], video["why"]] for video in results["unread"][:50]])
    if "against" in results:
        add_comparison(page, results["against"])
    if results["pairs"]:
        page.heading("Pairs told apart")
        page.text("Of the videos of two classes, the share whose own class is the more probable one; 50 % is chance.")
        rows = [[" / ".join(p["pair"]), p["videos"], percent(p["share"]), interval(p)] for p in results["pairs"]]
        page.table(["pair", "videos", "told apart", "95 % interval"], rows)
    if pairs is not None and len(pairs):
        add_confusion(page, pairs, results["classes"])
        page.heading("Classes")
        page.figure(class_bars(results["per_class"]), "Top-1 of each class, the weakest at the bottom.")
        rows = [[row["class"], row["videos"], row["top1"]] for row in results["per_class"] if row["videos"]]
        page.table(["class", "videos", "top-1"], rows, folded=f"All {len(rows)} classes with videos")
    add_views(page, results, others)
    if results["calibration"] is not None:
        page.heading("Calibration")
        page.figure(
            reliability_plot(results["calibration"]["bins"]),
            f"Expected calibration error {percent(results['calibration']['ece'])}: the mean distance of confidence and "
            f"accuracy. Negative log-likelihood {results['calibration']['negative_log_likelihood']:.3f}: the mean of "
            "-log of the probability of the truth, which no confidence in wrong answers makes small. Below the "
            "diagonal the network is surer than it may be; `besnet calibrate` mends that.",
        )
    if mistakes:
        page.heading("The most confident mistakes")
        page.picture(contact_sheet(mistakes), "Eight frames of each video, evenly spread over its length.")
    page.heading("How")
    known = "not known" if results["trained_on"] is None else str(results["trained_on"])
    data, checkpoint = results["data"], results["checkpoint"]
    page.table(
        ["", ""],
        [
            ["views", f"{results['views']['num_clips']} clips x {results['views']['num_crops']} crops"],
            ["crop size", f"{results['views']['crop_size']} pixels"],
            ["clip", clip_line(results["clip"])],
            ["dilations averaged", str(results["dilations"])],
            ["data passport, source", data["passport"]["source"]],
            ["data passport, encode", data["passport"]["encode"]],
            ["trained on, source", checkpoint["passport"]["source"]],
            ["training videos among these", known],
            ["checkpoint", f"{checkpoint['file']} (SHA-256 {checkpoint['hash']}...)"],
            ["revision", checkpoint["revision"]],
            ["cost", results["run"]["cost"]],
        ],
    )
    page.code(results["run"]["command"])
    return page


def clip_line(clip: dict[str, Any]) -> str:
    """A clip's shape in words."""
    if clip["sampling"] == "uniform":
        return f"{clip['num_frames']} frames, one of each equal segment of the whole video"
    rate = "the source's frames" if clip["target_fps"] is None else f"{clip['target_fps']:g} fps"
    return f"{clip['num_frames']} frames, {clip['frame_interval']} apart at {rate}"


def add_confusion(page: Page, pairs: np.ndarray, classes: list[str]) -> None:
    """Which classes are taken for which: one matrix, or, of many classes, an overview and its worst groups by name."""
    page.heading("Confusion")
    legend = "Row: the truth; column: the answer; colour: share of the row."
    shown = confusion.worst_classes(pairs, len(classes))
    counts, names = confusion.square(pairs, shown), [classes[number] for number in shown]
    totals = np.bincount(pairs[:, 0], pairs[:, 2], len(classes)).astype(np.int64)[shown]
    if len(names) <= confusion.MOST_NAMES:
        page.figure(confusion.confusion_matrix(counts, names), legend, dense=True)
    else:
        order = confusion.groups(counts)
        marked = confusion.most_confused_groups(counts, order)
        which = "All" if len(names) == len(classes) else f"Of {len(classes)} classes those with the most mistakes,"
        caption = (
            f"{legend} {which} {len(names)} classes, those that are taken for each other side by side; the framed "
        )
        page.figure(confusion.overview(counts, totals, order, marked), caption + "groups are named below.", dense=True)
        parts = []
        for number, group in enumerate(marked, 1):
            part = counts[np.ix_(group, group)]
            inside, wrong = part.sum() - part.trace(), totals[group].sum() - part.trace()
            caption = f"Group {number}: {inside} of its {wrong} mistakes stay inside it."
            parts.append((confusion.confusion_matrix(part, [names[place] for place in group], totals[group]), caption))
        page.figures(parts)
    confused = confusion.most_confused(pairs, classes)
    if confused:
        page.table(["truth", "taken for", "videos", "of"], confused)


def add_comparison(page: Page, against: dict[str, Any]) -> None:
    """What was gained and lost against another evaluation, class by class."""
    page.heading("Against another evaluation")
    low, high = against["interval"]
    page.text(
        f"{against['folder']} ({against['checkpoint']['network']}): {100 * against['difference']:+.1f} points of "
        f"top-1, 95 % interval {100 * low:+.1f} to {100 * high:+.1f}, on {against['videos']} videos of both; "
        f"{against['gained']} videos gained, {against['lost']} lost."
    )
    page.figure(gain_bars(against["per_class"]), "Points of top-1 gained or lost in each class, the losses below.")
    rows = [[row["class"], row["videos"], row["top1"], row["gained"]] for row in reversed(against["per_class"])]
    page.table(["class", "videos", "top-1", "gained"], rows, folded=f"All {len(rows)} classes")


def add_views(page: Page, results: dict[str, Any], others: list[dict[str, Any]]) -> None:
    """Accuracy over the number of clips, and the same checkpoint under other dilations and views."""
    few = results.get("over_clips", [])
    if len(few) > 1:
        page.heading("Fewer clips")
        page.text("Top-1 if only some of each video's clips had been looked at, evenly spread.")
        page.table(["clips", "top-1"], [[row["clips"], percent(row["top1"])] for row in few])
    if others:
        page.heading("The same checkpoint, evaluated otherwise")
        rows = [[o["name"], o["views"], o["dilations"], percent(o["top1"]), interval(o)] for o in others]
        page.table(["evaluation", "views", "dilations averaged", "top-1", "95 % interval"], rows)


def interval(pair: dict[str, Any]) -> str:
    """A 95 % interval as text."""
    if pair["interval"] is None:
        return "–"
    return f"{percent(pair['interval'][0])} to {percent(pair['interval'][1])}"
