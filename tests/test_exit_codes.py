"""Failures end a run soon, with one line and a documented code, and leave the last good checkpoint."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import torch

from besnet import cli
from besnet.checkpoints import store
from besnet.ranges import RANGES, Range
from besnet.training import exit_codes
from tests import command

# no machine has the memory for it; an evaluation of it would be refused at once, so that takes other squares
HUGE = ["--data.crop_size=8192", "--data.clip.num_frames=1024", "--evaluation.crop_size=32"]
LONG = ["--trainer.max_epochs=500", "--saving.every_steps=2"]


@pytest.fixture
def any_lr(monkeypatch: pytest.MonkeyPatch) -> None:
    """Learning rates that break a network at the first step, where none in range would."""
    monkeypatch.setitem(RANGES["recipe"], "lr", Range(0, 1e40))


@pytest.mark.usefixtures("any_lr")
def test_a_loss_that_is_not_finite_stops_before_it_is_learned_from(
    squares: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--recipe.optimizer=sgd", "--recipe.lr=1e25", "--saving.every_steps=1"]
    assert command.train(squares, tmp_path, *words) == exit_codes.NOT_FINITE
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("besnet:")]
    assert len(lines) == 1
    assert "the loss is not finite at step" in lines[0]
    assert "learning rate 9.92e+24" in lines[0]
    assert lines[0].count(".mp4") == 4, "the videos of the batch are named"
    kept = store.load(tmp_path)
    assert kept["global_step"] >= 1
    assert all(weight.isfinite().all() for weight in kept["state_dict"].values())


@pytest.mark.usefixtures("any_lr")
def test_weights_that_are_not_finite_are_never_saved(
    squares: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--recipe.lr=1e39", "--saving.every_steps=1"]
    assert command.train(squares, tmp_path, *words) == exit_codes.NOT_FINITE
    assert "weights or moments are not finite after step 1" in capsys.readouterr().err
    assert store.newest(tmp_path / "checkpoints") == (None, [])


def test_two_ranks_stop_together_and_the_one_that_knows_names_the_videos(squares: Path, tmp_path: Path) -> None:
    words = ["--recipe.optimizer=sgd", "--recipe.lr=10000", "--recipe.weight_decay=10", "--data.batch_size=2",
             "--trainer.devices=2", "--trainer.strategy=ddp"]  # fmt: skip
    process = command.start("train", *command.train_words(squares, tmp_path, *words), ranks=2)
    _, err = process.communicate(timeout=command.LIMIT_SEC)
    assert process.returncode != 0
    assert "the loss is not finite at step" in err
    assert ".mp4" in err
    assert store.newest(tmp_path / "checkpoints")[0] is None


def test_out_of_memory_names_what_to_lower(squares: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.train(squares, tmp_path, *HUGE) == exit_codes.OUT_OF_MEMORY
    err = capsys.readouterr().err
    assert "out of memory with data.batch_size 4, data.clip.num_frames 1024, data.crop_size 8192: lower" in err


def test_a_dead_loader_worker_ends_the_run(squares: Path, tmp_path: Path) -> None:
    process = command.start("train", *command.train_words(squares, tmp_path, *LONG, "--data.workers=2"))
    command.wait_for_step(tmp_path, 2)
    worker = command.loader_workers(process.pid, 2)[1]
    worker.kill()
    _, err = process.communicate(timeout=command.LIMIT_SEC)
    assert process.returncode == exit_codes.WORKER_DIED, err
    assert re.search(rf"besnet: rank 0: (loader worker (with process id {worker.pid} )?|a loader worker )died", err)
    assert command.gone(worker)


def test_a_worker_that_dies_with_a_batch_in_its_hands_is_a_dead_worker() -> None:
    """Its tensors are fetched from it when they are wanted; it is no file of the user's that is not there."""
    context = torch.multiprocessing.get_context("spawn")
    queue = context.Queue()
    worker = context.Process(target=queue.put, args=(torch.ones(3),))
    worker.start()
    worker.join()
    with pytest.raises((OSError, EOFError)) as failed:
        queue.get(timeout=command.LIMIT_SEC)
    failure = exit_codes.explain(failed.value, "")
    assert isinstance(failure, exit_codes.RunExit)
    assert failure.code == exit_codes.WORKER_DIED
    assert exit_codes.explain(OSError(28, "No space left on device"), "").args[0] == 28


def test_a_worker_and_a_disk_that_hang_are_noticed_by_the_watchdog(squares: Path, tmp_path: Path) -> None:
    """Two trainings at once, because both wait for the watchdog."""
    slow_disk, slow_worker = tmp_path / "disk", tmp_path / "worker"
    bound = "--saving.watchdog_minutes=0.4"
    hangs = (
        "import os, sys, time; from besnet.checkpoints import store; from besnet import cli\n"
        "good = os.fsync\n"
        "os.fsync = lambda handle: time.sleep(1000) if store.by_age(store.Path(sys.argv[1])) else good(handle)\n"
        "cli.main(['train', *sys.argv[2:]])"
    )
    words = command.train_words(squares, slow_disk, *LONG, bound, "--saving.every_steps=2")
    command_line = [sys.executable, "-W", "ignore", "-c", hangs, str(slow_disk / "checkpoints"), *words]
    pipe = subprocess.PIPE
    with subprocess.Popen(command_line, text=True, stdout=pipe, stderr=pipe) as of_disk:
        of_worker = command.start("train", *command.train_words(squares, slow_worker, *LONG, "--data.workers=1", bound))
        command.wait_for_step(slow_worker, 2)
        worker = command.loader_workers(of_worker.pid, 1)[0]
        worker.send_signal(signal.SIGSTOP)
        _, err = of_worker.communicate(timeout=command.LIMIT_SEC)
        _, disk_err = of_disk.communicate(timeout=command.LIMIT_SEC)
    assert of_worker.returncode == exit_codes.HUNG
    assert re.search(r"besnet: rank 0: no progress for [\d.]+ minutes \(saving.watchdog_minutes\)", err), err
    assert "in the phase 'waiting for data'" in err
    assert "_try_get_data" in err, "the stack shows where"
    assert command.gone(worker)
    assert store.load(slow_worker)["global_step"] >= 2
    assert of_disk.returncode == exit_codes.HUNG, disk_err
    assert "in the phase 'saving'" in disk_err
    assert store.load(slow_disk)["global_step"] == 2, "the checkpoint before is whole"


@pytest.mark.slow
def test_a_rank_that_hangs_is_noticed_by_the_others(squares: Path, tmp_path: Path) -> None:
    words = ["--data.batch_size=2", "--trainer.devices=2", "--trainer.strategy=ddp", "--saving.watchdog_minutes=0.5"]
    process = command.start("train", *command.train_words(squares, tmp_path, *LONG, *words), ranks=2)
    command.wait_for_step(tmp_path, 2)
    ranks = psutil.Process(process.pid).children()
    second = next(rank for rank in ranks if rank.environ()["RANK"] == "1")
    second.send_signal(signal.SIGSTOP)
    _, err = process.communicate(timeout=command.LIMIT_SEC)
    assert process.returncode != 0
    assert "besnet: rank 0: no progress" in err
    assert all(map(command.gone, ranks))


@pytest.mark.parametrize(
    "number",
    [signal.SIGINT, *(pytest.param(other, marks=pytest.mark.slow) for other in (signal.SIGTERM, signal.SIGUSR1))],
)
def test_a_signal_to_the_whole_group_still_saves(squares: Path, tmp_path: Path, number: signal.Signals) -> None:
    words = command.train_words(squares, tmp_path, "--trainer.max_epochs=500", "--data.workers=2")
    process = command.start("train", *words, own_group=True)
    command.loader_workers(process.pid, 2)
    command.wait_for_step(tmp_path, 2)
    os.killpg(process.pid, number)
    _, err = process.communicate(timeout=command.LIMIT_SEC)
    assert process.returncode == exit_codes.STOPPED, err
    assert store.load(tmp_path)["global_step"] >= 2


def test_a_killed_launcher_leaves_no_process_behind(squares: Path, tmp_path: Path) -> None:
    words = ["--data.batch_size=2", "--trainer.devices=2", "--trainer.strategy=ddp", "--data.workers=1"]
    process = command.start("train", *command.train_words(squares, tmp_path, *LONG, *words), ranks=2)
    command.wait_for_step(tmp_path, 2)
    family = psutil.Process(process.pid).children(recursive=True)
    assert len(family) >= 6, "ranks, fork servers and workers"
    process.kill()
    process.communicate(timeout=command.LIMIT_SEC)
    psutil.wait_procs(family, timeout=command.LIMIT_SEC)
    assert all(map(command.gone, family))


def test_what_a_worker_says_is_one_line(squares: Path) -> None:
    message = (
        "Caught ValueError in DataLoader worker process 3.\nOriginal Traceback:\n  File x\nValueError: a.mp4: cut\n"
    )
    error = exit_codes.explain(ValueError(message), "")
    assert type(error) is ValueError
    assert cli.one_line(error) == "loader worker 3: a.mp4: cut"


def test_other_errors_stay_as_they_are() -> None:
    bug = RuntimeError("mat1 and mat2 shapes cannot be multiplied")
    assert exit_codes.explain(bug, "") is bug
