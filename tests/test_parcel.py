"""What goes wrong beside the main loop ends a run within seconds, with a line and a documented code."""

import errno
import os
import resource
import shlex
import subprocess
import sys
from collections.abc import Iterator
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader

from besnet import cli
from besnet.cli import commands
from besnet.data import parcel
from besnet.data.clips import ClipDraw, TrainingClips, collate
from besnet.data.crop import RandomCrop
from besnet.data.loading import loader_settings
from besnet.data.manifest import Manifest
from besnet.data.parcel import Parcel, unpacked
from besnet.training import machine_checks
from besnet.training.exit_codes import HUNG, OUT_OF_MEMORY, WORKER_DIED, RunExit, explain
from besnet.video.sampling import ClipShape
from besnet.watchdog import Watchdog
from tests import command

CPU = torch.device("cpu")


def clips_of(squares: Path) -> TrainingClips:
    manifest = Manifest.load(squares)
    shape = ClipShape(num_frames=2, frame_interval=2)
    return TrainingClips(manifest, manifest.select("train"), ClipDraw(shape, RandomCrop(short_side=(1.0, 1.5))), seed=5)


def test_a_parcel_is_what_was_packed_in_one_descriptor(squares: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clips = clips_of(squares)
    batch = collate([clips[0, row, 0] for row in range(24)])
    sent: list[int] = []
    monkeypatch.setattr("multiprocessing.reduction.DupFd", lambda fd: sent.append(fd) or fd)
    packed = Parcel(batch)
    ForkingPickler.dumps(packed)
    assert len(sent) == 1
    found = unpacked(packed.content, packed.block)
    assert isinstance(found, type(batch))
    assert (found.rows, found.flips, found.failures, found.changes) == (
        batch.rows, batch.flips, batch.failures, batch.changes
    )  # fmt: skip
    assert torch.equal(found.labels, batch.labels)
    assert len({frames.shape for frames in batch.frames}) > 1, "the clips are ragged"
    assert all(torch.equal(one, other) for one, other in zip(found.frames, batch.frames, strict=True))


@pytest.fixture
def few_files() -> Iterator[None]:
    """Room for forty more files than are open."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(map(int, os.listdir("/proc/self/fd")))
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 40, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_batch_of_many_clips_needs_few_files(squares: Path, few_files: None) -> None:
    keys = [[(0, row, repeat) for repeat in range(10) for row in range(24)]] * 3
    loader = DataLoader(clips_of(squares), batch_sampler=keys, **loader_settings(1, CPU, collate))
    assert [len(batch.frames) for batch in loader] == [240] * 3


def test_memory_that_is_not_there_is_said_where_it_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(parcel.os, "posix_fallocate", full)
    with pytest.raises(RuntimeError, match=r"no shared memory for a batch of 8\.0 MB"):
        Parcel(torch.zeros(10**6, dtype=torch.int64))


@pytest.mark.parametrize("verb", ["train", "evaluate"])
def test_a_small_shared_memory_ends_the_run_with_a_line(squares: Path, tmp_path: Path, verb: str) -> None:
    """2 MB of /dev/shm in a mount namespace of its own; a batch has 4 x 64 x 56 x 56 x 3 bytes and more."""
    if subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode:
        pytest.skip("mounting takes rights that this user has not")
    big = ["--data.clip.num_frames=200", "--data.workers=1"]
    if verb == "train":
        words = command.train_words(squares, tmp_path, *big)
    else:
        assert command.train(squares, tmp_path, "--trainer.max_epochs=1") == 0
        words = [f"--ckpt_path={tmp_path}", "--num_clips=200", "--workers=1"]
    besnet = shlex.join([sys.executable, "-W", "ignore", "-m", "besnet", verb, *words])
    inside = f"mount -t tmpfs -o size=1m tmpfs /dev/shm && exec {besnet}"
    process = subprocess.run(
        ["unshare", "-m", "sh", "-c", inside], text=True, capture_output=True, timeout=command.LIMIT_SEC
    )
    assert process.returncode == OUT_OF_MEMORY, process.stderr
    assert "no shared memory" in process.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (RuntimeError("Pin memory thread exited unexpectedly"), WORKER_DIED),
        (RuntimeError("DataLoader worker (pid(s) 5) exited unexpectedly"), WORKER_DIED),
        (RuntimeError("DataLoader worker (pid 5) is killed by signal: Bus error. Out of shared memory"), OUT_OF_MEMORY),
        (RuntimeError("Too many open files. Communication with the workers is no longer possible."), None),
        (OSError(errno.EMFILE, "Too many open files"), None),
    ],
)
def test_what_the_loader_s_threads_say_has_a_line(error: Exception, kind: int | None) -> None:
    failure = explain(error, "")
    assert isinstance(failure, RunExit if kind else ValueError)
    assert getattr(failure, "code", None) == kind
    if kind is None:
        assert "ulimit -n" in str(failure)


def test_a_batch_that_cannot_be_sent_ends_its_worker() -> None:
    """In a process of its own: the queue's thread pickles what cannot be pickled."""
    script = (
        "import os, threading\n"
        "from multiprocessing import Queue\n"
        "from besnet.supervision import EndWithReader\n"
        "EndWithReader(os.getppid())(0)\n"
        "queue = Queue()\n"
        "queue.put(threading.Lock())\n"
        "threading.Event().wait()\n"
    )
    worker = subprocess.run([sys.executable, "-c", script], text=True, capture_output=True, timeout=command.LIMIT_SEC)
    assert worker.returncode == 1
    assert "a batch could not be sent: cannot pickle" in worker.stderr


def test_open_files_are_counted() -> None:
    needs = machine_checks.Needs(Path(), workers=12, batch_bytes=1, parameters=1, checkpoints=1, local_ranks=8, nodes=1)
    assert not machine_checks.open_files(needs, 1024).fix
    assert "ulimit -n" in machine_checks.open_files(needs, 256).fix
    assert any(finding.name == "open files" for finding in machine_checks.machine(needs))


def test_a_start_is_no_stand_still() -> None:
    """The bound of a step holds once one has been made."""
    ended: list[str] = []
    moving = False
    dog = Watchdog(0, 0.01, lambda: ("starting", 0.0), lambda: moving)
    dog._end = lambda phase, idle_sec: (ended.append(phase), dog.over.set())  # type: ignore[method-assign,assignment]
    dog.where = lambda: ("starting", __import__("time").monotonic() - 60)
    dog.start()
    assert not dog.over.wait(0.3)
    moving = True
    assert dog.over.wait(120)
    dog.stop()
    assert ended == ["starting"]


def test_an_evaluation_that_stands_still_is_ended(squares: Path, tmp_path: Path) -> None:
    assert command.train(squares, tmp_path, "--trainer.max_epochs=1") == 0
    hangs = (
        "import sys, time; from besnet.data.evaluation_clips import EvaluationClips; from besnet import cli\n"
        "good = EvaluationClips.__getitem__\n"
        "EvaluationClips.__getitem__ = lambda self, n: time.sleep(1000) if n == 4 else good(self, n)\n"
        "sys.exit(cli.run('evaluate', sys.argv[1:]))"
    )
    words = [f"--ckpt_path={tmp_path}", "--workers=0", "--watchdog_minutes=0.05"]
    process = subprocess.run([sys.executable, "-W", "ignore", "-c", hangs, *words], text=True, capture_output=True)
    assert process.returncode == HUNG, process.stderr
    assert "in the phase 'evaluation'" in process.stderr
    assert "(--watchdog_minutes)" in process.stderr


def test_a_dead_worker_of_an_evaluation_has_the_documented_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def dies(verb: str, words: list[str]) -> int:
        raise RuntimeError("DataLoader worker (pid(s) 77) exited unexpectedly")

    monkeypatch.setattr(commands, "call", dies)
    assert cli.run("evaluate", []) == WORKER_DIED
    (line,) = capsys.readouterr().err.splitlines()
    assert "loader worker with process id 77 died" in line
