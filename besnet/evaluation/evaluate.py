"""A checkpoint and a prepared data set → an honest account: what was expected, what was seen, what was right."""

import csv
import json
import os
import shlex
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from besnet.checkpoints import store
from besnet.checkpoints.header import Trained, rebuild, revision
from besnet.data.manifest import Manifest
from besnet.evaluation import metrics
from besnet.evaluation.loop import Answer, answers
from besnet.evaluation.ranks import Ranks, joined
from besnet.evaluation.views import ViewPlan
from besnet.models.folding import fold
from besnet.progress import clock
from besnet.report.evaluation_page import evaluation_page, percent
from besnet.video.reader import Backend
from besnet.video.sampling import ClipShape


def evaluate(
    ckpt_path: Path,
    data: Path | None = None,
    split: str = "test",
    num_clips: int | None = None,
    num_crops: int | None = None,
    dilations: list[int] | None = None,
    out: Path | None = None,
    device: str = "auto",
    workers: int = 2,
    backend: Backend = "pyav",
) -> None:
    """Evaluate a checkpoint on every video of a split, each exactly once; nothing is ever substituted.

    Prints expected, evaluated, missing and undecodable videos and the accuracy, both over the evaluated ones and with
    the missing ones counted wrong. Writes results.json, predictions.npz (probabilities of every view), report.html,
    and submission.csv where the split has no labels. Under torchrun the ranks share the work; a killed evaluation
    goes on when the same command is given again.

    Args:
        ckpt_path: checkpoint file, or a run folder (its newest good checkpoint is taken).
        data: prepared data set; by default the one that the checkpoint was trained on.
        split: split of the data set.
        num_clips: clips a video; by default as the checkpoint's config says.
        num_crops: crops a clip; by default as the checkpoint's config says.
        dilations: dilations to average over, such as [1,2]; a single one is a fixed dilation; by default the set that
            the network was trained with.
        out: folder for the results; by default below the run's folder.
        device: auto, cpu, cuda or cuda:N.
        workers: processes that decode on each rank; 0 decodes in the evaluating process.
        backend: decoder of the videos.
    """
    checkpoint = store.load(ckpt_path)
    path = store.resolve(ckpt_path)
    if dilations is not None:
        checkpoint["besnet"]["model"]["dilations"] = dilations
    trained = rebuild(checkpoint)
    config = trained.config
    manifest = Manifest.load(data or Path(config["data"]["folder"]))
    plan = view_plan(config, num_clips, num_crops)
    shape = ClipShape(**config["data"]["clip"])
    crop_size = plan.crop_size or config["data"]["crop_size"]
    rows = manifest.select(split, state=None)
    if not len(rows):
        raise ValueError(f"{manifest.folder}: no video in the split {split}")
    labels = own_labels(manifest, rows, trained.classes)
    name = f"{manifest.name}-{split}-{plan.num_clips}x{plan.num_crops}-d{'_'.join(map(str, trained.network.dilations))}"
    folder = out or run_folder(path) / "evaluations" / name
    about: dict[str, Any] = {
        "data": {"name": manifest.name, "passport": asdict(manifest.passport)},
        "split": split,
        "checkpoint": {
            "file": path.name,
            "hash": store.file_hash(path),
            "revision": checkpoint["besnet"]["revision"],
            "passport": trained.passport,
            "network": describe(trained),
            "position": trained.position,
        },
        "views": asdict(replace(plan, crop_size=crop_size)),
        "clip": asdict(shape),
        "dilations": list(trained.network.dilations),
        "backend": backend,
        "classes": trained.classes,
    }
    with joined(device) as ranks:
        prepare_folder(folder, about, ranks)
        ready = np.array([row for row in rows if manifest[int(row)].state == "ready"], dtype=np.int64)
        started_sec = time.monotonic()
        network = fold(trained.network.to(ranks.device))
        got = answers(network, manifest, ready, shape, plan, crop_size, ranks, folder / "parts", workers, backend)
        if ranks.rank == 0:
            took_sec = time.monotonic() - started_sec
            cost = f"{clock(took_sec)} on {ranks.world_size} x {ranks.device}, {len(got) / max(took_sec, 1e-6):.1f} videos/s"
            finish(folder, about, manifest, rows, labels, got, cost)


def view_plan(config: dict[str, Any], num_clips: int | None, num_crops: int | None) -> ViewPlan:
    """The views that the checkpoint's config asks for, with what the command line says in their place."""
    plan = ViewPlan(**config["evaluation"])
    return replace(plan, num_clips=num_clips or plan.num_clips, num_crops=num_crops or plan.num_crops)


def run_folder(path: Path) -> Path:
    """The run that a checkpoint belongs to, or the folder it lies in."""
    return path.parent.parent if path.parent.name == "checkpoints" else path.parent


def own_labels(manifest: Manifest, rows: np.ndarray, classes: list[str]) -> np.ndarray:
    """The data's labels as the network's class numbers, -1 without a label; classes are matched by name."""
    unknown = [name for name in manifest.classes if name not in set(classes)]
    if unknown:
        raise ValueError(
            f"{manifest.folder}: the checkpoint does not know {len(unknown)} of its {len(manifest.classes)} classes "
            f"(the first: {unknown[0]!r}): evaluate on data with the classes it was trained on"
        )
    numbers = {name: number for number, name in enumerate(classes)}
    table = np.array([numbers[name] for name in manifest.classes] + [-1], dtype=np.int64)
    return table[manifest.labels[rows]]


def describe(trained: Trained) -> str:
    """One line that says which network this is."""
    parameters = sum(weight.numel() for weight in trained.network.parameters()) / 1e6
    taps = f"dilations {list(trained.network.dilations)}" if trained.network.dilations else "no temporal taps"
    return (
        f"BesNet, {parameters:.2f} M parameters, {taps}, {trained.position.get('micro_batch', 0)} micro-batches trained"
    )


def prepare_folder(folder: Path, about: dict[str, Any], ranks: Ranks) -> None:
    """Make the folder, and drop answers that another checkpoint, data set or plan has left in it."""
    problem = None
    if ranks.rank == 0:
        try:
            parts = folder / "parts"
            parts.mkdir(parents=True, exist_ok=True)
            identity = parts / "about.json"
            wanted = json.dumps(about)
            if not identity.exists() or identity.read_text() != wanted:
                for old in parts.glob("*"):
                    old.unlink()
                identity.write_text(wanted)
        except OSError as error:
            problem = f"{folder}: the results cannot be written ({error.strerror}): choose another folder with --out"
    problem = ranks.broadcast(problem)
    if problem:
        raise OSError(problem)


def finish(
    folder: Path,
    about: dict[str, Any],
    manifest: Manifest,
    rows: np.ndarray,
    labels: np.ndarray,
    got: list[Answer],
    cost: str,
) -> None:
    """Count, print and write everything."""
    results, arrays = account(about, manifest, rows, labels, got)
    counts = arrays.get("confusion")
    results["run"] = {
        "revision": revision(),
        "command": shlex.join(["besnet", "evaluate", *sys.argv[1:]]),
        "cost": cost,
        "host": os.uname().nodename,
        "finished": time.strftime("%Y-%m-%d %H:%M:%S %z"),
    }
    (folder / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    with open(folder / "predictions.npz", "wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    if (labels < 0).any():
        write_submission(folder / "submission.csv", arrays, about["classes"])
    evaluation_page(results, counts).write(folder / "report.html")
    for part in (folder / "parts").glob("*"):
        part.unlink()
    (folder / "parts").rmdir()
    show(results, folder)


def account(
    about: dict[str, Any], manifest: Manifest, rows: np.ndarray, labels: np.ndarray, got: list[Answer]
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The results that depend only on data and network, and the arrays behind them."""
    read = [answer for answer in got if answer.probabilities is not None]
    seen = np.array([answer.row for answer in read], dtype=np.int64)
    where = np.searchsorted(rows, seen)
    views = np.array([answer.probabilities for answer in read], dtype=np.float32)
    classes = about["classes"]
    views = views.reshape(len(read), -1, len(classes))
    mean = views.mean(axis=1) if len(read) else np.zeros((0, len(classes)), dtype=np.float32)
    failed = {answer.row: answer.why for answer in got if answer.probabilities is None}
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
        "looped": sum(answer.looped for answer in read),
    }
    arrays = {
        "ids": np.array([manifest[int(row)].id for row in seen], dtype=np.str_),
        "labels": labels[where],
        "probabilities": views,
    }
    results = about | {"coverage": coverage, "unread": unread, "accuracy": None, "per_class": [], "pairs": []}
    labelled = labels[where] >= 0
    if (labels >= 0).any():
        truth, guess = labels[where][labelled], mean[labelled]
        counts = metrics.confusion(guess.argmax(axis=1), truth, len(classes))
        table = metrics.per_class(counts, classes)
        known = [row["top1"] for row in table if row["top1"] is not None]
        results["accuracy"] = metrics.accuracies(guess, truth, int((labels >= 0).sum()))
        results["accuracy"]["mean_class_top1"] = float(np.mean(known)) if known else None
        results["per_class"] = table
        results["pairs"] = metrics.told_apart(guess, truth, classes, about["views"]["pairs"])
        arrays["confusion"] = counts
    return results, arrays


def write_submission(path: Path, arrays: dict[str, np.ndarray], classes: list[str]) -> None:
    """The five most probable classes of every video without a label."""
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", *(f"class_{place}" for place in range(1, 6))])
        for name, label, views in zip(arrays["ids"], arrays["labels"], arrays["probabilities"], strict=True):
            if label < 0:
                best = np.argsort(-views.mean(axis=0), kind="stable")[:5]
                writer.writerow([name, *(classes[number] for number in best)])


def show(results: dict[str, Any], folder: Path) -> None:
    """Print the account."""
    coverage = results["coverage"]
    print("  ".join(f"{what} {count}" for what, count in coverage.items()))
    if results["accuracy"] is not None:
        for key, words in (
            ("over_evaluated", "over the evaluated"),
            ("missing_counted_wrong", "missing counted wrong"),
        ):
            shares = results["accuracy"][key]
            print(
                f"{words + ':':24} top-1 {percent(shares['top1'])}  top-5 {percent(shares['top5'])}  mean {percent(shares['mean'])}"
            )
    for pair in results["pairs"]:
        print(f"told apart: {' / '.join(pair['pair'])} {percent(pair['share'])} of {pair['videos']}")
    print(f"page: {folder / 'report.html'}")
