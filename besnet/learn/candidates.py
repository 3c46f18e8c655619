"""The networks that are compared on the validation videos: a linear probe, and what is trained from it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from besnet.checkpoints import model_folder
from besnet.checkpoints.model_folder import LoadedModel
from besnet.checkpoints.published_model import Input
from besnet.evaluation.evaluate import evaluate
from besnet.evaluation.stored import Evaluation, read_evaluation
from besnet.evaluation.tempering import fit_temperature
from besnet.evaluation.views import settings
from besnet.predict.export import contract, metrics
from besnet.predict.probe import probe
from besnet.report.numbers import percent

LINEAR = "linear probe"
BACKBONE = "tf_efficientnet_lite0"
# frames spread over the whole video, whole pictures
VIEW = Input(num_frames=16, sampling="uniform", crop_size=256, whole=True)
NUM_CLIPS = 2
MOST_MIRRORED = 1000  # training videos: with more of them, mirror images cost more than they help
STRENGTHS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)


@dataclass(frozen=True)
class Candidate:
    """A trained network. validation: the folder of its evaluation on the validation videos."""

    name: str
    validation: Path
    evaluate: Callable[[str | None, Path], None]
    load: Callable[[], LoadedModel]

    @property
    def results(self) -> Evaluation:
        return read_evaluation(self.validation)

    @property
    def top1(self) -> float:
        """Top-1 on the validation videos."""
        probabilities, labels = self.results.labelled()
        return float((probabilities.argmax(1) == labels).mean())


def linear_probe(
    data: Path, out: Path, features: Path, mirror: bool, workers: int, strengths: Sequence[float] = STRENGTHS
) -> Candidate:
    """A last layer on ImageNet's features; its model folder is `out`/model. Not evaluated yet."""

    def evaluate_on(split: str | None, folder: Path) -> None:
        probe(
            data, folder, network=BACKBONE, weights="lite", input=VIEW, strengths=strengths, num_clips=NUM_CLIPS,
            mirror=mirror, split=split, cache=features, workers=workers,
        )  # fmt: skip

    return Candidate(LINEAR, out, evaluate_on, lambda: model_folder.read(out / "model"))


def trained(run: Path, data: Path, workers: int) -> Candidate:
    """What a training has left in its run folder. Not evaluated yet."""

    def evaluate_on(split: str | None, folder: Path) -> None:
        assert split is not None
        evaluate(run, data=data, split=split, out=folder, workers=workers)

    return Candidate("trained network", run / "validation", evaluate_on, lambda: model_folder.given(run))


def better(candidates: Sequence[Candidate]) -> Candidate:
    """The one with the most right answers on the validation videos; of equal ones the first, which is the simplest."""
    chosen = max(candidates, key=lambda candidate: candidate.top1)
    if len(candidates) > 1:
        told = ", ".join(f"{one.name} {percent(one.top1)}" for one in candidates)
        print(f"\ntop-1 on the validation videos: {told}: the {chosen.name} is kept")
    return chosen


def write_model(given: LoadedModel, folder: Path, temperature: float) -> None:
    """Write a network as a calibrated model folder."""
    calibrated = replace(given, temperature=temperature)
    about = contract(calibrated, settings(given.trained.config, given.name))
    model_folder.write(folder, calibrated, about, metrics(calibrated))


def temperature_of(candidate: Candidate) -> float:
    """What makes its probabilities match the validation videos."""
    probabilities, labels = candidate.results.labelled()
    return fit_temperature(probabilities, labels)
