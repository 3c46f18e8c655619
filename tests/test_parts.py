"""A preparation in parts, on several machines: the bytes of one machine's, whatever is killed."""

import errno
import fcntl
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from besnet import cli
from besnet.data.manifest import Manifest
from besnet.data.prepare import packer, prepare, prepare_part, staging
from besnet.data.prepare.parts import Part
from besnet.watchdog import HUNG
from tests.command import LIMIT_SEC
from tests.prepared import SIZES, bytes_of


@pytest.mark.parametrize("count", [1, 7])
def test_parts_make_the_bytes_of_one_machine(table: Path, whole: dict[str, str], tmp_path: Path, count: int) -> None:
    numbers = list(range(count))
    random.Random(count).shuffle(numbers)
    for number in numbers:
        prepare_part(f"{number}/{count}", source=table, out=tmp_path, **SIZES)
        assert not (tmp_path / "dataset.json").exists()
    prepare(table, tmp_path, **SIZES)  # type: ignore[arg-type]
    assert bytes_of(tmp_path) == whole
    assert not (tmp_path / ".work").exists()


def test_the_end_says_what_is_left_and_does_it(
    table: Path, whole: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare_part("1/3", source=table, out=tmp_path, **SIZES)
    done = capsys.readouterr().out
    assert "part 1 of 3 is done" in done
    journal = tmp_path / ".work" / "outcomes-1-of-3.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:-2]) + lines[-2][:20])  # killed in the middle of a line
    shards = sorted((tmp_path / ".work" / "shards").glob("*.tar"))
    shards[-1].unlink()
    prepare(table, tmp_path, **SIZES)  # type: ignore[arg-type]
    said = capsys.readouterr().out
    assert "part 0 of 3 has never begun" in said
    assert "part 1 of 3 is unfinished: 2 of its" in said
    assert bytes_of(tmp_path) == whole


FEW: Any = {"videos_per_shard": 2, "workers": 1, "short_side": 32}  # encoded


@pytest.fixture(scope="module")
def few(squares: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A table of four videos, and what one machine makes of them."""
    folder = tmp_path_factory.mktemp("few")
    table = folder / "few.csv"
    names = enumerate(("left", "right", "up", "down"))
    table.write_text("label,path\n" + "".join(f"a,{squares.parent}/train/{name}_{n}.mp4\n" for n, name in names))
    prepare(table, folder / "whole", videos=squares.parent, **FEW)
    return table, bytes_of(folder / "whole")


@pytest.mark.parametrize("gone", [True, False])
def test_what_was_lost_is_encoded_again(
    few: tuple[Path, dict[str, str]], squares: Path, tmp_path: Path, gone: bool
) -> None:
    """A shard that is gone or damaged before the last call: the bytes of its videos are gone, too."""
    table, whole = few
    prepare_part("0/1", source=table, out=tmp_path, videos=squares.parent, **FEW)
    first, second = sorted((tmp_path / ".work" / "shards").glob("*.tar"))
    if gone:
        first.unlink()
    else:
        first.write_bytes(first.read_bytes()[:700])
        second.write_bytes(bytes(second.stat().st_size))
    prepare(table, tmp_path, videos=squares.parent, **FEW)
    assert bytes_of(tmp_path) == whole


def test_two_writers_of_a_part_without_locks_are_harmless(
    few: tuple[Path, dict[str, str]], squares: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pod that was replaced does all of the part while the old one is about to write its first shard."""
    table, whole = few

    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    write, times = packer.write_shard, []

    def late(path: Path, samples: Any, name: str) -> None:
        times.append(path)
        if len(times) == 1:
            prepare_part("0/1", source=table, out=tmp_path, videos=squares.parent, **FEW)
        write(path, samples, name)

    monkeypatch.setattr(packer, "write_shard", late)
    prepare_part("0/1", source=table, out=tmp_path, videos=squares.parent, **FEW)
    assert len(times) > 2
    prepare(table, tmp_path, videos=squares.parent, **FEW)
    assert bytes_of(tmp_path) == whole


def test_hosts_with_other_clocks_and_files_without_dates(
    few: tuple[Path, dict[str, str]], squares: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clocks that are a year apart, and a file server that gives all files one date."""
    table, whole = few
    now = time.time
    for number, apart_sec in ((1, 3.2e7), (0, -3.2e7)):
        monkeypatch.setattr(time, "time", lambda apart_sec=apart_sec: now() + apart_sec)
        prepare_part(f"{number}/2", source=table, out=tmp_path, videos=squares.parent, **FEW)
        for path in tmp_path.rglob("*"):
            os.utime(path, (0, 0))
    prepare(table, tmp_path, videos=squares.parent, **FEW)
    assert bytes_of(tmp_path) == whole


def test_a_part_lists_the_source_once_for_all(
    table: Path, whole: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare_part("0/2", source=table, out=tmp_path, **SIZES)
    with monkeypatch.context() as patched:
        patched.setattr("besnet.data.prepare.request.list_source", None)  # whoever lists again fails
        prepare_part("1/2", source=table, out=tmp_path, **SIZES)
    prepare(table, tmp_path, **SIZES)  # type: ignore[arg-type]
    assert bytes_of(tmp_path) == whole


def test_parts_of_index_only_end_alike(table: Path, tmp_path: Path) -> None:
    for number in range(2):
        prepare_part(f"{number}/2", source=table, out=tmp_path / "parts", index_only=True, workers=1)
    prepare(table, tmp_path / "parts", index_only=True, workers=1)
    prepare(table, tmp_path / "whole", index_only=True, workers=1)
    ours, theirs = bytes_of(tmp_path / "parts"), bytes_of(tmp_path / "whole")
    assert ours == theirs
    assert Manifest.load(tmp_path / "parts").passport == Manifest.load(tmp_path / "whole").passport


def test_a_part_of_other_settings_touches_nothing(table: Path, tmp_path: Path) -> None:
    prepare_part("0/2", source=table, out=tmp_path, **SIZES)
    before = bytes_of(tmp_path / ".work")
    with pytest.raises(ValueError, match="unfinished preparation of another list, other files or other settings"):
        prepare_part("1/2", source=table, out=tmp_path, copy=True, videos_per_shard=5, workers=1)
    after = {name: digest for name, digest in bytes_of(tmp_path / ".work").items() if not name.endswith(".lock")}
    assert after == {name: digest for name, digest in before.items() if not name.endswith(".lock")}


@pytest.mark.parametrize(
    ("text", "environment", "expected"),
    [
        ("3/64", {}, Part(3, 64)),
        ("auto/4", {"SLURM_ARRAY_TASK_ID": "2", "SLURM_ARRAY_TASK_COUNT": "1"}, Part(2, 4)),
        ("auto/4", {"JOB_COMPLETION_INDEX": "0"}, Part(0, 4)),
        ("auto/4", {"SLURM_ARRAY_TASK_ID": "4"}, "SLURM_ARRAY_TASK_ID: part 4 of 4: parts are counted from 0 to 3"),
        ("auto/4", {"SLURM_ARRAY_TASK_ID": "1", "SLURM_ARRAY_TASK_MIN": "1", "SLURM_ARRAY_TASK_MAX": "4"},
         "counts from 1: submit it with --array=0-3"),
        ("auto/4", {}, "is set: write the number"),
        ("auto/4", {"JOB_COMPLETION_INDEX": "x"}, "not a number"),
        ("4/4", {}, "parts are counted from 0 to 3"), ("3", {}, "write NUMBER/COUNT"), ("-1/3", {}, "write NUMBER"),
        ("1/0", {}, "1 to 100,000 parts"), ("auto", {}, "write NUMBER/COUNT"),
    ],
)  # fmt: skip
def test_a_part_says_which_it_is(text: str, environment: dict[str, str], expected: Part | str) -> None:
    if isinstance(expected, Part):
        assert Part.read(text, environment) == expected
        return
    with pytest.raises(ValueError, match=expected):
        Part.read(text, environment)


def test_a_wrong_part_is_refused_on_the_command_line(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        cli.run("prepare", [str(table), str(tmp_path), "--part=5/3"])
    assert end.value.code == 2
    assert "parts are counted from 0 to 2" in capsys.readouterr().err


def test_another_process_of_a_part_is_waited_for(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One that stays keeps this one out for now; one that is being ended is waited for."""
    words = [str(table), str(tmp_path), "--copy", "--videos_per_shard=3", "--workers=1", "--part=8/9"]
    (tmp_path / ".work").mkdir()
    held = open(tmp_path / ".work" / "outcomes-8-of-9.jsonl.lock", "w")  # noqa: SIM115
    fcntl.flock(held, fcntl.LOCK_EX)
    monkeypatch.setattr(staging, "PATIENCE_SEC", 0)
    assert cli.run("prepare", words) == HUNG
    monkeypatch.setattr(staging, "PATIENCE_SEC", 600)
    releases = threading.Timer(0.5, held.close)
    releases.start()
    assert cli.run("prepare", words) == 0
    assert "another process of part 8 of 9 is writing here: waiting up to 600 s" in capsys.readouterr().err


def start(table: Path, out: Path, more: list[str]) -> "subprocess.Popen[bytes]":
    words = ["prepare", str(table), str(out), "--copy", "--videos_per_shard=3", "--workers=1", *more]
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "besnet", *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


@pytest.mark.slow
def test_parts_beside_each_other_under_kills_end_with_the_same_bytes(
    table: Path, whole: dict[str, str], tmp_path: Path
) -> None:
    rng = random.Random(0)
    for _ in range(20):
        running = [start(table, tmp_path, [f"--part={number}/3"]) for number in range(3)]
        time.sleep(rng.uniform(0.5, 6))
        os.kill(rng.choice(running).pid, signal.SIGKILL)
        for process in running:
            process.wait(timeout=LIMIT_SEC)
        if rng.random() < 0.4:
            shutil.rmtree(tmp_path / ".work", ignore_errors=True)  # begin anew: all kills have something to hit
    assert start(table, tmp_path, []).wait(timeout=LIMIT_SEC) == 0
    assert bytes_of(tmp_path) == whole
