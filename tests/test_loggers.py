"""Weights & Biases and MLflow: each step once, none beyond the checkpoint, and no training that waits for them."""

import importlib.util
import io
import json
import signal
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from besnet.checkpoints import store
from besnet.training import figure_sender, remote_logs
from besnet.training.figure_sender import Sender, last_sent, steps_of
from tests import command

VALIDATED = ["--data.val_videos=9", "--data.val_split=test", "--saving.every_steps=2", "--saving.keep=100"]


class Fake:
    """A remote run that takes, refuses, or dies in the middle of a step."""

    there: dict[int, dict[str, float]] = {}  # noqa: RUF012
    faults: list[str] = []  # noqa: RUF012
    opened: list[str] = []  # noqa: RUF012

    def __init__(self, run: Path, known: str) -> None:
        self.id = known or "remote-1"
        self.opened.append(known)

    def connect(self) -> int:
        if self.fault() == "down":
            raise ConnectionError("connection refused")
        return -1

    def send(self, step: int, figures: dict[str, float]) -> None:
        fault = self.fault()
        if fault == "down":
            raise ConnectionError("connection refused")
        if fault == "killed before":
            raise KeyboardInterrupt
        assert step not in self.there, "written twice"
        self.there[step] = figures
        if fault == "killed after":
            raise KeyboardInterrupt

    def finish(self, finished: bool) -> None:
        pass

    def fault(self) -> str:
        return self.faults.pop(0) if self.faults else ""


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> type[Fake]:
    monkeypatch.setitem(figure_sender.KINDS, "wandb", Fake)  # type: ignore[arg-type]
    monkeypatch.setattr(figure_sender, "FIRST_WAIT_SEC", 0.0)
    Fake.there, Fake.faults, Fake.opened = {}, [], []
    return Fake


def table(run: Path, steps: int) -> None:
    """metrics.csv of so many steps, with a validation after every third."""
    lines = ["step,epoch,lr,Train/Loss,Val/Loss"]
    for step in range(1, steps + 1):
        lines.append(f"{step},0,0.1,{1 / step},")
        lines += [f"{step},0,0.1,,{2 / step}"] if step % 3 == 0 else []
    (run / "loggers").mkdir(exist_ok=True)
    (run / "metrics.csv").write_text("\n".join(lines) + "\n")


def test_a_step_is_sent_once_with_its_validation_and_only_before_a_checkpoint(tmp_path: Path, fake: type[Fake]) -> None:
    table(tmp_path, 9)
    sender = Sender(tmp_path, "wandb", io.StringIO())
    for horizon in (0, 4, 4, 7):
        sender.send_before(horizon)
        assert sorted(fake.there) == list(range(1, horizon))
    assert fake.there[3] == {"epoch": 0, "lr": 0.1, "Train/Loss": 1 / 3, "Val/Loss": 2 / 3}
    Sender(tmp_path, "wandb", io.StringIO()).send_before(10)
    assert sorted(fake.there) == list(range(1, 10))
    assert fake.opened == ["", "remote-1"], "a resumed run goes on in the same remote run"


@pytest.mark.parametrize("fault", ["killed before", "killed after"])
def test_a_kill_never_leads_to_a_step_that_is_written_twice(tmp_path: Path, fake: type[Fake], fault: str) -> None:
    table(tmp_path, 9)
    fake.faults = ["", "", "", fault]
    with pytest.raises(KeyboardInterrupt):
        Sender(tmp_path, "wandb", io.StringIO()).send_before(10)
    Sender(tmp_path, "wandb", io.StringIO()).send_before(10)
    assert len(fake.there) >= 8, "a kill costs one step at most"


def test_an_outage_is_said_once_and_made_up_for(tmp_path: Path, fake: type[Fake]) -> None:
    table(tmp_path, 9)
    said = io.StringIO()
    sender = Sender(tmp_path, "wandb", said)
    fake.faults = ["down", "down", "", "", "", "down", "down"]
    for _ in range(5):
        sender.send_before(7)
    assert sorted(fake.there) == list(range(1, 7))
    assert said.getvalue().count("connection refused: the training goes on") == 2, "a line for each of two outages"
    fake.faults = ["down"]
    sender.send_before(9)
    assert last_sent(tmp_path, "wandb") == 6, "what was refused is not taken for sent"


@pytest.fixture
def no_answer() -> Iterator[str]:
    """The address of a server that takes connections and never answers."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(50)
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def test_a_logger_that_hangs_stops_no_training(
    squares: Path, tmp_path: Path, no_answer: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", no_answer)
    monkeypatch.setattr(remote_logs, "CLOSING_SEC", 1.0)
    run = tmp_path / "run"
    assert command.train(squares, run, "--loggers=[mlflow]", "--trainer.max_epochs=1") == 0
    assert store.load(run)["global_step"] == 6
    assert "mlflow: 6 logged steps were not sent" in capfd.readouterr().out
    assert not (run / "tensorboard").exists(), "it is not among the loggers"


def test_a_logger_without_its_package_is_refused_before_the_training(
    squares: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit, match=r"^2$"):
        command.train(squares, tmp_path / "run", "--loggers=[tensorboard,wandb]")
    assert "wandb is not installed: pip install 'besnet[wandb]'" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_tensorboard_shows_each_step_once_after_a_resume(squares: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = [*VALIDATED, "--trainer.max_epochs=2"]
    assert command.train(squares, run, *words) == 0
    for path in store.by_age(run / "checkpoints"):
        if store.step_of(path) > 8:
            path.unlink()
    assert command.train(squares, run, *words) == 0
    events: Any = EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("Train/Loss")] == list(range(12))
    assert [event.step for event in events.Scalars("Val/Loss")] == [5, 11]
    assert [event.step for event in events.Images("Val/hardest videos")] == [5, 11]


def wandb_steps(run: Path) -> list[tuple[int, bool]]:
    """(step, whether it has a validation) of everything in the offline runs, and that all have one id."""
    from wandb.proto import wandb_internal_pb2

    found, ids = [], set()
    for path in sorted((run / "wandb").glob("offline-run-*/*.wandb")):
        for content in blocks(path.read_bytes()):
            record: Any = wandb_internal_pb2.Record()
            record.ParseFromString(content)
            if record.WhichOneof("record_type") == "run":
                ids.add(record.run.run_id)
            if record.WhichOneof("record_type") == "history":
                keys = {
                    "/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.history.item
                }
                assert record.history.step.num == keys["trainer/global_step"]
                found.append((keys["trainer/global_step"], "Val/Loss" in keys))
    assert len(ids) == 1
    return found


def blocks(data: bytes) -> Iterator[bytes]:
    """The records of a file in LevelDB's log format, behind seven bytes of wandb's own."""
    at, whole = 7, b""
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        _, size, kind = struct.unpack("<IHB", data[at : at + 7])
        whole += data[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):  # the whole, or its last part
            yield whole
            whole = b""


def mlflow_steps(run: Path, name: str) -> list[int]:
    """The steps of a metric, from the only run below `mlruns`."""
    [file] = (run / "mlruns").glob(f"*/*/metrics/{name}")
    return [int(line.split()[2]) for line in file.read_text().splitlines()]


@pytest.mark.slow
def test_killed_and_resumed_runs_are_whole_in_both(
    squares: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four kills, each as soon as something new was sent; then to the end."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    run = tmp_path / "run"
    words = command.train_words(squares, run, *VALIDATED, "--loggers=[wandb,mlflow]", "--trainer.max_epochs=4000")
    for _ in range(4):
        before = [last_sent(run, name) for name in remote_logs.REMOTE]
        process = command.start("train", *words, own_group=True)
        until_sec = time.monotonic() + command.LIMIT_SEC
        while any(last_sent(run, name) <= old for name, old in zip(remote_logs.REMOTE, before, strict=True)):
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < until_sec
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=command.LIMIT_SEC)
    newest = store.newest(run / "checkpoints")[0]
    assert newest is not None
    steps = store.step_of(newest) // 6 * 6 + 6
    assert command.train(squares, run, *VALIDATED, "--loggers=[wandb,mlflow]", "--trainer.max_epochs=4000",
                         f"--trainer.max_steps={steps}", "--accept_changes=true") == 0  # fmt: skip
    sent = wandb_steps(run)
    assert len(dict(sent)) == len(sent), "no step twice"
    assert set(dict(sent)) <= set(range(1, steps + 1))
    assert steps - len(sent) <= 4, "a kill costs one step at most"
    assert all(validated == (step % 6 == 0) for step, validated in sent)
    assert sorted(steps_of(run)) == list(range(1, steps + 1))
    assert mlflow_steps(run, "epoch") == list(range(1, steps + 1)), "MLflow says itself what it has"
    assert mlflow_steps(run, "Val/Prec_at_1") == list(range(6, steps + 1, 6))
