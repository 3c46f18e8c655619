"""The networks that are compared on the validation videos: a linear probe, and what is trained from it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from besnet.checkpoints import model_folder, store
from besnet.checkpoints.best import folder_of
from besnet.checkpoints.model_folder import LoadedModel
from besnet.checkpoints.published_model import Input
from besnet.checkpoints.temperature import Fitted
from besnet.evaluation.average_precision import average_precisions, mean_of_known
from besnet.evaluation.evaluate import evaluate
from besnet.evaluation.probabilities import SMALLEST
from besnet.evaluation.stored import Evaluation, read_evaluation
from besnet.evaluation.tempering import fit_temperature, tempered
from besnet.evaluation.thresholds import best_thresholds
from besnet.evaluation.views import settings
from besnet.predict.export import contract, metrics
from besnet.predict.probe import probe
from besnet.report.numbers import percent

BACKBONE = "tf_efficientnet_lite0"


@dataclass(frozen=True)
class Look:
    """How a probe sees a video: frames spread over all of it."""

    name: str
    input: Input
    num_clips: int
    num_crops: int


# people at the edge are lost in one crop; small people are lost in the whole frame: validation decides
WHOLE = Look("whole", Input(num_frames=16, sampling="uniform", crop_size=224, whole=True), 2, 1)
CROPS = Look("crops", Input(num_frames=16, sampling="uniform", crop_size=192), 1, 3)
LOOKS = {look.name: look for look in (WHOLE, CROPS)}
MOST_MIRRORED = 1000  # training videos: with more of them, mirror images cost more than they help
STRENGTHS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)


@dataclass(frozen=True)
class Candidate:
    """A trained network. validation: the folder of its evaluation on the validation videos.

    Where the splits of the user's own data share videos, evaluations say how many, and nothing is refused after the
    minutes of a training.
    """

    name: str
    validation: Path
    evaluate: Callable[[str | None, Path], None]
    load: Callable[[], LoadedModel]
    look: Look | None = None  # of a linear probe

    @property
    def results(self) -> Evaluation:
        return read_evaluation(self.validation)

    @property
    def top1(self) -> float:
        """Top-1 on the validation videos; mAP where a video has several labels."""
        if self.results.multi_label:
            return (
                mean_of_known(average_precisions(self.results.probabilities.mean(axis=1), self.results.labels)) or 0.0
            )
        probabilities, labels = self.results.labelled()
        return float((probabilities.argmax(1) == labels).mean())

    @property
    def nll(self) -> float:
        """The mean of -log(probability) of the validation videos, after calibration on them; of all their classes where
        they have several."""
        if self.results.multi_label:
            shares = self.results.probabilities.mean(axis=1)
            right = np.where(self.results.labels > 0, shares, 1 - shares)
            return float(-np.log(np.maximum(right, SMALLEST)).mean())
        probabilities, labels = self.results.labelled()
        calibrated = tempered(probabilities, fit_temperature(probabilities, labels))
        own = np.take_along_axis(calibrated, labels[:, None], axis=1)
        return float(-np.log(np.maximum(own, SMALLEST)).mean())


def linear_probe(
    data: Path, out: Path, look: Look, mirror: bool, workers: int, strengths: Sequence[float] = STRENGTHS
) -> Candidate:
    """A last layer on ImageNet's features, in a folder below `out` that holds its model folder. Not evaluated yet.

    An evaluation on the test split fits it again, on the training and the validation videos, and leaves that model
    folder beside the results.
    """
    own = out / look.name

    def evaluate_on(split: str | None, folder: Path) -> None:
        # what is tested learns from the validation videos as well, once these have made their choices
        probe(
            data, folder, network=BACKBONE, weights="lite", input=look.input, strengths=strengths,
            num_clips=look.num_clips, num_crops=look.num_crops, mirror=mirror, refit=split == "test", split=split,
            cache=out / "features", workers=workers, allow_training_videos=True,
        )  # fmt: skip

    return Candidate(f"linear probe on {look.name}", own, evaluate_on, lambda: model_folder.read(own / "model"), look)


def surest(probes: Sequence[Candidate], what: str = "top-1") -> Candidate:
    """The probe with the lowest -log(probability) on the validation videos, which moves less by chance than top-1.

    what: the name of the figure `top1`.
    """
    chosen = min(probes, key=lambda probe: probe.nll)
    told = ", ".join(f"{one.name} {one.nll:.3f} ({what} {percent(one.top1)})" for one in probes)
    print(f"-log(probability) of the validation videos: {told}: the {chosen.name} is kept")
    return chosen


def trained(run: Path, data: Path, workers: int) -> Candidate:
    """What a training has left in its run folder: the best checkpoint, where it keeps one. Not evaluated yet."""

    def kept() -> Path:
        best = folder_of(run, 1)
        return best if store.by_age(best) else run

    def evaluate_on(split: str | None, folder: Path) -> None:
        assert split is not None
        evaluate(kept(), data=data, split=split, out=folder, workers=workers, allow_training_videos=True)

    return Candidate("trained network", run / "validation", evaluate_on, lambda: model_folder.given(kept()))


def better(candidates: Sequence[Candidate], what: str = "top-1") -> Candidate:
    """The one with the highest top-1 (or mAP) on the validation videos; of equal ones that with the lowest
    -log(probability)."""
    chosen = max(candidates, key=lambda candidate: (candidate.top1, -candidate.nll))
    if len(candidates) > 1:
        told = ", ".join(f"{one.name} {percent(one.top1)} ({one.nll:.3f})" for one in candidates)
        print(f"\n{what} on the validation videos (-log(probability)): {told}: the {chosen.name} is kept")
    return chosen


def write_model(given: LoadedModel, folder: Path, fitted: Fitted) -> None:
    """Write a network as a calibrated model folder."""
    calibrated = replace(given, **fitted)
    about = contract(calibrated, settings(given.trained.config, given.name))
    model_folder.write(folder, calibrated, about, metrics(calibrated))


def fitted_on(candidate: Candidate) -> Fitted:
    """What makes its probabilities match the validation videos, or the thresholds that suit them."""
    if candidate.results.multi_label:
        shares = candidate.results.probabilities.mean(axis=1)
        return {"thresholds": best_thresholds(shares, candidate.results.labels)[0]}
    probabilities, labels = candidate.results.labelled()
    return {"temperature": fit_temperature(probabilities, labels)}


def said_of(fitted: Fitted) -> str:
    """What was fitted, in words."""
    if "thresholds" in fitted:
        return f"thresholds {min(fitted['thresholds']):.2f} to {max(fitted['thresholds']):.2f}"
    return f"temperature {fitted['temperature']:.2f}"
