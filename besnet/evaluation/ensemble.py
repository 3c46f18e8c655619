"""Several evaluations' stored probabilities as one answer: nothing is decoded or computed again."""

from pathlib import Path
from typing import Any

import numpy as np

from besnet.evaluation.calibration import predictions, reliability
from besnet.evaluation.metrics import accuracies
from besnet.files import write_arrays, write_json
from besnet.report.evaluation_page import percent
from besnet.report.page import Cell, Page


def ensemble(evaluations: list[Path], out: Path) -> None:
    """Combine evaluations of one split by the mean and by the maximum of their probabilities.

    Each evaluation's probabilities are first averaged over its views. The maximum is brought back to a sum of 1.
    Writes results.json, predictions.npz (`mean` and `max`, (N, C)) and report.html into `out`. ValueError, by name, for
    evaluations of other videos, classes, splits or data.
    """
    if len(evaluations) < 2:
        raise ValueError("--ensemble: at least two folders of evaluations are expected")
    loaded = [predictions(folder) for folder in evaluations]
    about, first = loaded[0]
    check(evaluations, loaded)
    members = np.stack([aligned(arrays, first["ids"]) for _, arrays in loaded])
    highest = members.max(axis=0)
    combined = {"mean": members.mean(axis=0), "max": highest / highest.sum(axis=1, keepdims=True)}
    labels = first["labels"]
    strict = (about["accuracy"] or {}).get("missing_counted_wrong", {})
    expected = strict.get("videos", about["coverage"]["expected"])  # labelled ones; not told by older evaluations
    results = {
        "data": about["data"],
        "split": about["split"],
        "classes": about["classes"],
        "coverage": about["coverage"],
        "members": [
            {"folder": str(folder), "checkpoint": entry["checkpoint"]} | figures(member, labels, expected)
            for folder, (entry, _), member in zip(evaluations, loaded, members, strict=True)
        ],
        **{name: figures(values, labels, expected) for name, values in combined.items()},
    }
    out.mkdir(parents=True, exist_ok=True)
    write_arrays(out / "predictions.npz", ids=first["ids"], labels=labels, **combined)
    write_json(out / "results.json", results)
    page = Page(f"{about['data']['name']} · {about['split']}", f"ensemble of {len(evaluations)} evaluations")
    rows = [line(member["folder"], member) for member in results["members"]]
    rows += [line(f"{name} of probabilities", results[name]) for name in combined]
    headers = ["", "top-1", "95 % interval", "top-5", "top-1, missing counted wrong", "calibration error"]
    page.table(headers, rows)
    page.text(f"{len(labels)} videos; data passport {about['data']['passport']['source']}.")
    page.write(out / "report.html")
    for row in rows:
        print("  ".join(str(cell) for cell in row))
    print(f"page: {out / 'report.html'}")


def check(folders: list[Path], loaded: list[tuple[dict[str, Any], dict[str, np.ndarray]]]) -> None:
    """ValueError that names the evaluation that does not fit the first one, and in what."""
    about, arrays = loaded[0]
    for folder, (other, others) in zip(folders[1:], loaded[1:], strict=True):
        both = f"{folders[0]} and {folder}"
        if other["classes"] != about["classes"]:
            raise ValueError(f"{both}: their networks have different class lists: they cannot answer together")
        if other["split"] != about["split"]:
            raise ValueError(f"{both}: evaluated on the splits {about['split']} and {other['split']}")
        for name, value in about["data"]["passport"].items():
            if other["data"]["passport"][name] != value:
                raise ValueError(
                    f"{both}: their data passports differ ({name}): evaluate both on the same prepared data"
                )
        alone = sorted(set(arrays["ids"].tolist()) ^ set(others["ids"].tolist()))
        if alone:
            raise ValueError(f"{both}: {len(alone)} videos are in one of them only, the first {alone[0]}")


def aligned(arrays: dict[str, np.ndarray], ids: np.ndarray) -> np.ndarray:
    """Mean probabilities over the views, float64 (N, C), in the order of `ids`."""
    place = {name: number for number, name in enumerate(arrays["ids"].tolist())}
    order = np.array([place[name] for name in ids.tolist()], dtype=np.int64)
    mean: np.ndarray = arrays["probabilities"].mean(axis=1, dtype=np.float64)[order]
    return mean


def figures(probabilities: np.ndarray, labels: np.ndarray, expected: int) -> dict[str, Any]:
    """Accuracy and calibration error over the labelled videos."""
    known = labels >= 0
    if not known.any():
        return {"accuracy": None, "ece": None}
    found = accuracies(probabilities[known], labels[known], expected)
    return {"accuracy": found, "ece": reliability(probabilities[known], labels[known])["ece"]}


def line(name: str, found: dict[str, Any]) -> list[Cell]:
    """A row of the page's table."""
    if found["accuracy"] is None:
        return [name, "–", "–", "–", "–", "–"]
    over, strict = found["accuracy"]["over_evaluated"], found["accuracy"]["missing_counted_wrong"]
    low, high = over["top1_interval"]
    return [name, percent(over["top1"]), f"{percent(low)} to {percent(high)}", percent(over["top5"]),
            percent(strict["top1"]), percent(found["ece"])]  # fmt: skip
