"""Does a network know how sure it may be? Confidence against accuracy, and one temperature that mends it.

Source: C. Guo et al., "On Calibration of Modern Neural Networks", 2017. Probabilities are the mean over a video's
views; a temperature T turns them into softmax(log p / T), which for a single view is the division of the logits by T.
"""

import json
import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from besnet.files import write_json

BINS = 15
FILE = "calibration.json"
LEAST = 1e-12  # probabilities in float32 can be 0


def reliability(probabilities: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """The expected calibration error and what it is made of: probabilities (N, C), labels (N,), N >= 1.

    Videos are put into 15 bins of equal width by the probability of their answer; each bin has its number of videos,
    their mean confidence and their accuracy (None where it is empty). The error is the mean distance of the two.
    """
    sure = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    where = np.minimum((sure * BINS).astype(np.int64), BINS - 1)
    bins = []
    error = 0.0
    for number in range(BINS):
        mine = where == number
        count = int(mine.sum())
        confidence = float(sure[mine].mean()) if count else None
        accuracy = float(right[mine].mean()) if count else None
        bins.append({"videos": count, "confidence": confidence, "accuracy": accuracy})
        if confidence is not None and accuracy is not None:
            error += count / len(labels) * abs(confidence - accuracy)
    return {"ece": error, "bins": bins, "negative_log_likelihood": negative_log_likelihood(probabilities, labels)}


def negative_log_likelihood(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """The mean of -log of the probability of the truth."""
    own = np.take_along_axis(probabilities, labels[:, None], axis=1)
    return float(-np.log(np.maximum(own, LEAST)).mean())


def tempered(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """softmax(log p / T) of probabilities (N, C): the same answers, less sure of them for T > 1."""
    logits = np.log(np.maximum(probabilities.astype(np.float64), LEAST)) / temperature
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: np.ndarray = powers / powers.sum(axis=1, keepdims=True)
    return shares


def fit_temperature(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """The temperature, in 0.05..20, under which the labels are most likely."""
    logs = np.log(np.maximum(probabilities.astype(np.float64), LEAST))
    own = np.take_along_axis(logs, labels[:, None], axis=1).mean()
    low, high = math.log(0.05), math.log(20)
    # the likelihood is concave in 1 / T: its slope has one zero
    for _ in range(60):
        middle = (low + high) / 2
        expected = (tempered(probabilities, math.exp(middle)) * logs).sum(axis=1).mean()
        low, high = (low, middle) if expected < own else (middle, high)
    return math.exp((low + high) / 2)


def calibrate(fitted: Path, reported: Path | None = None, run_folder: Path | None = None) -> None:
    """Fit a temperature on the stored predictions of one split, and say what it does on those of another.

    Writes calibration.json into the run's folder, for later predictions and evaluations of the same checkpoint.

    Args:
        fitted: folder of an evaluation (`besnet evaluate --split val` wrote it) to fit on; never the test split.
        reported: folder of an evaluation of another split by the same checkpoint, to report on.
        run_folder: folder of the run; by default the one that `fitted` lies in.
    """
    about, probabilities, labels = stored(fitted)
    folder = run_folder or (fitted.parent.parent if fitted.parent.name == "evaluations" else None)
    if folder is None:
        raise ValueError(f"{fitted}: not below a run's evaluations: name the run's folder with --run_folder")
    if about["split"] == "test":
        raise ValueError(f"{fitted}: a temperature must not be fitted on the test split: evaluate --split val first")
    temperature = fit_temperature(probabilities, labels)
    found: dict[str, Any] = {
        "temperature": temperature,
        "checkpoint": about["checkpoint"]["hash"],
        "fitted_on": {"split": about["split"], "passport": about["data"]["passport"], "videos": len(labels)},
    }
    print(f"temperature {temperature:.3f}, fitted on {len(labels)} videos of the split {about['split']}")
    if reported is not None:
        other, probabilities, labels = stored(reported)
        if other["checkpoint"]["hash"] != found["checkpoint"]:
            raise ValueError(f"{reported}: of another checkpoint than {fitted}: evaluate one checkpoint on both splits")
        if (other["split"], other["data"]["passport"]["source"]) == (
            about["split"],
            about["data"]["passport"]["source"],
        ):
            raise ValueError(f"{reported}: the split {about['split']} is the one fitted on: report on another one")
        before, after = (
            f"{100 * reliability(shares, labels)['ece']:.1f} %"
            for shares in (probabilities, tempered(probabilities, temperature))
        )
        print(
            f"calibration error on {len(labels)} videos of the split {other['split']}: {before} before, {after} after"
        )
    write_json(folder / FILE, found)
    print(f"stored: {folder / FILE}")


def stored(folder: Path) -> tuple[dict[str, Any], np.ndarray, np.ndarray]:
    """An evaluation's results, its mean probabilities (N, C) and labels (N,) of the labelled videos."""
    about, arrays = predictions(folder)
    known = arrays["labels"] >= 0
    if not known.any():
        raise ValueError(f"{folder}: no labelled video in it: nothing can be calibrated")
    return about, arrays["probabilities"][known].mean(axis=1), arrays["labels"][known]


def predictions(folder: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """results.json and predictions.npz of an evaluation. ValueError if they are not there."""
    try:
        about: dict[str, Any] = json.loads((folder / "results.json").read_text())
        with np.load(folder / "predictions.npz", allow_pickle=False) as file:
            arrays = dict(file)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{folder}: not the folder of a finished evaluation ({error})") from error
    lacking = {"checkpoint", "split", "classes", "data"} - set(about) | {"ids", "labels", "probabilities"} - set(arrays)
    if lacking:
        raise ValueError(
            f"{folder}: not an evaluation of one network (no {min(lacking)}; an ensemble has none): name its members"
        )
    return about, arrays


def stored_temperature(run: Path, checkpoint_hash: str) -> dict[str, Any] | None:
    """What `calibrate` has stored in a run's folder for this checkpoint, or None."""
    path = run / FILE
    if not path.is_file():
        return None
    found: dict[str, Any] = json.loads(path.read_text())
    return found if found["checkpoint"] == checkpoint_hash else None
