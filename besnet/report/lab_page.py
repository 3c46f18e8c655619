"""The page of a lab: which controls differ, how certain that is, and the setup."""

from collections.abc import Mapping
from typing import Any

from besnet.progress import clock
from besnet.report.evaluation_page import clip_line
from besnet.report.lab_comparisons import comparison_table, verdict_line
from besnet.report.lab_plots import Curve, by_class, curves, means, over_intervals
from besnet.report.lab_speeds import speeds
from besnet.report.numbers import between, estimate, excludes, points, signed
from besnet.report.page import Cell, Page, Strong

STATISTICS = (
    "Means are over the seeds and the test videos. There are two standard errors: that of the mean over videos, where "
    "videos of one group (a film, a person) count together, and that of the mean over seeds. Each is multiplied by "
    "Student's t for its own degrees of freedom (groups - 1, seeds - 1); half the interval is the root of the sum of "
    "their squares. With one seed the interval covers the videos only. Where all predictions are right or all are "
    "wrong, the interval is Wilson's. Differences are paired by seed and video. Their standard error by videos is at "
    "least that with half a discordant group added each way (Agresti and Min, 2005), so that a few videos do not look "
    "certain. Verdict, interval and minimum detectable difference follow from the same rule. With fewer than three "
    "seeds there is no verdict."
)


def lab_page(report: dict[str, Any], runs: Mapping[str, Curve]) -> Page:
    """Build the page from a lab's results (besnet.lab.lab) and the training curves by run."""
    data, asked = report["data"], report["arguments"]
    page = Page(f"{data['name']} · lab", _seeds(asked["seeds_of"]))
    controls = report["controls"]
    known = [control for control in controls if "top1" in control]
    _summary(page, report, known)
    _failures(page, report)
    page.heading("Accuracy")
    page.figure(means(controls), f"Top-1 on the split {data['split']}, dilations averaged. Dots: seeds.")
    page.table(
        ["control", "description", "seeds", "top-1", "95 % interval", "each seed", "top-5", "M parameters"],
        [_line(control, asked["seeds_of"][control["name"]]) for control in controls],
    )
    if report["differences"]:
        comparison_table(page, report["differences"])
    if known:
        _variants(page, known)
        _intervals(page, report, known)
        if "speeds" in report:
            speeds(page, report["speeds"])
        _pairs(page, known)
        page.heading("Per-class accuracy")
        page.figure(by_class(known), "Top-1 of each class in percent, mean over seeds. Intervals: see results.json.")
    page.heading("Training")
    page.figure(
        curves(
            {
                name: [run for key, run in runs.items() if key.split("/")[-1].rsplit("-", 1)[0] == name]
                for name in asked["controls"]
            }
        ),
        "Thin: seeds; thick: their mean. Each point is the mean over the logged training steps of an epoch.",
    )
    _cost(page, report)
    page.heading("Statistics")
    page.text(STATISTICS)
    page.heading("Setup")
    if asked["stopping_rule"]:
        page.text(f"Stopping rule: {asked['stopping_rule']}")
    rows: list[list[Cell]] = [
        *[
            [f"data passport, {what}{fold and f', {fold}'}", passport[what]]
            for fold, passport in (data.get("folds") or {"": data["passport"]}).items()
            for what in ("source", "encode")
        ],
        ["revision", report["run"]["revision"]],
        ["finished", f"{report['run']['finished']} on {report['run']['host']}"],
    ]
    if "plan" in report:
        plan = report["plan"]
        rows[:0] = [
            ["views", f"{plan['num_clips']} clips x {plan['num_crops']} crops of {plan['crop_size']} pixels"],
            ["clip", clip_line(plan["clip"])],
            ["recalibration", f"one clip each of {plan['recalibration_videos']} training videos"],
        ]
    page.table(["", ""], rows)
    page.code("\n".join([report["run"]["command"], "", *_commands(report)]))
    page.text("Config:")
    page.code(report["config"])
    return page


def _seeds(seeds_of: dict[str, int]) -> str:
    """The controls, and how many seeds each has."""
    of_count: dict[int, list[str]] = {}
    for name, count in seeds_of.items():
        of_count.setdefault(count, []).append(name)
    return "; ".join(f"{', '.join(names)}: {count} seed{'s' * (count != 1)}" for count, names in of_count.items())


def _summary(page: Page, report: dict[str, Any], known: list[dict[str, Any]]) -> None:
    runs, coverage = report["runs"], report["coverage"]
    finished = sum(run["state"] == "finished" for run in runs)
    cards = [(f"{finished} of {len(runs)}", "runs finished")]
    if coverage is not None:
        cards.append((f"{coverage['evaluated']} of {coverage['expected']}", "test videos evaluated"))
    primary = next((pair for pair in report["differences"] if pair["role"] == "primary"), None)
    if primary:
        cards.append((signed(primary["mean"]), f"points: {primary['name']}"))
        cards.append((f"{points(primary['minimum_detectable'])} points", "minimum detectable difference"))
    page.cards(cards)
    if report["arguments"]["question"]:
        page.text(report["arguments"]["question"])
    for pair in report["differences"]:
        if pair["verdict"] is not None:
            page.text(verdict_line(pair))
    if not primary:
        page.text("No primary comparison was named (--primary): the page gives no verdict on it.")
    elif primary["verdict"] is None:
        page.text(f"{primary['name']}: no verdict with fewer than three seeds.")


def _failures(page: Page, report: dict[str, Any]) -> None:
    failed = [run for run in report["runs"] if run["state"] != "finished"]
    if failed:
        page.heading("Failed runs")
        page.text("These runs are left out of every figure below. The same command tries them again.")
        page.table(["run", "exit code", "reason"], [[run["run"], run["code"], run["why"]] for run in failed])
    if report["coverage"] and report["coverage"].get("trained_on"):
        count = report["coverage"]["trained_on"]
        page.warning(f"{count} of the evaluated videos are also training videos, of these networks or of the weights "
                     "that they start from.")  # fmt: skip
    if report["coverage"] and report["coverage"]["undecodable"]:
        unread = report["coverage"]["undecodable"]
        page.text(f"{len(unread)} videos could not be read and are left out of every figure. The first ones:")
        page.table(["video", "reason"], [[video["id"], video["why"]] for video in unread[:20]])


def _line(control: dict[str, Any], asked: int) -> list[Cell]:
    seeds = f"{len(control['seeds'])} of {asked}"
    if len(control["seeds"]) < asked:
        seeds += f" (missing: {', '.join(str(seed) for seed in range(asked) if seed not in control['seeds'])})"
    if "top1" not in control:
        return [control["name"], control["what"], seeds, "–", "–", "–", "–", "–"]
    top1 = control["top1"]
    each = ", ".join(points(share) for share in top1["by_seed"])
    return [control["name"], control["what"], seeds, points(top1["mean"]), between(top1["interval"]), each,
            points(control["top5"]["mean"]), f"{control['parameters'] / 1e6:.2f}"]  # fmt: skip


def _variants(page: Page, known: list[dict[str, Any]]) -> None:
    page.heading("Inference variants")
    page.text(
        "Top-1 of the same weights with other settings at inference, and the paired difference from averaged "
        "dilations. Bold: the 95 % interval of the difference excludes 0, which one in twenty does by chance. "
        "“recalibrated”: BatchNorm statistics measured again on training videos with these settings. A dash: the same "
        "as averaged, or not possible."
    )
    names = [name for control in known for name in control["variants"] if not name.startswith("interval_")]
    names = list(dict.fromkeys(names))
    rows: list[list[Cell]] = []
    for control in known:
        cells: list[Cell] = [control["name"]]
        for name in names:
            use = control["variants"].get(name)
            if use is None or (use["same_as_averaged"] and name != "averaged"):
                cells.append("–")
                continue
            change = use["difference_to_averaged"]
            text = points(use["mean"]) + ("" if name == "averaged" else f" ({signed(change['mean'])})")
            cells.append(Strong(text) if excludes(change["interval"]) and name != "averaged" else text)
        rows.append(cells)
    page.table(["control", *(name.replace("_", " ") for name in names)], rows)


def _intervals(page: Page, report: dict[str, Any], known: list[dict[str, Any]]) -> None:
    factors = report["plan"]["factors"]
    page.heading("Frame intervals")
    left_out = report["arguments"].get("factors_left_out", {})
    if left_out:
        page.text("Left out: " + "; ".join(f"x {factor}: {why}" for factor, why in left_out.items()) + ".")
    if not factors:
        return
    looped = report["coverage"]["looped"]
    parts = [f"x {factor:g} {100 * looped.get(f'{factor:g}', 0):.0f} %" for factor in factors]
    page.figure(
        over_intervals(known, factors),
        "Dilations averaged; the networks were trained at x 1. Share of videos shorter than a clip (looped): "
        + ", ".join(parts) + ".",
    )  # fmt: skip
    page.table(
        ["control", *(f"x {factor:g}" for factor in factors)],
        [
            [control["name"], *(estimate(control["variants"][f"interval_{factor:g}"]) for factor in factors)]
            for control in known
        ],
    )


def _pairs(page: Page, known: list[dict[str, Any]]) -> None:
    if not known[0]["pairs"]:
        return
    page.heading("Pairwise accuracy")
    page.text(
        "The share, in percent, of the videos of two classes whose own class is the more probable of the two. Bold: "
        "the interval excludes chance, which is 50."
    )

    def cell(pair: dict[str, Any]) -> Cell:
        return (Strong if excludes(pair["interval"], 0.5) else str)(estimate(pair))

    headers = [" / ".join(pair["pair"]) for pair in known[0]["pairs"]]
    page.table(
        ["control", *headers, "all pairs"],
        [[control["name"], *map(cell, control["pairs"]), cell(control["all_pairs"])] for control in known],
    )


def _cost(page: Page, report: dict[str, Any]) -> None:
    cost = report["run"]["cost"]
    page.heading("Cost")
    rows: list[list[Cell]] = []
    for name in report["arguments"]["controls"]:
        mine = [value for run, value in cost.items() if run.rsplit("-", 1)[0] == name]
        rows.append([name, len(mine), *(clock(sum(value[key] for value in mine)) for key in ("cpu_sec", "wall_sec"))])
    rows.append(["evaluation", None, clock(cost["evaluation"]["cpu_sec"]), clock(cost["evaluation"]["wall_sec"])])
    rows.append(["total", None, *(clock(sum(v[key] for v in cost.values())) for key in ("cpu_sec", "wall_sec"))])
    page.table(["", "runs", "CPU time", "device time"], rows)
    page.text(
        f"On {report['run']['device']}; hours, minutes, seconds. Failed attempts are included; attempts that were "
        "running when the lab was killed are not."
    )


def _commands(report: dict[str, Any]) -> list[str]:
    """The commands of all runs, in the order of the queue."""
    return [command for commands in report["run"]["commands"].values() for command in commands]
