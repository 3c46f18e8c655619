"""The verb `calibrate`: fit a temperature (with several labels per video, the thresholds) on one evaluation, and report
its effect on another."""

from pathlib import Path

from besnet.checkpoints.temperature import FILE, LEAST, MOST, UNKNOWN, Calibration, Fitted
from besnet.evaluation.reliability import reliability
from besnet.evaluation.stored import Evaluation, read_evaluation
from besnet.evaluation.tempering import fit_temperature, tempered
from besnet.evaluation.thresholds import best_thresholds, mean_f1
from besnet.files import write_json
from besnet.formats import stamp
from besnet.report.numbers import percent
from besnet.text import visible


def calibrate(
    fitted: Path,
    reported: Path | None = None,
    run_folder: Path | None = None,
    allow_training_videos: bool = False,
) -> None:
    """Fit a temperature on the stored predictions of one split, and report its effect on those of another.

    Where videos have several labels, the threshold of each class is chosen instead, from which on a video has it.
    Writes calibration.json into the run's folder, for later predictions and evaluations of the same checkpoint.

    Args:
        fitted: folder of an evaluation (`besnet evaluate --split val` wrote it) to fit on; never the test split.
        reported: folder of an evaluation of another split by the same checkpoint, to report on.
        run_folder: folder of the run; by default the one that `fitted` lies in.
        allow_training_videos: fit although the network was trained on videos of `fitted`: its confidence in those is
            too high, so the temperature will be too low.
    """
    evaluation = read_evaluation(fitted)
    about = evaluation.about
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
    other = None if reported is None else read_evaluation(reported)
    if other is not None:
        check_other(evaluation, other)
    fit = fitted_thresholds if evaluation.multi_label else fitted_temperature
    found: Calibration = {
        **fit(evaluation, other),
        "checkpoint": about["checkpoint"]["hash"],
        "fitted_on": {
            "split": about["split"],
            "passport": dict(about["data"]["passport"]),  # type: ignore[arg-type]
            "videos": int((evaluation.labels.reshape(len(evaluation.labels), -1) >= 0).any(axis=1).sum()),
            "training_videos": trained_on or 0,
        },
    }
    for one, means in ((evaluation, "what is fitted does not suit"), (other, "expect larger errors on")):
        if one is not None and (count := one.about.get("trained_on")):
            print(f"WARNING: {count} videos of the split {one.about['split']} are training videos: {means} new videos")
    write_json(folder / FILE, stamp("calibration") | found)
    print(f"stored: {folder / FILE}")


def fitted_temperature(evaluation: Evaluation, other: Evaluation | None) -> Fitted:
    """The temperature that fits an evaluation; prints it, and its effect on another one."""
    probabilities, labels = evaluation.labelled()
    temperature = fit_temperature(probabilities, labels)
    print(f"temperature {temperature:.3f}, fitted on {len(labels)} videos of the split {evaluation.about['split']}")
    if min(temperature / LEAST, MOST / temperature) < 1.001:
        print(f"WARNING: {temperature:.3g} is a limit: these videos are too few or too easy")
    if other is not None:
        report(other, temperature)
    return {"temperature": temperature}


def fitted_thresholds(evaluation: Evaluation, other: Evaluation | None) -> Fitted:
    """The threshold of each class with the best F1; prints them, and their effect on another evaluation."""
    if evaluation.about.get("activation") != "sigmoid":
        raise ValueError(f"{evaluation.folder}: its network gives one label per video: thresholds are for several")
    if not len(evaluation.labels):
        raise ValueError(f"{evaluation.folder}: no video was evaluated: thresholds need videos")
    classes = evaluation.about["classes"]
    thresholds, unknown = best_thresholds(evaluation.probabilities.mean(axis=1), evaluation.labels)
    print(f"thresholds {min(thresholds):.2f} to {max(thresholds):.2f}, chosen by F1 on {len(evaluation.labels)} videos "
          f"of the split {evaluation.about['split']}")  # fmt: skip
    if unknown:
        names = ", ".join(visible(classes[number]) for number in unknown[:5])
        print(f"WARNING: {len(unknown)} classes have no video there ({names}): their threshold is {UNKNOWN}")
    for one in filter(None, (evaluation, other)):
        shares = one.probabilities.mean(axis=1)
        if one.labels.any():
            before = percent(mean_f1(shares, one.labels, [UNKNOWN] * len(classes)))
            after = percent(mean_f1(shares, one.labels, thresholds))
            print(f"mean F1 on the split {one.about['split']}: {before} with {UNKNOWN}, {after} with them")
    return {"thresholds": thresholds}


def check_other(evaluation: Evaluation, other: Evaluation) -> None:
    """ValueError if a second evaluation is not of the same checkpoint on other videos."""
    about, new = evaluation.about, other.about
    if new["checkpoint"]["hash"] != about["checkpoint"]["hash"]:
        raise ValueError(
            f"{other.folder}: not of the same checkpoint as {evaluation.folder}: evaluate one checkpoint on both splits"
        )
    if (new["split"], new["data"]["passport"]["source"]) == (about["split"], about["data"]["passport"]["source"]):
        raise ValueError(f"{other.folder}: the temperature is fitted on the split {about['split']}: report on another")
    if other.multi_label != evaluation.multi_label:
        raise ValueError(f"{other.folder}: one of the two evaluations is of several labels per video, the other of one")


def report(other: Evaluation, temperature: float) -> None:
    """Print the effect of a temperature on an evaluation that it was not fitted on."""
    new = other.about
    probabilities, labels = other.labelled()
    before, after = (reliability(shares, labels) for shares in (probabilities, tempered(probabilities, temperature)))
    print(
        f"calibration error on {len(labels)} videos of the split {new['split']}: {100 * before['ece']:.1f} % before, "
        f"{100 * after['ece']:.1f} % after; negative log-likelihood {before['negative_log_likelihood']:.3f} before, "
        f"{after['negative_log_likelihood']:.3f} after"
    )
