"""Model folders: the same answers, without a run or a pickle; what does not fit together is refused by name."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import besnet
from besnet import cli
from besnet.checkpoints import store
from tests import command


@pytest.fixture(scope="module")
def run(squares: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny run with an evaluation and a temperature."""
    run = tmp_path_factory.mktemp("runs") / "run"
    assert command.train(squares, run, "--trainer.max_epochs=1") == 0
    cli.run("evaluate", [f"--ckpt_path={run}", "--workers=0"])
    known = {"temperature": 1.7, "checkpoint": store.file_hash(store.resolve(run))}
    (run / "calibration.json").write_text(json.dumps(known))
    return run


@pytest.fixture
def folder(run: Path, tmp_path: Path) -> Path:
    """The run's network as a model folder."""
    assert cli.run("export", [str(run), "--to=folder", f"--out={tmp_path / 'model'}"]) == 0
    return tmp_path / "model"


def test_it_answers_as_the_run_does(run: Path, folder: Path, squares: Path) -> None:
    assert {path.name for path in folder.iterdir()} == {"model.safetensors", "model.json", "trained_on.safetensors"}
    one, other = besnet.load(run), besnet.load(folder)
    assert other.temperature == 1.7
    assert other.plan == one.plan
    for video in sorted((squares.parent / "test").iterdir())[:3]:
        np.testing.assert_array_equal(one.predict(video).probabilities, other.predict(video).probabilities)


def test_it_says_where_it_comes_from(run: Path, folder: Path) -> None:
    about = json.loads((folder / "model.json").read_text())
    assert about["checkpoint"] == store.file_hash(store.resolve(run))
    (results,) = about["metrics"].values()
    assert results["coverage"]["evaluated"] == 9
    assert about["transforms"]["input"]["clip"]["num_frames"] == 4
    assert about["passport"]["source"]
    assert "torch" in about["versions"]


def change(folder: Path, **entries: object) -> None:
    path = folder / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))


def test_a_class_list_that_does_not_fit_is_refused(folder: Path) -> None:
    change(folder, classes=["up", "down"])
    with pytest.raises(ValueError, match=r"model.json: 2 class names for a network of 4 classes"):
        besnet.load(folder)


def test_damaged_or_foreign_weights_are_refused(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "copy"
    shutil.copytree(folder, other)
    for name in ("model.safetensors", "trained_on.safetensors"):
        file = other / name
        file.write_bytes(file.read_bytes()[:-1] + b"x")
        with pytest.raises(ValueError, match=f"{name}: damaged"):
            besnet.load(other)
        file.unlink()
        with pytest.raises(ValueError, match=f"{name}: there is no such file"):
            besnet.load(other)
        shutil.copy(folder / name, file)
    known = other / "trained_on.safetensors"
    for wrong in ({"trained_on": torch.ones(3)}, {"other": torch.ones(3, dtype=torch.int64)}):
        save_file(wrong, known)
        change(other, trained_on=store.file_hash(known))
        with pytest.raises(ValueError, match=r"trained_on.safetensors: trained_on: int64 of one dimension"):
            besnet.load(other)
    (other / "model.json").write_text("{")
    with pytest.raises(ValueError, match=r"model.json: not readable"):
        besnet.load(other)
    change(folder, model={"num_classes": 4, "blocks": [2, 1], "width": 8})
    with pytest.raises(ValueError, match=r"with model.json: the weights do not fit the network: no backbone.layer1.1"):
        besnet.load(folder)
