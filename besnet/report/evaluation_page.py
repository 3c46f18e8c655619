"""The page of an evaluation: accuracy, data, mistakes and setup."""

from typing import Any

import numpy as np

from besnet.report import confusion
from besnet.report.average_precision import add_average_precision, add_difference
from besnet.report.numbers import percent
from besnet.report.page import Page
from besnet.report.plots import class_bars, gain_bars, reliability_plot
from besnet.report.sheet import contact_sheet

MANY_CLASSES = 20


def reports_mean(classes: list[str]) -> bool:
    """Whether the mean of top-1 and top-5 is reported: with few classes top-5 is nearly always right."""
    return len(classes) >= MANY_CLASSES


def trained_on_line(known: int, videos: int) -> str:
    """The warning for a network that was evaluated on its training videos."""
    return (
        f"The network was trained on {known} of these {videos} videos: the figures show how well it remembers them, "
        "not how well it recognizes new videos"
    )


def baseline_known_line(known: int) -> str:
    """The warning for a comparison with a network that was evaluated on its training videos."""
    return (
        f"The baseline's network was trained on {known} of its evaluated videos: the difference is not that on new "
        "videos"
    )


def evaluation_page(
    results: dict[str, Any],
    pairs: np.ndarray | None,
    mistakes: list[tuple[str, np.ndarray]],
    others: list[dict[str, Any]],
) -> Page:
    """Build the page from an evaluation's results, its confusion (K, 3) if it had labels, and its mistakes.

    mistakes: (a line, frames uint8 (N, H, W, 3)) of the videos that were predicted wrongly with the most confidence.
    others: the same checkpoint's other evaluations, see besnet.evaluation.comparison.siblings.
    """
    page = Page(f"{results['data']['name']} · {results['split']}", results["checkpoint"]["network"])
    coverage = results["coverage"]
    if results["trained_on"]:
        page.warning(trained_on_line(results["trained_on"], coverage["evaluated"]))
    if pairs is not None:
        over, strict = results["accuracy"]["over_evaluated"], results["accuracy"]["missing_counted_wrong"]
        page.heading("Accuracy")
        cards = [(percent(over["top1"]), "top-1"), (percent(over["top5"]), "top-5")]
        if reports_mean(results["classes"]):
            cards.append((percent(over["mean"]), "mean of top-1 and top-5"))
        with_videos = len(np.unique(pairs[:, 0]))
        cards.append((percent(results["accuracy"]["mean_class_top1"]), f"top-1, mean over {with_videos} classes"))
        cards.append((percent(strict["top1"]), "top-1, missing videos counted wrong"))
        page.cards(cards)
        if over["top1"] is not None:
            low, high = over["top1_interval"]
            videos, groups = over["videos"], over.get("groups", over["videos"])
            counted = f"{videos} videos" + (f" of {groups} groups, which count together" if groups < videos else "")
            page.text(f"95 % interval of top-1: {percent(low)} to {percent(high)} ({counted}).")
    if precision := results.get("average_precision"):
        add_average_precision(page, precision, results["activation"])
    page.heading("Coverage")
    page.table(["expected", "evaluated", "missing", "undecodable", "looped"], [[coverage[key] for key in coverage]])
    if results["unread"]:
        page.text(f"Videos not evaluated: {len(results['unread'])}. The first 50 are listed here, all in results.json.")
        page.table(["video", "reason"], [[video["id"], video["why"]] for video in results["unread"][:50]])
    if "baseline" in results:
        if results["baseline"].get("trained_on"):
            page.warning(baseline_known_line(results["baseline"]["trained_on"]))
        (add_comparison if "gained" in results["baseline"] else add_difference)(page, results["baseline"])
    if results["pairs"]:
        page.heading("Pairwise accuracy")
        page.text("Share of the videos of two classes whose own class is the more probable of the two; chance is 50 %.")
        rows = [[" / ".join(p["pair"]), p["videos"], percent(p["share"]), interval(p)] for p in results["pairs"]]
        page.table(["pair", "videos", "pairwise accuracy", "95 % interval"], rows)
    if pairs is not None and len(pairs):
        add_confusion(page, pairs, results["classes"])
        page.heading("Per-class accuracy")
        page.figure(class_bars(results["per_class"]), "Top-1 of each class, the lowest at the bottom.")
        rows = [[row["class"], row["videos"], row["top1"]] for row in results["per_class"] if row["videos"]]
        page.table(["class", "videos", "top-1"], rows, folded=f"All {len(rows)} classes with videos")
    add_views(page, results, others)
    if results["calibration"] is not None:
        page.heading("Calibration")
        page.figure(
            reliability_plot(results["calibration"]["bins"]),
            f"Expected calibration error {percent(results['calibration']['ece'])}: the mean distance between "
            "confidence and accuracy. Negative log-likelihood "
            f"{results['calibration']['negative_log_likelihood']:.3f}: the mean of -log(probability of the true "
            "class). Below the diagonal the network is overconfident; `besnet calibrate` corrects this.",
        )
    if mistakes:
        page.heading("Worst mistakes")
        page.picture(
            contact_sheet(mistakes),
            "The most confident wrong predictions: eight evenly spaced frames of each video.",
        )
    page.heading("Setup")
    known = "unknown" if results["trained_on"] is None else str(results["trained_on"])
    data, checkpoint = results["data"], results["checkpoint"]
    page.table(
        ["", ""],
        [
            ["views", views_line(results["views"])],
            ["crop size", f"{results['views']['crop_size']} pixels"],
            ["precision", results.get("precision", "32")],
            ["clip", clip_line(results["clip"])],
            ["dilations averaged", str(results["dilations"])],
            ["data passport, source", data["passport"]["source"]],
            ["data passport, encode", data["passport"]["encode"]],
            ["data passport of training, source", checkpoint["passport"]["source"]],
            ["training videos among the evaluated", known],
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
        return f"{clip['num_frames']} frames, one from each equal segment of the whole video"
    rate = "the source's frames" if clip["target_fps"] is None else f"{clip['target_fps']:g} fps"
    return f"{clip['num_frames']} frames, {clip['frame_interval']} apart at {rate}"


def add_confusion(page: Page, pairs: np.ndarray, classes: list[str]) -> None:
    """The confusion matrix; for many classes an overview, and the worst groups by name."""
    page.heading("Confusion")
    legend = "Rows: true classes; columns: predicted classes; colour: share of the row."
    shown = confusion.worst_classes(pairs, len(classes))
    counts, names = confusion.square(pairs, shown), [classes[number] for number in shown]
    totals = np.bincount(pairs[:, 0], pairs[:, 2], len(classes)).astype(np.int64)[shown]
    if len(names) <= confusion.MOST_NAMES:
        page.figure(confusion.confusion_matrix(counts, names), legend, dense=True)
    else:
        order = confusion.groups(counts)
        marked = confusion.most_confused_groups(counts, order)
        which = "All" if len(names) == len(classes) else f"Of {len(classes)} classes, those with the most mistakes:"
        caption = f"{legend} {which} {len(names)} classes, ordered so that confused classes are neighbours; the framed "
        page.figure(confusion.overview(counts, totals, order, marked), caption + "groups are named below.", dense=True)
        parts = []
        for number, group in enumerate(marked, 1):
            part = counts[np.ix_(group, group)]
            inside, wrong = part.sum() - part.trace(), totals[group].sum() - part.trace()
            caption = f"Group {number}: {inside} of its {wrong} mistakes are within the group."
            parts.append((confusion.confusion_matrix(part, [names[place] for place in group], totals[group]), caption))
        page.figures(parts)
    confused = confusion.most_confused(pairs, classes)
    if confused:
        page.table(["true class", "predicted as", "videos", "of"], confused)


def add_comparison(page: Page, baseline: dict[str, Any]) -> None:
    """What was gained and lost compared with the baseline, class by class."""
    page.heading("Comparison")
    low, high = baseline["interval"]
    page.text(
        f"Baseline: {baseline['folder']} ({baseline['checkpoint']['network']}). Difference in top-1: "
        f"{100 * baseline['difference']:+.1f} points, 95 % interval {100 * low:+.1f} to {100 * high:+.1f}, on the "
        f"{baseline['videos']} videos of both; videos gained: {baseline['gained']}, lost: {baseline['lost']}."
    )
    page.figure(
        gain_bars(baseline["per_class"]),
        "Top-1 gained or lost in each class, in points.",
    )
    rows = [[row["class"], row["videos"], row["top1"], row["gained"]] for row in reversed(baseline["per_class"])]
    page.table(["class", "videos", "top-1", "gained"], rows, folded=f"All {len(rows)} classes")


def views_line(views: dict[str, Any]) -> str:
    """How many views of each video there are, and of what."""
    crops = "the whole frame" if views.get("whole") else f"{views['num_crops']} crops"
    return f"{views['num_clips']} clips x {crops}"


def add_views(page: Page, results: dict[str, Any], others: list[dict[str, Any]]) -> None:
    """Accuracy over the number of clips, and the other evaluations of the checkpoint."""
    few, what = results.get("over_clips", []), "mAP" if results.get("average_precision") else "Top-1"
    if len(few) > 1:
        page.heading("Accuracy over clips")
        page.text(f"{what} with some of each video's clips, evenly spread.")
        page.table(["clips", what], [[row["clips"], percent(row.get("top1", row.get("map")))] for row in few])
    if others:
        page.heading("Other evaluations of this checkpoint")
        rows = [[o["name"], o["views"], o["dilations"], percent(o["top1"]), interval(o)] for o in others]
        page.table(["evaluation", "views", "dilations averaged", what, "95 % interval"], rows)


def interval(pair: dict[str, Any]) -> str:
    """A 95 % interval as text."""
    if pair["interval"] is None:
        return "–"
    return f"{percent(pair['interval'][0])} to {percent(pair['interval'][1])}"
