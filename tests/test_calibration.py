"""Confidence and its repair, and ensembles, on data whose truth is known and on real evaluations."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from besnet import cli
from besnet.checkpoints.store import file_hash
from besnet.checkpoints.temperature import stored_temperature
from besnet.evaluation.reliability import reliability
from besnet.evaluation.tempering import fit_temperature, tempered
from tests import command


def honest(scale: float, count: int = 4000, classes: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """Labels drawn from softmax(logits), and softmax(scale * logits): right for scale 1, too sure above."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 1.5, size=(count, classes))
    truth = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = (truth.cumsum(axis=1) < rng.random((count, 1))).sum(axis=1)
    return tempered(truth, 1 / scale), labels


@pytest.mark.parametrize("scale", [0.5, 1.0, 2.0])
def test_the_temperature_undoes_a_scale(scale: float) -> None:
    probabilities, labels = honest(scale)
    assert fit_temperature(probabilities, labels) == pytest.approx(scale, rel=0.06)


def test_calibration_error_is_small_for_honest_and_large_for_boastful_probabilities() -> None:
    honestly, labels = honest(1.0)
    boastfully, _ = honest(3.0)
    assert reliability(honestly, labels)["ece"] < 0.03
    before = reliability(boastfully, labels)
    assert before["ece"] > 0.12
    mended = tempered(boastfully, fit_temperature(boastfully, labels))
    assert reliability(mended, labels)["ece"] < 0.03
    assert (mended.argmax(1) == boastfully.argmax(1)).all()
    assert sum(entry["videos"] for entry in before["bins"]) == len(labels)


def test_calibration_error_by_hand() -> None:
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.9, 0.1], [0.3, 0.7]])
    found = reliability(probabilities, np.array([0, 0, 1, 1]))
    assert found["ece"] == pytest.approx(0.75 * abs(0.9 - 2 / 3) + 0.25 * abs(0.7 - 1))
    assert reliability(np.array([[0.0, 1.0]]), np.array([0]))["negative_log_likelihood"] == pytest.approx(27.6, abs=0.1)


ALLOW = "--allow_training_videos=true"


@pytest.fixture(scope="module")
def run(squares: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with evaluations of two splits."""
    folder = tmp_path_factory.mktemp("calibrated") / "run"
    assert command.train(squares, folder, "--trainer.max_epochs=1") == 0
    for split in ("train", "test"):
        cli.run("evaluate", [f"--ckpt_path={folder}", f"--split={split}", "--workers=0", ALLOW])
    return folder


def evaluation(run: Path, split: str) -> Path:
    (found,) = (run / "evaluations").glob(f"*-{split}-*")
    return found


def test_a_temperature_is_stored_for_its_checkpoint(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run("calibrate", [str(evaluation(run, "train")), f"--reported={evaluation(run, 'test')}", ALLOW]) == 0
    said = capsys.readouterr().out
    assert re.search(r"calibration error on 9 videos of the split test: [\d.]+ % before, [\d.]+ % after", said)
    assert re.search(r"negative log-likelihood [\d.]+ before, [\d.]+ after", said)
    about = json.loads((evaluation(run, "test") / "results.json").read_text())
    stored = stored_temperature(run, about["checkpoint"]["hash"])
    assert stored is not None
    assert stored["fitted_on"]["split"] == "train"
    assert stored_temperature(run, "another") is None


def test_the_test_split_is_never_fitted_on(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, why in (
        ([evaluation(run, "test")], "do not fit a temperature on the test split"),
        (
            [evaluation(run, "train"), f"--reported={evaluation(run, 'train')}", ALLOW],
            "the temperature is fitted on the split train",
        ),
    ):
        with pytest.raises(SystemExit):
            cli.run("calibrate", [str(word) for word in words])
        assert why in capsys.readouterr().err


def test_an_ensemble_of_one_run_with_itself_is_that_run(run: Path, tmp_path: Path) -> None:
    folder = evaluation(run, "test")
    assert cli.run("evaluate", ["--ensemble", str(folder), str(folder), "--out", str(tmp_path)]) == 0
    single = np.load(folder / "predictions.npz")["probabilities"].mean(axis=1)
    both = np.load(tmp_path / "predictions.npz")
    np.testing.assert_allclose(both["mean"], single, atol=1e-6)
    np.testing.assert_allclose(both["max"], single, atol=1e-6)
    results = json.loads((tmp_path / "results.json").read_text())
    alone = json.loads((folder / "results.json").read_text())
    assert results["mean"]["accuracy"]["over_evaluated"] == alone["accuracy"]["over_evaluated"]


def test_an_ensemble_is_no_evaluation_of_one_network(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, both = evaluation(run, "test"), run / "evaluations" / "both"
    assert cli.run("evaluate", ["--ensemble", str(folder), str(folder), f"--out={both}"]) == 0
    with pytest.raises(SystemExit):
        cli.run("calibrate", [str(both)])
    assert "an ensemble, not an evaluation" in capsys.readouterr().err
    assert cli.run("export", [str(run), f"--out={tmp_path / 'model'}"]) == 0
    model = json.loads((tmp_path / "model" / "model.json").read_text())
    assert set(model["metrics"]) == {path.name for path in (run / "evaluations").iterdir()} - {"both"}


def altered(folder: Path, out: Path, **changes: object) -> Path:
    """A copy of an evaluation with other facts or arrays."""
    out.mkdir()
    about = json.loads((folder / "results.json").read_text())
    arrays = dict(np.load(folder / "predictions.npz"))
    for name, value in changes.items():
        if name in arrays:
            arrays[name] = value  # type: ignore[assignment]
        else:
            about[name] = value
    (out / "results.json").write_text(json.dumps(about))
    np.savez(out / "predictions.npz", **arrays)  # type: ignore[arg-type]
    about["coverage"]["evaluated"] = len(arrays["ids"])
    about["predictions"] = file_hash(out / "predictions.npz")
    (out / "results.json").write_text(json.dumps(about))
    return out


def test_videos_are_matched_by_id_and_what_does_not_fit_is_refused(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = evaluation(run, "test")
    arrays = dict(np.load(folder / "predictions.npz"))
    about = json.loads((folder / "results.json").read_text())
    backwards = {name: arrays[name][::-1] for name in ("ids", "labels", "probabilities")}
    turned = altered(folder, tmp_path / "turned", **backwards)
    assert cli.run("evaluate", ["--ensemble", str(folder), str(turned), f"--out={tmp_path / 'both'}"]) == 0
    single = arrays["probabilities"].mean(axis=1)
    np.testing.assert_allclose(np.load(tmp_path / "both" / "predictions.npz")["mean"], single, atol=1e-6)
    others = {
        "class lists": {"classes": about["classes"][::-1]},
        "data passports differ": {"data": {"name": "x", "passport": about["data"]["passport"] | {"source": "0"}}},
        "1 videos are in one of them only": {name: arrays[name][1:] for name in ("ids", "labels", "probabilities")},
        "splits": {"split": "val"},
    }
    for number, (why, changes) in enumerate(others.items()):
        other = altered(folder, tmp_path / f"other{number}", **changes)
        with pytest.raises(SystemExit):
            cli.run("evaluate", ["--ensemble", str(folder), str(other), f"--out={tmp_path / 'none'}"])
        said = capsys.readouterr().err
        assert why in said
        assert str(other) in said
