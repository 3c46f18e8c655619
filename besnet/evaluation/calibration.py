"""Does a network know how sure it may be? Confidence against accuracy, and one temperature that mends it.

Source: C. Guo et al., "On Calibration of Modern Neural Networks", 2017. Probabilities are the mean over a video's
views; a temperature T turns them into softmax(log p / T), which for a single view is the division of the logits by T.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np

from besnet.checkpoints.temperature import FILE, LEAST, MOST, Calibration
from besnet.evaluation.stored import Evaluation, read_evaluation
from besnet.files import write_json
from besnet.formats import stamp

BINS = 15
SMALLEST = 1e-12  # probabilities in float32 can be 0


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
    return float(-np.log(np.maximum(own, SMALLEST)).mean())


def tempered(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """softmax(log p / T) of probabilities (N, C): the same answers, less sure of them for T > 1."""
    logits = np.log(np.maximum(probabilities.astype(np.float64), SMALLEST)) / temperature
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: np.ndarray = powers / powers.sum(axis=1, keepdims=True)
    return shares


def fit_temperature(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """The temperature, within the bounds that one may have, under which the labels are most likely."""
    logs = np.log(np.maximum(probabilities.astype(np.float64), SMALLEST))
    own = np.take_along_axis(logs, labels[:, None], axis=1).mean()
    low, high = math.log(LEAST), math.log(MOST)
    # the likelihood is concave in 1 / T: its slope has one zero
    for _ in range(60):
        middle = (low + high) / 2
        expected = (tempered(probabilities, math.exp(middle)) * logs).sum(axis=1).mean()
        low, high = (low, middle) if expected < own else (middle, high)
    return min(max(math.exp((low + high) / 2), LEAST), MOST)


def calibrate(
    fitted: Path,
    reported: Path | None = None,
    run_folder: Path | None = None,
    allow_training_videos: bool = False,
) -> None:
    """Fit a temperature on the stored predictions of one split, and say what it does on those of another.

    Writes calibration.json into the run's folder, for later predictions and evaluations of the same checkpoint.

    Args:
        fitted: folder of an evaluation (`besnet evaluate --split val` wrote it) to fit on; never the test split.
        reported: folder of an evaluation of another split by the same checkpoint, to report on.
        run_folder: folder of the run; by default the one that `fitted` lies in.
        allow_training_videos: fit although the network was trained on videos of `fitted`: it is surer of those than of
            any others, so the temperature will be too low.
    """
    evaluation = read_evaluation(fitted)
    about, (probabilities, labels) = evaluation.about, evaluation.labelled()
    folder = run_folder or (fitted.parent.parent if fitted.parent.name == "evaluations" else None)
    if folder is None:
        raise ValueError(f"{fitted}: not below a run's evaluations: name the run's folder with --run_folder")
    if about["split"] == "test":
        raise ValueError(f"{fitted}: a temperature must not be fitted on the test split: evaluate --split val first")
    trained_on = about.get("trained_on")
    if trained_on and not allow_training_videos:
        raise ValueError(
            f"{fitted}: {trained_on} of its videos are training videos of the network, whose answers to them are too "
            "sure: evaluate --split val first, or add --allow_training_videos"
        )
    temperature = fit_temperature(probabilities, labels)
    found: Calibration = {
        "temperature": temperature,
        "checkpoint": about["checkpoint"]["hash"],
        "fitted_on": {
            "split": about["split"],
            "passport": dict(about["data"]["passport"]),  # type: ignore[arg-type]
            "videos": len(labels),
            "training_videos": trained_on or 0,
        },
    }
    print(f"temperature {temperature:.3f}, fitted on {len(labels)} videos of the split {about['split']}")
    if trained_on:
        print(f"WARNING: {trained_on} of these are training videos: the temperature is too low for any others")
    if min(temperature / LEAST, MOST / temperature) < 1.001:
        print(f"WARNING: {temperature:.3g} is the bound: these videos are too few or too easy to fit on")
    if reported is not None:
        report(evaluation, read_evaluation(reported), temperature)
    write_json(folder / FILE, stamp("calibration") | found)
    print(f"stored: {folder / FILE}")


def report(evaluation: Evaluation, other: Evaluation, temperature: float) -> None:
    """Print what a temperature that was fitted on one evaluation does on another. ValueError if they do not fit."""
    about, new = evaluation.about, other.about
    if new["checkpoint"]["hash"] != about["checkpoint"]["hash"]:
        raise ValueError(
            f"{other.folder}: of another checkpoint than {evaluation.folder}: evaluate one checkpoint on both splits"
        )
    if (new["split"], new["data"]["passport"]["source"]) == (about["split"], about["data"]["passport"]["source"]):
        raise ValueError(f"{other.folder}: the split {about['split']} is the one fitted on: report on another one")
    probabilities, labels = other.labelled()
    before, after = (reliability(shares, labels) for shares in (probabilities, tempered(probabilities, temperature)))
    print(
        f"calibration error on {len(labels)} videos of the split {new['split']}: {100 * before['ece']:.1f} % before, "
        f"{100 * after['ece']:.1f} % after; negative log-likelihood {before['negative_log_likelihood']:.3f} before, "
        f"{after['negative_log_likelihood']:.3f} after"
    )
    if new.get("trained_on"):
        print(f"WARNING: {new['trained_on']} of these are training videos: others will be worse")
