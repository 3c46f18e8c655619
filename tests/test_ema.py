"""The moving average of the weights: what it averages, that it survives, and that it is what is evaluated."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch

from besnet import cli
from besnet.checkpoints import store
from besnet.checkpoints.header import rebuild
from besnet.data.evaluation_clips import EvaluationClips
from besnet.data.manifest import Manifest
from besnet.data.transforms import evaluation_views
from besnet.models.besnet import BesNet
from besnet.models.network import IMAGENET
from besnet.training.ema import Average
from besnet.video.sampling import ClipShape
from tests import command

EMA = ["--recipe.ema=0.9", "--trainer.max_epochs=1", "--data.val_videos=9", "--data.val_split=test"]


def test_the_average_is_the_recursion_written_out() -> None:
    network = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    average = Average(network, decay=0.5)
    wanted = {name: value.clone().double() for name, value in network.state_dict().items()}
    for step in range(12):
        with torch.no_grad():
            for value in (*network.parameters(), network[1].running_mean, network[1].running_var):
                value += torch.randn_like(value)  # type: ignore[operator]
            network[1].num_batches_tracked += 1  # type: ignore[operator]
        average.update(network, step)
        decay = min(0.5, (1 + step) / (10 + step))
        for name, value in network.state_dict().items():
            wanted[name] = decay * wanted[name] + (1 - decay) * value
    for name, value in average.network.state_dict().items():
        if name.endswith("num_batches_tracked"):
            assert int(value) == 12
        else:
            torch.testing.assert_close(value.double(), wanted[name], rtol=1e-5, atol=1e-5)
    assert not any(weight.requires_grad for weight in average.parameters())


def validation_loss(network: BesNet, squares: Path) -> float:
    """Mean cross-entropy of the middle clips of the test videos."""
    manifest = Manifest.load(squares)
    rows = manifest.select("test")
    views = EvaluationClips(manifest, rows, ClipShape(4, 2), 1)
    frames = [views[number].frames for number in range(len(rows))]
    with torch.no_grad():
        logits = network(torch.cat([evaluation_views(video, 32, 1, IMAGENET) for video in frames if video is not None]))
    chances = logits.log_softmax(1)[torch.arange(len(rows)), torch.from_numpy(manifest.labels[rows])]
    return -chances.mean().item()


def test_a_checkpoint_holds_both_and_evaluation_says_which(
    squares: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.train(squares, tmp_path, *EMA) == 0
    checkpoint = store.load(tmp_path)
    averaged, raw = rebuild(checkpoint), rebuild(checkpoint, raw=True)
    assert (averaged.ema, raw.ema) == (0.9, None)
    assert not torch.equal(averaged.network.fc.weight, raw.network.fc.weight)
    assert torch.equal(raw.network.fc.weight, checkpoint["state_dict"]["network.fc.weight"])
    checked = list(csv.DictReader((tmp_path / "metrics.csv").read_text().splitlines()))[-1]
    for trained, same in ((averaged, True), (raw, False)):
        assert (
            float(checked["Val/Loss"]) == pytest.approx(validation_loss(trained.network, squares), rel=1e-3)
        ) == same
    capsys.readouterr()
    found = {}
    for choice in ("false", "true"):
        out = tmp_path / choice
        cli.run("evaluate", [f"--ckpt_path={tmp_path}", f"--out={out}", "--workers=0", f"--no_ema={choice}"])
        found[choice] = np.load(out / "predictions.npz")["probabilities"]
        line = capsys.readouterr().out.splitlines()[0]
        assert ("moving average (EMA, decay 0.9)" in line) == (choice == "false"), line
    assert not np.array_equal(found["false"], found["true"])


def test_a_run_cannot_go_on_with_another_average(
    squares: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.train(squares, tmp_path, "--trainer.max_epochs=1") == 0
    with pytest.raises(SystemExit):
        command.train(squares, tmp_path, "--recipe.ema=0.9", "--accept_changes=true")
    assert "recipe.ema: None → 0.9" in capsys.readouterr().err
