"""Checkpoints: whole or absent, found by what verifies, never executed."""

import errno
import os
import pickle
from pathlib import Path

import pytest
import torch

from besnet.checkpoints import store
from besnet.formats import stamp


def some(step: int) -> dict[str, object]:
    return {"besnet": stamp("checkpoint") | {"step": step}, "state_dict": {"w": torch.full((64, 64), float(step))}}


def test_a_saved_checkpoint_verifies_and_loads(tmp_path: Path) -> None:
    path = store.save(some(7), tmp_path, 7)
    assert store.verifies(path)
    assert store.load(path)["state_dict"]["w"].eq(7).all()
    assert [file.name for file in tmp_path.iterdir()] == [path.name], "nothing else is left in the folder"


def test_the_newest_that_verifies_is_found(tmp_path: Path) -> None:
    paths = [store.save(some(step), tmp_path, step) for step in (1, 2, 3)]
    data = bytearray(paths[2].read_bytes())
    data[len(data) // 2] ^= 1
    paths[2].write_bytes(data)
    assert store.newest(tmp_path) == (paths[1], [paths[2]])
    with pytest.raises(ValueError, match="do not match the hash"):
        store.load(paths[2])


@pytest.mark.parametrize("apart_sec", [0, -3600])
def test_dates_of_files_decide_nothing(tmp_path: Path, apart_sec: int) -> None:
    """A file server with coarse dates, and a later host whose clock is an hour behind."""
    paths = [store.save(some(step), tmp_path, step) for step in (1, 2, 3)]
    for number, path in enumerate(paths):
        os.utime(path, (1e9 + number * apart_sec,) * 2)
    assert store.newest(tmp_path) == (paths[2], [])
    store.prune(tmp_path, keep=2)
    assert sorted(tmp_path.iterdir()) == paths[1:]


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_a_truncated_checkpoint_is_never_taken(tmp_path: Path, share: float) -> None:
    good = store.save(some(1), tmp_path, 1)
    bad = store.save(some(2), tmp_path, 2)
    bad.write_bytes(bad.read_bytes()[: int(bad.stat().st_size * share)])
    assert store.newest(tmp_path)[0] == good


def test_old_ones_go_only_when_the_new_one_verifies(tmp_path: Path) -> None:
    paths = [store.save(some(step), tmp_path, step) for step in (1, 2, 3)]
    (tmp_path / ".partial-123").write_bytes(b"left by a kill")
    whole = paths[2].read_bytes()
    paths[2].write_bytes(whole[:100])
    store.prune(tmp_path, keep=1)
    assert all(path.exists() for path in paths)
    paths[2].write_bytes(whole)
    beside = [path.with_name(f"{path.stem}-0123456789abcdef.norms") for path in paths]
    for statistics in beside:
        statistics.touch()
    store.prune(tmp_path, keep=2)
    assert set(tmp_path.iterdir()) == {*paths[1:], *beside[1:]}, "what was measured on a checkpoint goes with it"


def test_a_damaged_one_never_takes_a_good_one_s_place(tmp_path: Path) -> None:
    paths = {step: store.save(some(step), tmp_path, step) for step in (100, 200, 250, 150)}
    paths[200].write_bytes(paths[200].read_bytes()[:100])
    store.prune(tmp_path, keep=2)
    assert set(tmp_path.iterdir()) == {paths[250], paths[150]}


def test_a_full_disk_keeps_the_previous_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = store.save(some(1), tmp_path, 1)

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(store, "WAIT_SEC", 0.0)
    monkeypatch.setattr(store.os, "fsync", full)
    with pytest.raises(OSError, match=r"step 2 could not be written \(No space left on device\).*earlier checkpoints"):
        store.save(some(2), tmp_path, 2)
    assert list(tmp_path.iterdir()) == [good]


class Canary:
    """An object whose unpickling would leave a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("writer", [torch.save, lambda value, path: path.write_bytes(pickle.dumps(value, protocol=2))])
def test_a_malicious_pickle_is_refused_and_does_not_run(tmp_path: Path, writer: object) -> None:
    path = tmp_path / "gift.ckpt"
    writer({"besnet": Canary(tmp_path / "bitten")}, path)  # type: ignore[operator]
    with pytest.raises(ValueError, match=r"gift\.ckpt"):
        store.load(path)
    assert not (tmp_path / "bitten").exists()


def test_other_files_are_refused_by_name(tmp_path: Path) -> None:
    page = tmp_path / "page.ckpt"
    page.write_text("<html>")
    foreign = tmp_path / "foreign.ckpt"
    torch.save({"state_dict": {}}, foreign)
    for path, words in ((page, "page"), (foreign, "not a besnet checkpoint"), (tmp_path / "none.ckpt", "no such")):
        with pytest.raises(ValueError, match=words):
            store.load(path)
    with pytest.raises(ValueError, match="no checkpoint in this folder"):
        store.load(tmp_path)
    store.save({"besnet": {}}, tmp_path, 1).write_bytes(b"cut")
    with pytest.raises(ValueError, match=r"every checkpoint in it is damaged \(1\)"):
        store.load(tmp_path)
    (tmp_path / "exported").mkdir()
    (tmp_path / "exported" / "model.safetensors").write_bytes(b"")
    with pytest.raises(ValueError, match="an exported model, not a run"):
        store.load(tmp_path / "exported")
