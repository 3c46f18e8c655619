"""Files are whole or absent, and what fails names the file."""

import json
import os
import resource
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest

from besnet.checkpoints import model_folder
from besnet.checkpoints.header import LoadedCheckpoint
from besnet.files import Journal, replacing, write_arrays, write_json, write_table, write_text
from besnet.models.besnet import BesNet
from besnet.predict.export import export_onnx

WRITERS: dict[str, Callable[[Path], object]] = {
    "text": lambda path: write_text(path, "x" * 100_000),
    "json": lambda path: write_json(path, ["x"] * 50_000),
    "arrays": lambda path: write_arrays(path, noise=np.random.default_rng(0).random(50_000)),
    "table": lambda path: write_table(path, [["x" * 100]] * 1000),
}


@contextmanager
def full_disk(left_bytes: int) -> Iterator[None]:
    """No file may grow beyond a size meanwhile: writes fail as on a disk without room."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (left_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("kind", WRITERS)
def test_a_full_disk_names_the_file_and_leaves_the_old_one(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "result"
    path.write_text("old")
    with full_disk(10_000), pytest.raises(OSError, match=str(path)):
        WRITERS[kind](path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.fixture(scope="module")
def network() -> BesNet:
    return BesNet(num_classes=4, blocks=[1], width=8)


def test_an_export_on_a_full_disk_leaves_no_half_file(tmp_path: Path, network: BesNet) -> None:
    about = {"model": {}, "classes": [], "passport": {}, "config": {}, "position": {}, "ema": None}
    given = model_folder.LoadedModel(LoadedCheckpoint(network, **about, revision="", versions={}), "0" * 16, None, "m")  # type: ignore[arg-type]
    with full_disk(1000), pytest.raises(OSError, match=r"model\.safetensors"):
        model_folder.write(tmp_path, given, {}, {})
    with full_disk(1000), pytest.raises(OSError, match=r"net\.onnx"):
        export_onnx(network, tmp_path / "net.onnx", 2, 16)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("umask", [0o022, 0o027])
def test_an_exported_model_has_the_mode_that_the_umask_says(tmp_path: Path, network: BesNet, umask: int) -> None:
    about = {"model": {}, "classes": [], "passport": {}, "config": {}, "position": {}, "ema": None}
    given = model_folder.LoadedModel(LoadedCheckpoint(network, **about, revision="", versions={}), "0" * 16, None, "m")  # type: ignore[arg-type]
    before = os.umask(umask)
    try:
        model_folder.write(tmp_path, given, {}, {})
    finally:
        os.umask(before)
    for path in tmp_path.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask, path


def test_an_error_inside_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "kept"
    path.write_text("old")

    def stop(file: BinaryIO) -> None:
        file.write(b"new")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), replacing(path) as file:
        stop(file)
    assert path.read_text() == "old"


def test_a_journal_passes_over_the_line_that_a_kill_cut(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "log.jsonl")
    assert list(journal.records()) == []
    journal.append({"number": 1}, {"number": 2})
    whole = journal.path.read_bytes()
    for cut in range(len(whole)):
        journal.path.write_bytes(whole[:cut])
        kept = whole[:cut].count(b"\n")
        assert [record["number"] for record in journal.records()] == [1, 2][:kept]
        journal.append({"number": 3})
        numbers = [record["number"] for record in journal.records()]
        assert numbers in ([*[1, 2][:kept], 3], [*[1, 2][: kept + 1], 3]), "whole but for its line break counts as well"
        assert all(json.loads(line)["number"] for line in journal.lines() if line.endswith(b"}\n") and line[:1] == b"{")
