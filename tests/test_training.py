"""Training runs: exact, resumable, the same whatever the workers; and they do learn."""

import copy
import os
import signal
import time
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from besnet.checkpoints import store
from besnet.checkpoints.header import rebuild
from besnet.data.crop import RandomCrop
from besnet.data.failures import FailureLog
from besnet.training.data import VideoData
from besnet.training.exit_codes import STOPPED
from besnet.training.recipe import Recipe
from besnet.training.task import ActionTraining
from besnet.video.sampling import ClipShape
from tests import command


@pytest.fixture(scope="module")
def undisturbed(squares: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of 3 epochs of 6 steps, saved every 2 steps."""
    run = tmp_path_factory.mktemp("runs") / "undisturbed"
    assert command.train(squares, run, "--saving.every_steps=2") == 0
    return run


def test_a_run_folder_holds_what_is_needed_to_trust_it(undisturbed: Path, squares: Path) -> None:
    names = {path.name for path in undisturbed.iterdir()}
    assert {"config.yaml", "run.json", "metrics.csv", "checkpoints", "tensorboard"} <= names
    checkpoint = store.load(undisturbed)
    assert checkpoint["global_step"] == 18
    trained = rebuild(checkpoint)
    assert trained.classes == ["down", "left", "right", "up"]
    assert trained.config["recipe"]["lr"] == 0.005
    assert len(trained.passport["source"]) >= 16
    assert len((undisturbed / "metrics.csv").read_text().splitlines()) == 1 + 18


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize("workers", [1, 3])
def test_the_same_seed_gives_the_same_weights_with_any_workers(
    squares: Path, tmp_path: Path, undisturbed: Path, workers: int
) -> None:
    command.train(squares, tmp_path / "run", f"--data.workers={workers}")
    assert command.weights_hash(tmp_path / "run") == command.weights_hash(undisturbed)


def test_another_seed_gives_other_weights(squares: Path, tmp_path: Path, undisturbed: Path) -> None:
    command.train(squares, tmp_path / "run", "--seed=1")
    assert command.weights_hash(tmp_path / "run") != command.weights_hash(undisturbed)


def test_killed_in_mid_epoch_and_resumed_it_is_the_undisturbed_run(
    squares: Path, tmp_path: Path, undisturbed: Path
) -> None:
    words = command.train_words(squares, tmp_path / "run", "--saving.every_steps=2")
    process = command.start("train", *words, "--data.workers=1")
    folder = tmp_path / "run" / "checkpoints"
    deadline_sec = time.monotonic() + command.LIMIT_SEC
    while not any(path.name >= "step_000000008" for path in folder.glob("step_*")):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline_sec
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=command.LIMIT_SEC)  # the pipes close only once its workers have ended too
    found, _ = store.newest(folder)
    assert found is not None
    assert store.load(found)["besnet"]["position"]["samples"] % 24, "the checkpoint lies inside an epoch"
    assert command.train(squares, tmp_path / "run", "--saving.every_steps=2") == 0
    assert command.weights_hash(tmp_path / "run") == command.weights_hash(undisturbed)
    assert (tmp_path / "run" / "metrics.csv").read_text() == (undisturbed / "metrics.csv").read_text()


@pytest.mark.parametrize("step", [2, 6, 8, 12])
def test_resumed_from_any_checkpoint_it_is_the_undisturbed_run(
    squares: Path, tmp_path: Path, undisturbed: Path, step: int
) -> None:
    run = tmp_path / "run"
    assert command.train(squares, run, "--saving.every_steps=2", "--saving.keep=100") == 0
    for path in store.by_age(run / "checkpoints"):
        if int(path.name[5:14]) > step:
            path.unlink()
    assert command.train(squares, run, "--saving.every_steps=2") == 0
    assert command.weights_hash(run) == command.weights_hash(undisturbed)


@pytest.mark.parametrize("words", [[], ["--trainer.limit_train_batches=3", "--trainer.max_epochs=6"]])
def test_resumed_again_and_again_at_the_ends_of_epochs(
    squares: Path, tmp_path: Path, undisturbed: Path, words: list[str]
) -> None:
    run = tmp_path / "run"
    words = ["--saving.every_steps=6", "--saving.keep=100", *words]
    for last in (18, 6, 12):
        for path in store.by_age(run / "checkpoints"):
            if int(path.name[5:14]) > last:
                path.unlink()
        assert command.train(squares, run, *words) == 0
        assert store.load(run)["global_step"] == 18
        if len(words) == 2:
            assert command.weights_hash(run) == command.weights_hash(undisturbed)


def test_figures_of_a_cut_row_are_written_anew(squares: Path, tmp_path: Path, undisturbed: Path) -> None:
    """A kill can cut the last row of metrics.csv: it is dropped, and the resumed table is as the undisturbed one."""
    run = tmp_path / "run"
    assert command.train(squares, run, "--saving.every_steps=2", "--saving.keep=100") == 0
    for path in store.by_age(run / "checkpoints"):
        if int(path.name[5:14]) > 8:
            path.unlink()
    table = run / "metrics.csv"
    lines = table.read_text().splitlines(keepends=True)
    table.write_text("".join(lines[:10]) + lines[10][:9])
    assert command.train(squares, run, "--saving.every_steps=2") == 0
    assert table.read_text() == (undisturbed / "metrics.csv").read_text()


def test_a_finished_run_stays_as_it_is(squares: Path, undisturbed: Path) -> None:
    before = command.weights_hash(undisturbed)
    assert command.train(squares, undisturbed, "--saving.every_steps=2") == 0
    assert command.weights_hash(undisturbed) == before


def test_sigterm_saves_and_the_same_command_goes_on(squares: Path, tmp_path: Path, undisturbed: Path) -> None:
    run = tmp_path / "run"
    process = command.start("train", *command.train_words(squares, run))
    deadline_sec = time.monotonic() + command.LIMIT_SEC
    while not (run / "metrics.csv").exists() or len((run / "metrics.csv").read_text().splitlines()) < 4:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline_sec
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=command.LIMIT_SEC)
    assert process.returncode == STOPPED, err
    assert "after a signal; the same command resumes it" in out
    assert 2 < store.load(run)["global_step"] < 18
    command.train(squares, run)
    assert command.weights_hash(run) == command.weights_hash(undisturbed)


CHECKED = ("--data.val_videos=4", "--data.val_split=test")


def test_a_signal_after_the_last_step_does_not_cost_the_network(
    squares: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = ActionTraining.on_validation_epoch_start

    def signalled(self: ActionTraining) -> None:
        start(self)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(ActionTraining, "on_validation_epoch_start", signalled)
    assert command.train(squares, tmp_path / "run", "--trainer.max_epochs=1", *CHECKED) == 0, "it is finished"
    assert store.load(tmp_path / "run")["global_step"] == 6


def test_a_stop_saves_and_leaves_the_validation_to_the_next_start(
    squares: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert command.train(squares, tmp_path / "whole", *CHECKED) == 0
    run, checks = tmp_path / "run", []
    step = ActionTraining.training_step

    def signalled(self: ActionTraining, *arguments: Any) -> Any:
        if self.trainer.global_step in (2, 10):  # inside the first epoch; obeyed at the last step of the second
            os.kill(os.getpid(), signal.SIGUSR1)
        return step(self, *arguments)

    start = ActionTraining.on_validation_epoch_start

    def counted(self: ActionTraining) -> None:
        checks.append(self.trainer.global_step)
        start(self)

    monkeypatch.setattr(ActionTraining, "training_step", signalled)
    monkeypatch.setattr(ActionTraining, "on_validation_epoch_start", counted)
    assert command.train(squares, run, *CHECKED) == STOPPED
    assert not checks, "who asks a run to stop does not wait for a validation"
    assert command.train(squares, run, *CHECKED) == STOPPED
    assert checks == [6]
    assert command.train(squares, run, *CHECKED) == 0
    assert checks == [6, 12, 18]
    assert (run / "metrics.csv").read_text() == (tmp_path / "whole" / "metrics.csv").read_text()
    assert command.weights_hash(run) == command.weights_hash(tmp_path / "whole")


@pytest.mark.parametrize("epochs", [2, 3])
def test_a_kill_between_an_epoch_s_last_save_and_its_validation(squares: Path, tmp_path: Path, epochs: int) -> None:
    run, words = tmp_path / "run", [*CHECKED, "--saving.every_steps=6", "--saving.keep=9"]
    assert command.train(squares, run, *words) == 0
    whole, table = (run / "metrics.csv").read_text(), run / "metrics.csv"
    for path in store.by_age(run / "checkpoints")[: 3 - epochs]:
        path.unlink()
    lines = whole.splitlines(keepends=True)
    table.write_text("".join(lines[: 7 * epochs]))  # all but the last validation's row
    assert command.train(squares, run, *words) == 0
    assert table.read_text() == whole


def test_what_the_clock_asks_for_is_saved_once(squares: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ranks' answer is a step late: meanwhile the same wish has been sent again."""
    saved, now = [], iter(range(10**6))
    save = store.save

    def noted(checkpoint: dict[str, Any], folder: Path, step: int) -> Path:
        saved.append(step)
        return save(checkpoint, folder, step)

    monkeypatch.setattr(store, "save", noted)
    monkeypatch.setattr("besnet.training.saving.time", SimpleNamespace(monotonic=lambda: float(next(now))))
    assert command.train(squares, tmp_path / "run", "--saving.every_minutes=0.1") == 0
    assert len(saved) > 2
    assert all(later - earlier > 1 for earlier, later in pairwise(saved[:-1])), saved


def test_fewer_validation_videos_than_ranks_are_refused(squares: Path, tmp_path: Path) -> None:
    data = VideoData(squares, ClipShape(num_frames=4), RandomCrop(), val_videos=1, val_split="test")
    data.arrange(0, 0, 1, FailureLog(tmp_path, 0, 24))
    with pytest.raises(ValueError, match="1 validation videos for 2 ranks"):
        data.arrange(0, 0, 2, FailureLog(tmp_path, 0, 24))


def test_gradient_accumulation_resumes_exactly(squares: Path, tmp_path: Path) -> None:
    words = ["--trainer.accumulate_grad_batches=2", "--data.batch_size=2", "--saving.every_steps=1", "--saving.keep=99"]
    run = tmp_path / "run"
    command.train(squares, run, *words)
    whole = command.weights_hash(run)
    assert store.load(run)["global_step"] == 18
    for path in store.by_age(run / "checkpoints")[:10]:
        path.unlink()
    command.train(squares, run, *words)
    assert command.weights_hash(run) == whole


def test_two_ranks_train_and_agree(squares: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = ["--data.batch_size=2", "--trainer.devices=2", "--trainer.strategy=ddp", "--data.val_videos=5",
             "--data.val_split=test"]  # fmt: skip
    process = command.start("train", *command.train_words(squares, run, *words), ranks=2)
    out, err = process.communicate(timeout=command.LIMIT_SEC)
    assert process.returncode == 0, err
    assert "2 ranks x 2 clips" in out
    checkpoint = store.load(run)
    assert checkpoint["global_step"] == 18
    assert checkpoint["besnet"]["position"] == {"epoch": 3, "samples": 0, "micro_batch": 18, "looped": 0}


def test_a_tiny_set_is_learned_by_heart(squares: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    command.train(squares, run, "--trainer.max_epochs=40", "--model.dropout=0", "--data.crop.short_side=[1.0,1.0]")
    assert cli_evaluate(run, "train") == 1.0


def cli_evaluate(run: Path, split: str) -> float:
    """Top-1 of a run on a split."""
    import json

    from besnet import cli

    cli.run(
        "evaluate",
        [
            f"--ckpt_path={run}",
            f"--split={split}",
            "--workers=0",
            "--allow_training_videos=true",
            f"--out={run / 'result'}",
        ],
    )
    top1: float = json.loads((run / "result" / "results.json").read_text())["accuracy"]["over_evaluated"]["top1"]
    return top1


def test_the_schedule_warms_up_and_ends_where_it_should() -> None:
    factor = Recipe(warmup_epochs=2, final_lr=0.1).schedule(steps_per_epoch=10, steps=120)
    assert factor(0) == pytest.approx(0.01)
    assert factor(20) == pytest.approx(1.0)
    assert factor(70) == pytest.approx(0.55)
    assert factor(120) == pytest.approx(0.1)
    rising = [factor(step) for step in range(21)]
    falling = [factor(step) for step in range(20, 121)]
    assert rising == sorted(rising)
    assert falling == sorted(falling, reverse=True)


def test_biases_and_norms_do_not_decay() -> None:
    network = torch.nn.Sequential(torch.nn.Conv3d(3, 4, 1), torch.nn.BatchNorm3d(4))
    decaying, others = Recipe(weight_decay=0.1).build_optimizer(network).param_groups
    assert [weight.ndim for weight in decaying["params"]] == [5]
    assert decaying["weight_decay"] == 0.1
    assert len(others["params"]) == 3
    assert others["weight_decay"] == 0


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_the_fused_update_is_the_one_by_one_one(optimizer: Any) -> None:
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(5, 7), torch.nn.BatchNorm1d(7), torch.nn.Linear(7, 3))
    twin = copy.deepcopy(network)
    recipe = Recipe(optimizer=optimizer, lr=0.001, weight_decay=0.05)
    fused, plain = (recipe.build_optimizer(one) for one in (network, twin))
    assert all(group["fused"] for group in fused.param_groups)
    for group in plain.param_groups:
        group.update(fused=False, foreach=False)
    for _ in range(5):
        x = torch.randn(16, 5)
        for one, optimiser in ((network, fused), (twin, plain)):
            optimiser.zero_grad()
            one(x).square().mean().backward()
            optimiser.step()
    for own, other in zip(network.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(own, other, rtol=1e-5, atol=1e-6)
