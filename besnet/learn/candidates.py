"""The networks that are compared on the validation videos: a linear probe, and what is trained from it."""

from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from besnet.checkpoints import model_folder, store
from besnet.checkpoints.best import folder_of
from besnet.checkpoints.model_folder import LoadedModel
from besnet.checkpoints.published_model import Input
from besnet.checkpoints.temperature import Fitted
from besnet.data.manifest import Manifest
from besnet.evaluation.average_precision import average_precisions, mean_of_known
from besnet.evaluation.evaluate import evaluate
from besnet.evaluation.probabilities import SMALLEST
from besnet.evaluation.stored import RESULTS, Evaluation, read_evaluation
from besnet.evaluation.tempering import fit_temperature, tempered
from besnet.evaluation.thresholds import best_thresholds
from besnet.evaluation.views import settings
from besnet.learn.look import reads_left_and_right
from besnet.predict.export import contract, metrics
from besnet.predict.probe import probe
from besnet.reading import parse_json

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
    """A trained network.

    validation: the folder of its evaluation on the validation videos, which `evaluate` makes. load: the network itself.
    last: the one that is tested and kept; it may learn from the validation videos, once these have made their choices.
    """

    name: str
    validation: Path
    evaluate: Callable[[], None]
    load: Callable[[], LoadedModel]
    last: Callable[[], LoadedModel]
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
    def by_chance(self) -> bool:
        """Whether its difference to the network that its evaluation was compared with may be chance."""
        compared = parse_json(self.validation / RESULTS).get("baseline")
        if compared is None:
            return False
        low, high = compared["interval"]
        return bool(low <= 0 <= high)

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


def mirrors(manifest: Manifest) -> bool:
    """Whether probes learn from mirror images."""
    return not reads_left_and_right(manifest) and len(manifest.select("train")) <= MOST_MIRRORED


def linear_probe(
    data: Path, out: Path, look: Look, mirror: bool, workers: int, strengths: Sequence[float] = STRENGTHS
) -> Candidate:
    """A last layer on ImageNet's features, in a folder below `out` that holds its model folder. Not fitted yet.

    What it prints is in `out`/<look>.log, but for progress and warnings.
    """
    own = out / look.name

    def fit(folder: Path, split: str | None, refit: bool) -> None:
        out.mkdir(parents=True, exist_ok=True)
        with open(out / f"{look.name}.log", "w") as log, redirect_stdout(log):
            probe(
                data, folder, network=BACKBONE, weights="lite", input=look.input, strengths=strengths,
                num_clips=look.num_clips, num_crops=look.num_crops, mirror=mirror, refit=refit, split=split,
                cache=out / "features", workers=workers, allow_training_videos=True,
            )  # fmt: skip
        for line in (out / f"{look.name}.log").read_text().splitlines():
            if line.startswith("WARNING"):
                print(line)

    def refitted() -> LoadedModel:
        fit(out / "refitted", None, True)
        return model_folder.read(out / "refitted" / "model")

    def load() -> LoadedModel:
        return model_folder.read(own / "model")

    return Candidate(f"linear probe on {look.name}", own, lambda: fit(own, "val", False), load, refitted, look)


def trained(run: Path, data: Path, workers: int, baseline: Path | None = None) -> Candidate:
    """What a training has left in its run folder: the best checkpoint, where it keeps one. Not evaluated yet.

    baseline: folder of an evaluation on the same videos, which its page then compares it with.

    Where the splits of the user's own data share videos, the evaluation says how many: nothing is refused after the
    minutes of a training.
    """

    def kept() -> Path:
        best = folder_of(run, 1)
        return best if store.by_age(best) else run

    def evaluate_it() -> None:
        evaluate(kept(), data=data, split="val", out=run / "validation", workers=workers, baseline=baseline,
                 allow_training_videos=True)  # fmt: skip

    def load() -> LoadedModel:
        return model_folder.given(kept())

    return Candidate("trained network", run / "validation", evaluate_it, load, load)


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
