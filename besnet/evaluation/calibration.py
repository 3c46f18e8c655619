"""The verb `calibrate`: fit a temperature on one evaluation, and report its effect on another."""

from pathlib import Path

from besnet.checkpoints.temperature import FILE, LEAST, MOST, Calibration
from besnet.evaluation.reliability import reliability
from besnet.evaluation.stored import Evaluation, read_evaluation
from besnet.evaluation.tempering import fit_temperature, tempered
from besnet.files import write_json
from besnet.formats import stamp


def calibrate(
    fitted: Path,
    reported: Path | None = None,
    run_folder: Path | None = None,
    allow_training_videos: bool = False,
) -> None:
    """Fit a temperature on the stored predictions of one split, and report its effect on those of another.

    Writes calibration.json into the run's folder, for later predictions and evaluations of the same checkpoint.

    Args:
        fitted: folder of an evaluation (`besnet evaluate --split val` wrote it) to fit on; never the test split.
        reported: folder of an evaluation of another split by the same checkpoint, to report on.
        run_folder: folder of the run; by default the one that `fitted` lies in.
        allow_training_videos: fit although the network was trained on videos of `fitted`: its confidence in those is
            too high, so the temperature will be too low.
    """
    evaluation = read_evaluation(fitted)
    about, (probabilities, labels) = evaluation.about, evaluation.labelled()
    folder = run_folder or (fitted.parent.parent if fitted.parent.name == "evaluations" else None)
    if folder is None:
        raise ValueError(f"{fitted}: not in the folder evaluations of a run: give the run with --run_folder")
    if about["split"] == "test":
        raise ValueError(f"{fitted}: do not fit a temperature on the test split: evaluate --split val first")
    trained_on = about.get("trained_on")
    if trained_on and not allow_training_videos:
        raise ValueError(
            f"{fitted}: {trained_on} of its videos are training videos of the network, which is overconfident "
            "about them: evaluate --split val first, or add --allow_training_videos"
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
        print(f"WARNING: {trained_on} of these are training videos: the temperature is too low for new videos")
    if min(temperature / LEAST, MOST / temperature) < 1.001:
        print(f"WARNING: {temperature:.3g} is a limit: these videos are too few or too easy")
    if reported is not None:
        report(evaluation, read_evaluation(reported), temperature)
    write_json(folder / FILE, stamp("calibration") | found)
    print(f"stored: {folder / FILE}")


def report(evaluation: Evaluation, other: Evaluation, temperature: float) -> None:
    """Print the effect of a temperature from one evaluation on another. ValueError if they do not match."""
    about, new = evaluation.about, other.about
    if new["checkpoint"]["hash"] != about["checkpoint"]["hash"]:
        raise ValueError(
            f"{other.folder}: not of the same checkpoint as {evaluation.folder}: evaluate one checkpoint on both splits"
        )
    if (new["split"], new["data"]["passport"]["source"]) == (about["split"], about["data"]["passport"]["source"]):
        raise ValueError(f"{other.folder}: the temperature is fitted on the split {about['split']}: report on another")
    probabilities, labels = other.labelled()
    before, after = (reliability(shares, labels) for shares in (probabilities, tempered(probabilities, temperature)))
    print(
        f"calibration error on {len(labels)} videos of the split {new['split']}: {100 * before['ece']:.1f} % before, "
        f"{100 * after['ece']:.1f} % after; negative log-likelihood {before['negative_log_likelihood']:.3f} before, "
        f"{after['negative_log_likelihood']:.3f} after"
    )
    if new.get("trained_on"):
        print(f"WARNING: {new['trained_on']} of these are training videos: expect a larger error on new videos")
