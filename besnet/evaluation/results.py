"""Predictions → the results of an evaluation: counted, written, shown."""

import contextlib
import os
import shlex
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from besnet.checkpoints.store import file_hash
from besnet.data.manifest import Manifest
from besnet.evaluation import average_precision, comparison, metrics
from besnet.evaluation.inference import RowPrediction
from besnet.evaluation.reliability import reliability
from besnet.evaluation.stored import PREDICTIONS, RESULTS, Evaluation
from besnet.files import write_arrays, write_json, write_table
from besnet.formats import stamp
from besnet.report.average_precision import precision_line
from besnet.report.evaluation_page import baseline_known_line, evaluation_page, reports_mean, trained_on_line
from besnet.report.numbers import percent
from besnet.report.sheet import scaled
from besnet.text import visible
from besnet.version import revision

MOST_MISTAKES = 20
TOP = 5  # with no more classes, the true one is always among the top 5


def finish(
    folder: Path,
    about: dict[str, Any],
    manifest: Manifest,
    rows: np.ndarray,
    labels: np.ndarray,
    got: list[RowPrediction],
    cost: str,
    baseline: Evaluation | None = None,
) -> None:
    """Count, print and write everything; `baseline` is a finished evaluation to compare with."""
    results, arrays = summarize(about, manifest, rows, labels, got)
    several = labels.ndim == 2
    if results["accuracy"] is not None or several:
        results["over_clips"] = comparison.over_clips(arrays, about["views"]["num_clips"])
    if baseline is not None:
        groups = dict(zip((manifest[int(row)].id for row in rows), manifest.groups(rows), strict=True))
        compare = comparison.compared_sets if several else comparison.compared
        results["baseline"] = compare(baseline, results, arrays, groups)
        results["baseline"]["trained_on"] = baseline.about.get("trained_on")
    results["run"] = {
        "revision": revision(),
        "command": shlex.join(
            ["besnet", *(["evaluate"] if Path(sys.argv[0]).name == "evaluate.py" else []), *sys.argv[1:]]
        ),
        "cost": cost,
        "host": os.uname().nodename,
        "finished": time.strftime("%Y-%m-%d %H:%M:%S %z"),
    }
    write_arrays(folder / PREDICTIONS, **arrays)
    results["predictions"] = file_hash(folder / PREDICTIONS)
    write_json(folder / RESULTS, stamp("evaluation") | results)
    if not several and (labels < 0).any():
        write_submission(folder / "submission.csv", arrays, about["classes"])
    mistakes = [] if several else worst_mistakes(manifest, arrays, rows, about["classes"])
    others = comparison.siblings(folder, results) if results["accuracy"] is not None or several else []
    evaluation_page(results, arrays.get("confusion"), mistakes, others).write(folder / "report.html")
    for pattern in ("part-*.npz", ".part-*.partial", "about.json"):  # files of others stay
        for part in (folder / "parts").glob(pattern):
            part.unlink()
    with contextlib.suppress(OSError):
        (folder / "parts").rmdir()
    show(results, folder)


def summarize(
    about: dict[str, Any], manifest: Manifest, rows: np.ndarray, labels: np.ndarray, got: list[RowPrediction]
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The results that depend only on data and network, and the arrays they are computed from."""
    read = [prediction for prediction in got if prediction.probabilities is not None]
    evaluated = np.array([prediction.row for prediction in read], dtype=np.int64)
    where = np.searchsorted(rows, evaluated)
    views = np.array([prediction.probabilities for prediction in read], dtype=np.float32)
    classes = about["classes"]
    views = views.reshape(len(read), about["views"]["num_clips"] * about["views"]["num_crops"], len(classes))
    mean = views.mean(axis=1)
    failed = {prediction.row: prediction.why for prediction in got if prediction.probabilities is None}
    unread = []
    missing = 0
    for row in map(int, rows):
        facts = manifest[row]
        if facts.state != "ready":
            missing += facts.state == "missing"
            unread.append({"id": facts.id, "state": facts.state, "why": facts.why})
        elif row in failed:
            unread.append({"id": facts.id, "state": "undecodable", "why": failed[row]})
    coverage = {
        "expected": len(rows),
        "evaluated": len(read),
        "missing": missing,
        "undecodable": len(unread) - missing,
        "looped": sum(prediction.looped for prediction in read),
    }
    arrays = {
        "ids": np.array([manifest[int(row)].id for row in evaluated], dtype=np.str_),
        "labels": labels[where],
        "probabilities": views,
    }
    results = about | {
        "coverage": coverage,
        "unread": unread,
        "accuracy": None,
        "per_class": [],
        "pairs": [],
        "calibration": None,
    }
    if labels.ndim == 2:
        missing = labels.sum(axis=0, dtype=np.int64) - labels[where].sum(axis=0, dtype=np.int64)
        groups = np.array(manifest.groups(evaluated), dtype=np.str_)
        results["average_precision"] = average_precision.summary(mean, labels[where], groups, missing, classes)
        return results, arrays
    labelled = labels[where] >= 0
    if (labels >= 0).any():
        truth, guess = labels[where][labelled], mean[labelled]
        arrays["confusion"] = metrics.confusion(guess.argmax(axis=1), truth, len(classes))
        table = metrics.per_class(arrays["confusion"], classes)
        known = [row["top1"] for row in table if row["top1"] is not None]
        groups, wanted = np.array(manifest.groups(rows), dtype=np.str_), labels >= 0
        lost = wanted & ~np.isin(rows, evaluated)
        own = groups[where][labelled]
        results["accuracy"] = metrics.accuracies(guess, truth, int(wanted.sum()), own, groups[lost])
        results["accuracy"]["mean_class_top1"] = float(np.mean(known)) if known else None
        results["per_class"] = table
        results["pairs"] = metrics.pairwise_accuracy(guess, truth, classes, about["views"]["pairs"])
        results["calibration"] = reliability(guess, truth) if len(truth) else None
    return results, arrays


def worst_mistakes(
    manifest: Manifest, arrays: dict[str, np.ndarray], rows: np.ndarray, classes: list[str]
) -> list[tuple[str, np.ndarray]]:
    """The wrong predictions with the highest probability: a line and eight small frames of each video; none
    where maps are kept and not pictures."""
    if not len(arrays["ids"]) or manifest.maps is not None:
        return []
    numbers = {manifest[int(row)].id: int(row) for row in rows}
    mean = arrays["probabilities"].mean(axis=1)
    guesses, confidences = mean.argmax(axis=1), mean.max(axis=1)
    wrong = np.flatnonzero((guesses != arrays["labels"]) & (arrays["labels"] >= 0))
    found = []
    for place in wrong[np.argsort(-confidences[wrong], kind="stable")][:MOST_MISTAKES]:
        name = str(arrays["ids"][place])
        truth, guess = classes[arrays["labels"][place]], classes[guesses[place]]
        text = f"{truth}, predicted as {guess} ({confidences[place]:.0%}): {name}"
        with contextlib.suppress(ValueError, OSError), manifest.open(numbers[name]) as reader:
            frames = np.linspace(0, len(reader.times_sec) - 1, 8).round().astype(np.int64)
            found.append((text, np.stack([scaled(frame) for frame in reader.read(frames)])))
    return found


def write_submission(path: Path, arrays: dict[str, np.ndarray], classes: list[str]) -> None:
    """The five most probable classes of every video without a label."""
    table = [["id", *(f"class_{place}" for place in range(1, 6))]]
    for name, label, views in zip(arrays["ids"], arrays["labels"], arrays["probabilities"], strict=True):
        if label < 0:
            best = np.argsort(-views.mean(axis=0), kind="stable")[:5]
            table.append([name, *(classes[number] for number in best)])
    write_table(path, table)


def show(results: dict[str, Any], folder: Path) -> None:
    """Print the results."""
    coverage = results["coverage"]
    print("  ".join(f"{what} {count}" for what, count in coverage.items()))
    if results["accuracy"] is not None:
        kinds = {"over_evaluated": "evaluated"}
        if coverage["evaluated"] < coverage["expected"]:
            kinds["missing_counted_wrong"] = "missing counted wrong"
        for key, words in kinds.items():
            shares = results["accuracy"][key]
            line = f"{words + ':':24} top-1 {percent(shares['top1'])}"
            if len(results["classes"]) > TOP:
                line += f"  top-5 {percent(shares['top5'])}"
            if reports_mean(results["classes"]):
                line += f"  mean of top-1 and top-5 {percent(shares['mean'])}"
            print(line)
    if precision := results.get("average_precision"):
        print(f"{'mAP:':24} {precision_line(precision)}")
    if results["calibration"] is not None:
        nll = results["calibration"]["negative_log_likelihood"]
        print(f"calibration error: {percent(results['calibration']['ece'])}  negative log-likelihood: {nll:.3f}")
    if results["trained_on"]:
        print(f"WARNING: {trained_on_line(results['trained_on'], coverage['evaluated'])}")
    for pair in results["pairs"]:
        print(f"pairwise accuracy: {visible(' / '.join(pair['pair']))} {percent(pair['share'])} of {pair['videos']}")
    if "baseline" in results:
        other = results["baseline"]
        low, high = (f"{100 * bound:+.1f}" for bound in other["interval"])
        if "gained" in other:
            what, changed = "top-1", f"videos gained: {other['gained']}, lost: {other['lost']}, of {other['videos']}"
        else:
            what, changed = "mAP", f"on {other['videos']} videos"
        difference = "no" if other["difference"] is None else f"{100 * other['difference']:+.1f}"
        print(f"compared with {other['folder']}: {difference} points of {what} ({low} to {high}), {changed}")
        if other["trained_on"]:
            print(f"WARNING: {baseline_known_line(other['trained_on'])}")
    print(f"page: {folder / 'report.html'}")
