"""An epoch is one thing, whatever cuts it; a step is that of one batch of its clips, however it is put together."""

import csv
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from besnet.checkpoints import store
from besnet.training.length import Length
from tests import command
from tests.test_changes import ACCEPT

SGD = ["--recipe.optimizer=sgd", "--recipe.lr=0.05"]


@given(st.integers(1, 9), st.integers(1, 12), st.integers(1, 4), st.integers(-1, 30).filter(bool))
def test_a_run_is_counted_as_it_is_walked(batches: int, accumulate: int, epochs: int, max_steps: int) -> None:
    """The oracle makes the run micro-batch by micro-batch."""
    length = Length(batches, accumulate, epochs, max_steps)
    windows: list[int] = []
    left = []  # (epoch, batch, steps made) whenever a step was made
    for epoch in range(epochs):
        open_window = 0
        for batch in range(batches):
            if len(windows) == max_steps:
                break
            open_window += 1
            if (batch + 1) % accumulate == 0 or batch + 1 == batches:
                windows.append(open_window)
                assert length.window(batch) == open_window
                open_window = 0
                left.append((epoch, batch + 1, len(windows)) if batch + 1 < batches else (epoch + 1, 0, len(windows)))
    assert length.steps == len(windows)
    assert length.micro_batches == sum(windows)
    assert [length.steps_left(*position) for position in left] == list(range(len(windows)))[::-1]


def test_a_step_that_a_resume_begins_in_its_middle_has_fewer() -> None:
    assert [Length(7, 3, 1).window(batch, first=4) for batch in (4, 5, 6)] == [2, 2, 1]


def rates(run: Path, figure: str = "lr") -> list[float]:
    """The learning rate after every step, or another figure of its row."""
    with open(run / "metrics.csv", newline="") as file:
        return [float(row[figure]) for row in csv.DictReader(file) if row["Train/Loss"]]


def forget(run: Path, step: int) -> None:
    """Delete the checkpoints after a step."""
    for path in store.by_age(run / "checkpoints"):
        if int(path.name[5:14]) > step:
            path.unlink()


LIMITS = [
    (["--trainer.limit_train_batches=5", "--trainer.max_epochs=4"], 20, {"epoch": 4, "samples": 0, "micro_batch": 20}),
    (["--trainer.limit_train_batches=5", "--trainer.accumulate_grad_batches=3", "--trainer.max_epochs=4"], 8,
     {"epoch": 4, "samples": 0, "micro_batch": 20}),
    (["--trainer.limit_train_batches=7", "--data.repeats=2", "--trainer.max_epochs=2", "--trainer.max_steps=9"], 9,
     {"epoch": 1, "samples": 8, "micro_batch": 9}),
]  # fmt: skip


@pytest.mark.parametrize(("words", "steps", "position"), LIMITS)
def test_a_limit_ends_epochs_and_a_resume_ends_the_same_run(
    squares: Path, tmp_path: Path, words: list[str], steps: int, position: dict[str, int]
) -> None:
    run, words = tmp_path / "run", [*words, *SGD, "--saving.every_steps=1", "--saving.keep=99"]
    assert command.train(squares, run, *words) == 0
    last = store.load(run)
    assert last["global_step"] == steps
    assert last["besnet"]["position"] == position | {"looped": 0}
    assert rates(run)[-1] == pytest.approx(0, abs=1e-9)
    whole, figures = command.weights_hash(run), (run / "metrics.csv").read_text()
    forget(run, 7)
    assert command.train(squares, run, *words) == 0
    assert command.weights_hash(run) == whole
    assert (run / "metrics.csv").read_text() == figures


def test_a_step_of_too_few_micro_batches_is_that_of_one_big_batch(squares: Path, tmp_path: Path) -> None:
    """24 clips in six micro-batches, where twelve were asked for, and in one; nothing but rounding may differ."""
    same = [*SGD, "--model.dilations=[1]", "--model.dropout=0", "--model.frozen_bn=true", "--recipe.lr_batch=24"]
    assert command.train(squares, tmp_path / "six", *same, "--trainer.accumulate_grad_batches=12") == 0
    assert command.train(squares, tmp_path / "one", *same, "--data.batch_size=24") == 0
    for figure in ("lr", "Train/Loss", "Train/Prec@1"):
        assert rates(tmp_path / "six", figure) == pytest.approx(rates(tmp_path / "one", figure), rel=1e-5)
    six, one = (store.load(tmp_path / name) for name in ("six", "one"))
    assert six["global_step"] == one["global_step"] == 3
    for name, weight in one["state_dict"].items():
        torch.testing.assert_close(six["state_dict"][name], weight, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("words", "steps_left"),
    [
        (["--trainer.limit_train_batches=4"], 2 + 4 * 4),
        (
            ["--trainer.limit_train_batches=4", "--data.batch_size=2"],
            4 * 4,
        ),
        (["--trainer.limit_train_batches=4", "--trainer.accumulate_grad_batches=4"], 1 + 4),
        (["--trainer.max_steps=16"], 8),
    ],
)
def test_after_an_accepted_change_the_schedule_ends_with_the_run(
    squares: Path, tmp_path: Path, words: list[str], steps_left: int
) -> None:
    run, usual = tmp_path / "run", [*SGD, "--saving.every_steps=1", "--saving.keep=99", "--trainer.max_epochs=6"]
    assert command.train(squares, run, *usual) == 0
    forget(run, 8)
    assert command.train(squares, run, *usual, *words, ACCEPT) == 0
    last = store.load(run)
    assert last["global_step"] == 8 + steps_left
    made = rates(run)[8:]
    assert len(made) == steps_left
    assert made == sorted(made, reverse=True)
    assert made[-1] == pytest.approx(0, abs=1e-9)
