"""What is read is read once: a run that saves meanwhile changes neither the weights nor the hash of an answer."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import besnet
from besnet import cli
from besnet.checkpoints import model_folder, store
from besnet.data.manifest import Manifest
from besnet.evaluation import evaluate as evaluation
from besnet.evaluation.stored import read_evaluation
from tests import evaluated, untrained


@pytest.fixture
def saving_run(squares: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run that saves a newer checkpoint, and deletes the older one, whenever one of its files has been read."""
    run = tmp_path / "run"
    classes = Manifest.load(squares).classes
    step = 0

    def save() -> None:
        nonlocal step
        step += 1
        made = untrained.content(classes)
        made["state_dict"]["network.fc.bias"].fill_(float(step))
        store.save(made, run / "checkpoints", step)
        store.prune(run / "checkpoints", keep=1)

    load = torch.load

    def load_and_save(*words: Any, **named: Any) -> Any:
        content = load(*words, **named)
        save()
        return content

    save()
    monkeypatch.setattr(torch, "load", load_and_save)
    return run


def test_the_hash_is_that_of_the_bytes_that_were_read(saving_run: Path) -> None:
    for step in (1, 2, 3):
        stored = store.read(saving_run)
        assert stored.content["state_dict"]["network.fc.bias"][0] == step
        assert stored.path.name == f"step_{step:09d}-{stored.hash}.ckpt"
        assert not stored.path.exists(), "the run has deleted it"


def test_evaluate_predict_and_export_name_what_they_read(saving_run: Path, squares: Path, tmp_path: Path) -> None:
    names = dict.fromkeys(range(1, 5))
    assert cli.run("evaluate", [f"--ckpt_path={saving_run}", f"--data={squares}", "--workers=0",
                                f"--out={tmp_path / 'out'}"]) == 0  # fmt: skip
    about = json.loads((tmp_path / "out" / "results.json").read_text())["checkpoint"]
    assert about["file"] == f"step_000000001-{about['hash']}.ckpt"
    given = model_folder.given(saving_run)
    bias = int(given.trained.network.fc.bias[0])
    assert Path(given.name).name == f"step_{bias:09d}-{given.hash}.ckpt"
    assert bias in names
    assert cli.run("export", [str(saving_run), f"--out={tmp_path / 'model'}"]) == 0
    exported = json.loads((tmp_path / "model" / "model.json").read_text())
    bias = int(besnet.load(tmp_path / "model").network.fc.bias[0])
    assert exported["checkpoint"] != given.hash
    assert bias == 3


def test_a_checkpoint_that_goes_while_it_is_looked_for_is_looked_for_again(
    squares: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    classes = Manifest.load(squares).classes
    first = store.save(untrained.content(classes), tmp_path, 1)
    by_age = store.by_age

    def listed(folder: Path) -> list[Path]:
        found = by_age(folder)
        if first.exists():
            store.save(untrained.content(classes), folder, 2)
            first.unlink()
        return found

    monkeypatch.setattr(store, "by_age", listed)
    assert store.read(tmp_path).path.name.startswith("step_000000002")


def test_predictions_of_another_evaluation_are_not_taken_for_these(tmp_path: Path) -> None:
    """results.json and predictions.npz of two evaluations that ran into one folder."""
    one, other = (
        evaluated.write(tmp_path / name, np.full((2, 1, 2), 0.5), labels, ["a", "b"])
        for name, labels in (("one", [0, 1]), ("other", [1, 0]))
    )
    (one / "predictions.npz").write_bytes((other / "predictions.npz").read_bytes())
    with pytest.raises(ValueError, match=r"not the predictions of results\.json"):
        read_evaluation(one)


def test_the_evaluation_compared_with_is_read_before_the_work(
    squares: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may change while the videos are decoded: what was checked is what is compared with."""
    words = [f"--ckpt_path={untrained.checkpoint(tmp_path, Manifest.load(squares).classes)}", f"--data={squares}"]
    assert cli.run("evaluate", [*words, "--workers=0", f"--out={tmp_path / 'first'}"]) == 0
    answers = evaluation.run_inference

    def meanwhile(*arguments: Any) -> Any:
        for path in (tmp_path / "first").iterdir():
            path.unlink()
        return answers(*arguments)

    monkeypatch.setattr(evaluation, "run_inference", meanwhile)
    last = [f"--baseline={tmp_path / 'first'}", f"--out={tmp_path / 'second'}"]
    assert cli.run("evaluate", [*words, "--workers=0", *last]) == 0
    assert json.loads((tmp_path / "second" / "results.json").read_text())["baseline"]["difference"] == 0


def test_a_worker_does_not_open_data_that_was_prepared_anew(squares: Path) -> None:
    manifest = Manifest.load(squares)
    reopen, (folder, passport) = manifest.__reduce__()
    assert reopen(folder, passport).passport == passport
    with pytest.raises(ValueError, match="prepared again while it was in use"):
        reopen(folder, type(passport)("0" * 32, passport.encode))
