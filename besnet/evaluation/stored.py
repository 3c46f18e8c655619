"""A finished evaluation's folder: results.json and predictions.npz, read once and checked before they are used."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired, TypedDict

import numpy as np

from besnet.checkpoints.arrays import read_arrays
from besnet.checkpoints.header import PassportValues
from besnet.checkpoints.store import bytes_hash
from besnet.evaluation.probabilities import check_probabilities
from besnet.formats import upgraded
from besnet.reading import parse_json, read_bytes
from besnet.schema import Classes, Count, Hash, Length, Name, Share, Within, checked

RESULTS, PREDICTIONS = "results.json", "predictions.npz"
LARGEST = 64 * 2**30  # bytes of predictions.npz

Few = Annotated[int, Within(1, 10_000)]


class Data(TypedDict):
    """What was evaluated on."""

    name: Annotated[str, Length(0, 500)]
    passport: PassportValues


class Evaluated(TypedDict):
    """Which checkpoint was evaluated; hash: of the bytes that were read."""

    file: str
    hash: Hash
    revision: str
    passport: PassportValues
    network: Name
    position: dict[str, Count]


class ViewValues(TypedDict):
    """See besnet.evaluation.views.ViewPlan."""

    num_clips: Few
    num_crops: Few
    crop_size: Few


class Coverage(TypedDict):
    """Videos that were expected, evaluated, missing, undecodable and looped."""

    expected: Count
    evaluated: Count
    missing: Count
    undecodable: Count
    looped: Count


class Shares(TypedDict):
    """Accuracies with their intervals; None where there is no video."""

    top1: Share | None
    top5: Share | None
    mean: Share | None
    videos: NotRequired[Count]
    groups: NotRequired[Count]
    top1_interval: NotRequired[tuple[Share, Share]]
    top5_interval: NotRequired[tuple[Share, Share]]


class Accuracy(TypedDict):
    """Over the evaluated videos, and with the others counted wrong."""

    over_evaluated: Shares
    missing_counted_wrong: Shares
    mean_class_top1: Share | None


class Results(TypedDict):
    """The part of results.json that is read again.

    trained_on: number of evaluated videos that the network was trained on; None if unknown.
    predictions: hash of predictions.npz. multi_label: videos have sets of labels, and average_precision takes the place
    of accuracy; activation: what gave the probabilities.
    """

    data: Data
    split: Literal["train", "val", "test"]
    checkpoint: Evaluated
    views: ViewValues
    dilations: Annotated[list[Few], Length(0, 64)]
    classes: Classes
    coverage: Coverage
    accuracy: Accuracy | None
    trained_on: NotRequired[Count | None]
    predictions: NotRequired[Hash]
    multi_label: NotRequired[bool]
    activation: NotRequired[Literal["softmax", "sigmoid"]]
    average_precision: NotRequired[dict[str, Any]]


@dataclass(frozen=True)
class Evaluation:
    """An evaluation as it was read: ids (N,), labels int64 (N,), -1 without one, probabilities float32 (N, V, C).

    Where videos have several labels, `labels` are (N, C), 1 for each of them.
    """

    folder: Path
    about: Results
    ids: np.ndarray
    labels: np.ndarray
    probabilities: np.ndarray

    @property
    def multi_label(self) -> bool:
        """Whether videos have sets of labels."""
        return self.about.get("multi_label", False)

    def labelled(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean probabilities over the views (N, C) and labels (N,) of the labelled videos. ValueError without any."""
        if self.multi_label:
            raise ValueError(f"{self.folder}: several labels per video: this is for evaluations of one label per video")
        known = self.labels >= 0
        if not known.any():
            raise ValueError(f"{self.folder}: it has no labelled video: a calibration needs labels")
        return self.probabilities[known].mean(axis=1), self.labels[known]


def read_results(path: Path) -> Results:
    """results.json. ValueError if it is not that of an evaluation of one network."""
    found = upgraded(parse_json(path), "evaluation", str(path))
    if isinstance(found, dict) and "members" in found:
        raise ValueError(f"{path.parent}: an ensemble, not an evaluation of one network: give one of its members")
    about: Results = checked(found, Results, str(path))
    return about


def read_evaluation(folder: Path) -> Evaluation:
    """Read an evaluation's folder. ValueError if it is incomplete or its files do not match."""
    for name in (RESULTS, PREDICTIONS):
        if not (folder / name).is_file():
            raise ValueError(f"{folder}: not the folder of a finished evaluation ({name} is missing)")
    about = read_results(folder / RESULTS)
    path = folder / PREDICTIONS
    data = read_bytes(path, LARGEST)
    if about.get("predictions", found := bytes_hash(data)) != found:
        raise ValueError(f"{path}: not the predictions of {RESULTS}: evaluate again, one evaluation at a time")
    arrays = read_arrays(path, data)
    lacking = {"ids", "labels", "probabilities"} - arrays.keys()
    if lacking:
        raise ValueError(f"{path}: not the predictions of an evaluation (no {min(lacking)})")
    evaluation = Evaluation(folder, about, arrays["ids"], arrays["labels"], arrays["probabilities"])
    check_arrays(evaluation, path)
    return evaluation


def check_arrays(evaluation: Evaluation, path: Path) -> None:
    """ValueError if the arrays do not match the results."""
    about, count, classes = evaluation.about, evaluation.about["coverage"]["evaluated"], evaluation.about["classes"]
    views = about["views"]["num_clips"] * about["views"]["num_crops"]
    ids, labels, probabilities = evaluation.ids, evaluation.labels, evaluation.probabilities
    wanted = (count, len(classes)) if evaluation.multi_label else (count,)
    if probabilities.shape != (count, views, len(classes)) or labels.shape != wanted or ids.shape != (count,):
        raise ValueError(f"{path}: {count} videos x {views} views x {len(classes)} classes are expected in it")
    if ids.dtype.kind != "U" or labels.dtype.kind not in "iu" or len(set(ids.tolist())) != count:
        raise ValueError(f"{path}: distinct ids and integer labels are expected")
    if evaluation.multi_label:
        if not np.isin(labels, (0, 1)).all():
            raise ValueError(f"{path}: a label is neither 0 nor 1")
    elif count and not -1 <= int(labels.min()) <= int(labels.max()) < len(classes):
        raise ValueError(f"{path}: a label is none of the {len(classes)} classes")
    check_probabilities(probabilities, str(path), about.get("activation") == "sigmoid")
