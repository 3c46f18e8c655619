"""A number that is not finite is refused where it enters, whoever reads it, and never counted as right."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import besnet
from besnet import cli
from besnet.checkpoints import model_folder, store
from besnet.checkpoints.header import rebuild
from besnet.data.manifest import Manifest
from besnet.evaluation import inference
from besnet.evaluation.stored import read_evaluation
from tests import evaluated, untrained


def spoil(name: str, value: float) -> Callable[[dict[str, Any]], None]:
    def change(content: dict[str, Any]) -> None:
        content["state_dict"][f"network.{name}"].view(-1)[0] = value

    return change


@pytest.fixture(scope="module")
def good(squares: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint whose weights are finite."""
    return untrained.checkpoint(tmp_path_factory.mktemp("good"), Manifest.load(squares).classes)


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """What a command that is refused says, in one line."""
    with pytest.raises(SystemExit) as ended:
        cli.run(str(words[0]), [str(word) for word in words[1:]])
    assert ended.value.code == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("besnet: ")]
    assert len(lines) == 1
    return lines[0]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused_by_every_verb(
    value: float, squares: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = untrained.checkpoint(tmp_path, Manifest.load(squares).classes, spoil("backbone.conv1.weight", value))
    video = next((squares.parent / "test").iterdir())
    for words in (
        ["evaluate", f"--data={squares}", "--workers=0"],
        ["predict", video],
        ["features", video, f"--out={tmp_path / 'f.npz'}"],
    ):
        assert "conv1.weight' are not finite" in refused(capsys, *words, f"--ckpt_path={bad}")
    assert "conv1.weight' are not finite" in refused(capsys, "export", bad, f"--out={tmp_path / 'model'}")
    assert not (tmp_path / "model").exists()


def test_a_variance_below_zero_is_refused(tmp_path: Path) -> None:
    bad = untrained.content(["a", "b"])
    spoil("backbone.bn1.running_var", -1.0)(bad)
    with pytest.raises(ValueError, match="variance below 0"):
        rebuild(bad)


def test_a_model_folder_with_a_nan_is_refused(good: Path, tmp_path: Path) -> None:
    given = model_folder.given(good)
    with torch.no_grad():
        given.trained.network.fc.bias[0] = torch.nan
    model_folder.write(tmp_path / "model", given, {}, {})
    with pytest.raises(ValueError, match=r"fc\.bias' are not finite"):
        besnet.load(tmp_path / "model")


def test_weights_that_overflow_are_noticed_in_the_answers(
    squares: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every weight is finite, and the logits are not."""
    bad = untrained.checkpoint(tmp_path, Manifest.load(squares).classes, spoil("backbone.bn1.weight", 3e38))
    said = refused(capsys, "evaluate", f"--data={squares}", "--workers=0", f"--ckpt_path={bad}", f"--out={tmp_path}")
    assert "not finite" in said
    assert not (tmp_path / "results.json").exists()
    video = next((squares.parent / "test").iterdir())
    assert cli.run("predict", [str(video), f"--ckpt_path={bad}"]) == 1
    assert "not finite" in capsys.readouterr().out


def stored(folder: Path, value: float) -> Path:
    probabilities = np.full((3, 2, 2), 0.5)
    probabilities[1, 1, 0] = value
    return evaluated.write(folder, probabilities, [0, 0, 1], ["a", "b"], split="val")


@pytest.mark.parametrize("value", [np.nan, np.inf, -0.5, 3.0])
def test_stored_predictions_are_checked_by_whoever_reads_them(
    value: float, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad, fine = stored(tmp_path / "bad", value), stored(tmp_path / "fine", 0.5)
    assert "probabilities" in refused(capsys, "calibrate", bad, f"--run_folder={tmp_path}")
    assert "probabilities" in refused(capsys, "evaluate", "--ensemble", fine, bad, f"--out={tmp_path / 'both'}")
    with pytest.raises(ValueError, match="probabilities"):
        read_evaluation(bad)
    assert not (tmp_path / "both").exists()
    assert not (tmp_path / "calibration.json").exists()


def test_a_part_with_a_nan_is_evaluated_again(tmp_path: Path) -> None:
    inference.write_part(tmp_path, 0, [inference.RowPrediction(1, np.full((2, 2), np.nan, dtype=np.float32))])
    assert list(inference.read_parts(tmp_path, np.arange(3), 2)) == []
    assert list(tmp_path.iterdir()) == []


def test_statistics_that_are_not_finite_are_refused(squares: Path, good: Path, tmp_path: Path) -> None:
    words = [f"--ckpt_path={good}", f"--data={squares}", "--workers=0", "--recalibrate=4", f"--out={tmp_path}"]
    assert cli.run("evaluate", words) == 0
    (path,) = good.parent.glob("*.norms")
    kept = torch.load(path, weights_only=True)
    path.unlink()
    kept["statistics"][0, 0] = torch.nan
    torch.save(kept, tmp_path / "x")
    (tmp_path / "x").rename(path.with_name(f"{good.stem}-{store.file_hash(tmp_path / 'x')}.norms"))
    with pytest.raises(SystemExit):
        cli.run("evaluate", words)
