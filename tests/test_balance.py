"""Rare classes: how often a balanced epoch takes them, and what they weigh in the loss."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from besnet.checkpoints import store
from besnet.data.balance import Balance
from besnet.data.order import Key, TrainingOrder
from besnet.training.loss import class_weights, training_loss
from tests import command

LABELS = np.repeat([0, 1, 3], [200, 40, 10])  # class 2 has no training video
ROWS = np.arange(1000, 1000 + len(LABELS))


def woven(world_size: int, epoch: int, samples: int = 0, power: float = 1.0, repeats: int = 1) -> list[Key]:
    """What all ranks together train on, in the order of the global batches of 6."""
    balance = Balance(LABELS, power)
    orders = [
        TrainingOrder(ROWS, 6 // world_size, 3, rank, world_size, repeats, balance=balance)
        for rank in range(world_size)
    ]
    for order in orders:
        order.epoch, order.samples = epoch, samples
    columns = [list(order) for order in orders]
    return [key for batches in zip(*columns, strict=True) for keys in zip(*batches, strict=True) for key in keys]


@settings(deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=80), st.floats(0.01, 1.0), st.integers(0, 2**32 - 1))
def test_each_class_and_video_comes_as_often_as_expected_rounded(labels: list[int], power: float, seed: int) -> None:
    balance = Balance(np.array(labels), power)
    drawn = balance.draw(np.random.default_rng(seed))
    assert len(drawn) == len(labels)
    counts = np.array(labels)[:, None] == np.arange(6)
    videos = counts.sum(0)
    share = np.where(videos > 0, videos.clip(1) ** (1.0 - power), 0.0)
    wanted = len(labels) * share / share.sum()  # of each class
    assert (np.abs(np.bincount(np.array(labels)[drawn], minlength=6) - wanted) < 1 + 1e-6).all()
    of_video = (wanted / videos.clip(1))[labels]
    assert (np.abs(np.bincount(drawn, minlength=len(labels)) - of_video) < 1 + 1e-6).all()


def test_a_balanced_order_is_drawn_before_it_is_split_over_ranks() -> None:
    for epoch in range(3):
        whole = woven(1, epoch)
        assert woven(2, epoch) == woven(3, epoch) == woven(6, epoch) == whole
        assert woven(2, epoch, samples=60) == whole[60:]
        assert len(set(whole)) == len(whole), "each clip of a video that comes again is another one"
    assert woven(1, 0) != woven(1, 1)
    assert len({epoch_row[1] for epoch in range(3) for epoch_row in woven(1, epoch)}) > 150, "common videos take turns"
    assert len(set(woven(3, 0, repeats=3))) == len(woven(1, 0, repeats=3)) == 750


def test_weights_are_the_reciprocals_of_the_counts_with_mean_one() -> None:
    counts = torch.tensor([200, 40, 0, 10])
    weights = class_weights(counts, 1.0)
    torch.testing.assert_close(weights[[0, 1, 3]] * counts[[0, 1, 3]], torch.full((3,), 250 / 3))
    assert weights[2] == 1
    half = class_weights(counts, 0.5)
    torch.testing.assert_close(half[3] / half[0], torch.tensor(20.0).sqrt())
    torch.testing.assert_close((half * counts).sum() / counts.sum(), torch.tensor(1.0))


def test_weighted_gradients_of_parts_add_up_to_those_of_one_batch() -> None:
    logits = torch.randn(12, 4, dtype=torch.float64, requires_grad=True)
    targets, weights = torch.arange(12) % 4, torch.tensor([0.3, 1.0, 2.0, 9.0], dtype=torch.float64)
    whole = training_loss(logits, targets, weights=weights)
    torch.testing.assert_close(whole, (F.cross_entropy(logits, targets, reduction="none") * weights[targets]).mean())
    parts = [training_loss(logits[at : at + 4], targets[at : at + 4], weights=weights) for at in (0, 4, 8)]
    torch.testing.assert_close(torch.autograd.grad(whole, logits)[0], torch.autograd.grad(sum(parts) / 3, logits)[0])


def test_a_balanced_training_resumes_to_the_same_bits(squares: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = ["--data.balance=0.5", "--recipe.class_weights=0.5", "--trainer.max_epochs=2"]
    words += ["--saving.every_steps=2", "--saving.keep=100"]
    assert command.train(squares, run, *words) == 0
    whole = command.weights_hash(run), (run / "metrics.csv").read_text()
    for path in store.by_age(run / "checkpoints"):
        if int(path.name[5:14]) > 8:  # in the second epoch
            path.unlink()
    assert command.train(squares, run, *words) == 0
    assert (command.weights_hash(run), (run / "metrics.csv").read_text()) == whole


@pytest.mark.parametrize("weights", ["balanced", "0.6"])
def test_classes_are_not_balanced_twice(
    squares: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], weights: str
) -> None:
    with pytest.raises(SystemExit, match=r"^2$"):
        command.train(squares, tmp_path / "run", "--data.balance=0.5", f"--recipe.class_weights={weights}")
    assert "data.balance 0.5 and recipe.class_weights" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
