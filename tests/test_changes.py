"""A run goes on under other settings only if asked to, and then where it was."""

from pathlib import Path
from typing import Any

import pytest

from besnet.checkpoints import store
from besnet.data.manifest import Manifest
from besnet.data.order import TrainingOrder
from besnet.training.task import ActionTraining
from tests import command

ACCEPT = "--accept_changes=true"


@pytest.fixture
def stopped(squares: Path, tmp_path: Path) -> Path:
    """A run of 3 epochs of 6 steps that lost everything after step 8, which is inside its second epoch."""
    run = tmp_path / "run"
    command.train(squares, run, "--saving.every_steps=2", "--saving.keep=99")
    for path in store.by_age(run / "checkpoints"):
        if path.name >= "step_000000009":
            path.unlink()
    return run


@pytest.fixture
def trained_on(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The rows that a run in this process learns from, in their order."""
    rows: list[int] = []
    start = ActionTraining.on_train_batch_start

    def record(self: ActionTraining, batch: Any, batch_idx: int) -> None:
        rows.extend(batch.rows)
        start(self, batch, batch_idx)

    monkeypatch.setattr(ActionTraining, "on_train_batch_start", record)
    return rows


def expected(squares: Path, epoch: int, samples: int, batch_size: int) -> list[int]:
    """The rest of an epoch's order, in whole batches."""
    order = TrainingOrder(Manifest.load(squares).select("train"), batch_size, seed=0)
    order.epoch, order.samples = epoch, samples
    return [row for batch in order for _, row, _ in batch]


def test_other_settings_are_refused_with_the_difference(
    squares: Path, stopped: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        command.train(squares, stopped, "--data.batch_size=2")
    assert "data.batch_size: 4 → 2" in capsys.readouterr().err


@pytest.mark.parametrize(("batch_size", "steps"), [(2, 8 + 8 + 12), (3, 8 + 5 + 8), (5, 8 + 3 + 4), (8, 8 + 2 + 3)])
def test_with_another_batch_size_the_order_goes_on_where_it_was(
    squares: Path, stopped: Path, trained_on: list[int], batch_size: int, steps: int
) -> None:
    assert command.train(squares, stopped, f"--data.batch_size={batch_size}", ACCEPT) == 0
    assert trained_on == expected(squares, 1, 8, batch_size) + expected(squares, 2, 0, batch_size)
    last = store.load(stopped)
    assert last["global_step"] == steps
    assert last["besnet"]["position"] == {"epoch": 3, "samples": 0, "micro_batch": steps, "looped": 0}
    assert last["lr_schedulers"][0]["_last_lr"] == pytest.approx([0, 0], abs=1e-9), "the schedule ends with the run"


def test_when_no_larger_batch_is_left_the_next_epoch_begins(
    squares: Path, stopped: Path, trained_on: list[int]
) -> None:
    assert command.train(squares, stopped, "--data.batch_size=20", ACCEPT) == 0
    assert trained_on == expected(squares, 2, 0, 20)
    assert store.load(stopped)["global_step"] == 9


def test_two_ranks_go_on_where_one_was(squares: Path, stopped: Path) -> None:
    words = ["--trainer.devices=2", "--trainer.strategy=ddp"]
    process = command.start("train", *command.train_words(squares, stopped, *words, ACCEPT), ranks=2)
    out, err = process.communicate(timeout=command.LIMIT_SEC)
    assert process.returncode == 0, err
    assert "accepted: world_size: 1 → 2" in out
    last = store.load(stopped)
    assert last["global_step"] == 8 + 2 + 3
    assert last["besnet"]["position"]["epoch"] == 3


def test_a_finished_run_can_be_given_more_epochs(squares: Path, stopped: Path, trained_on: list[int]) -> None:
    assert command.train(squares, stopped) == 0
    trained_on.clear()
    assert command.train(squares, stopped, "--trainer.max_epochs=4", ACCEPT) == 0
    assert trained_on == expected(squares, 3, 0, 4)
    assert store.load(stopped)["global_step"] == 24


def test_an_accepted_recipe_is_obeyed(squares: Path, stopped: Path) -> None:
    words = ["--recipe.lr=0.001", "--recipe.final_lr=1", "--recipe.weight_decay=0.5", ACCEPT]
    assert command.train(squares, stopped, *words) == 0
    groups = store.load(stopped)["optimizer_states"][0]["param_groups"]
    assert [group["lr"] for group in groups] == pytest.approx([0.001, 0.001])
    assert [group["weight_decay"] for group in groups] == [0.5, 0]


def test_weights_that_would_not_fit_are_refused_whatever_is_accepted(
    squares: Path, stopped: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        command.train(squares, stopped, "--model.width=16", ACCEPT)
    assert "do not fit the new settings (model.width: 8 → 16)" in capsys.readouterr().err


def test_what_does_not_matter_needs_no_leave(squares: Path, stopped: Path) -> None:
    assert command.train(squares, stopped, "--saving.keep=5", "--saving.watchdog_minutes=9") == 0
    assert store.load(stopped)["global_step"] == 18
