"""An ensemble of evaluations, from their stored probabilities: nothing is decoded or computed again."""

from pathlib import Path
from typing import Any

import numpy as np

from besnet.evaluation.metrics import accuracies
from besnet.evaluation.reliability import reliability
from besnet.evaluation.stored import Evaluation, read_evaluation
from besnet.files import write_arrays, write_json
from besnet.formats import stamp
from besnet.report.evaluation_page import trained_on_line
from besnet.report.numbers import percent
from besnet.report.page import Cell, Page


def ensemble(evaluations: list[Path], out: Path) -> None:
    """Combine evaluations of one split by the mean and by the maximum of their probabilities.

    Each evaluation's probabilities are first averaged over its views. The maximum is scaled to a sum of 1.
    Writes results.json, predictions.npz (`mean` and `max`, (N, C)) and report.html into `out`. ValueError for
    evaluations of other videos, classes, splits or data.
    """
    if len(evaluations) < 2:
        raise ValueError("--ensemble: give at least two folders of evaluations")
    loaded = [read_evaluation(folder) for folder in evaluations]
    first = loaded[0]
    about = first.about
    check(loaded)
    members = np.stack([aligned(evaluation, first.ids) for evaluation in loaded])
    highest = members.max(axis=0)
    combined = {"mean": members.mean(axis=0), "max": highest / highest.sum(axis=1, keepdims=True)}
    labels = first.labels
    expected = about["coverage"]["expected"]
    if about["accuracy"] is not None:  # of the labelled videos, which older evaluations do not store
        expected = about["accuracy"]["missing_counted_wrong"].get("videos", expected)
    trained_on = [entry.about.get("trained_on") for entry in loaded]
    results: dict[str, Any] = {
        "data": about["data"],
        "split": about["split"],
        "classes": about["classes"],
        "coverage": about["coverage"],
        "trained_on": max((count for count in trained_on if count), default=None if None in trained_on else 0),
        "members": [
            {"folder": str(entry.folder), "checkpoint": entry.about["checkpoint"]} | figures(member, labels, expected)
            for entry, member in zip(loaded, members, strict=True)
        ],
        **{name: figures(values, labels, expected) for name, values in combined.items()},
    }
    out.mkdir(parents=True, exist_ok=True)
    write_arrays(out / "predictions.npz", ids=first.ids, labels=labels, **combined)
    write_json(out / "results.json", stamp("evaluation") | results)
    page = Page(f"{about['data']['name']} · {about['split']}", f"ensemble of {len(evaluations)} evaluations")
    rows = [line(member["folder"], member) for member in results["members"]]
    rows += [line(f"{name} of probabilities", results[name]) for name in combined]
    headers = ["", "top-1", "95 % interval", "top-5", "top-1, missing counted wrong", "calibration error",
               "negative log-likelihood"]  # fmt: skip
    if results["trained_on"]:
        page.warning(trained_on_line(results["trained_on"], len(labels)))
        print(f"WARNING: {trained_on_line(results['trained_on'], len(labels))}")
    page.table(headers, rows)
    page.text(f"{len(labels)} videos; data passport {about['data']['passport']['source']}.")
    page.write(out / "report.html")
    for row in rows:
        print("  ".join(str(cell) for cell in row))
    print(f"page: {out / 'report.html'}")


def check(loaded: list[Evaluation]) -> None:
    """ValueError that names the evaluation that does not fit the first one, and in what."""
    first, about = loaded[0], loaded[0].about
    if several := [one.folder for one in loaded if one.multi_label]:
        raise ValueError(
            f"{several[0]}: several labels per video: only evaluations of one label per video are combined"
        )
    for other in loaded[1:]:
        both = f"{first.folder} and {other.folder}"
        if other.about["classes"] != about["classes"]:
            raise ValueError(f"{both}: their networks have different class lists: they cannot be combined")
        if other.about["split"] != about["split"]:
            raise ValueError(f"{both}: evaluated on the splits {about['split']} and {other.about['split']}")
        for name, value in about["data"]["passport"].items():
            if other.about["data"]["passport"][name] != value:  # type: ignore[literal-required]
                raise ValueError(
                    f"{both}: their data passports differ ({name}): evaluate both on the same prepared data"
                )
        alone = sorted(set(first.ids.tolist()) ^ set(other.ids.tolist()))
        if alone:
            raise ValueError(f"{both}: {len(alone)} videos are in one of them only, the first {alone[0]}")


def aligned(evaluation: Evaluation, ids: np.ndarray) -> np.ndarray:
    """Mean probabilities over the views, float64 (N, C), in the order of `ids`."""
    place = {name: number for number, name in enumerate(evaluation.ids.tolist())}
    order = np.array([place[name] for name in ids.tolist()], dtype=np.int64)
    mean: np.ndarray = evaluation.probabilities.mean(axis=1, dtype=np.float64)[order]
    return mean


def figures(probabilities: np.ndarray, labels: np.ndarray, expected: int) -> dict[str, Any]:
    """Accuracy, calibration error and negative log-likelihood over the labelled videos."""
    known = labels >= 0
    if not known.any():
        return {"accuracy": None, "ece": None, "negative_log_likelihood": None}
    found = accuracies(probabilities[known], labels[known], expected)
    calibration = reliability(probabilities[known], labels[known])
    return {"accuracy": found} | {name: calibration[name] for name in ("ece", "negative_log_likelihood")}


def line(name: str, found: dict[str, Any]) -> list[Cell]:
    """A row of the page's table."""
    if found["accuracy"] is None:
        return [name, "–", "–", "–", "–", "–", "–"]
    over, strict = found["accuracy"]["over_evaluated"], found["accuracy"]["missing_counted_wrong"]
    low, high = over["top1_interval"]
    return [name, percent(over["top1"]), f"{percent(low)} to {percent(high)}", percent(over["top5"]),
            percent(strict["top1"]), percent(found["ece"]), f"{found['negative_log_likelihood']:.3f}"]  # fmt: skip
