"""Shards behind a server that is down, slow, wrong or gone, and a cache that is damaged, full and shared."""

import errno
import fcntl
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from besnet.data import cache, cache_room, fetching, remote_transfer
from besnet.data.by_shard import rows_of_rank, shards_of, wanted_alone
from besnet.data.evaluation_clips import EvaluationClips
from besnet.data.fetching import Unreachable
from besnet.data.loading import loader_settings
from besnet.data.manifest import Manifest
from besnet.data.row import hash_bytes
from besnet.data.verify import verify
from besnet.video.sampling import ClipShape
from tests.shard_server import Server, served
from tests.test_verify import prepared_shards

SHAPE = ClipShape(num_frames=2, frame_interval=1)


@pytest.fixture(scope="module")
def shards(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepared_shards(shared_data, tmp_path_factory.mktemp("shards"))


@pytest.fixture
def server(shards: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(fetching, "FIRST_PAUSE_SEC", 0.001)
    cache._failures.clear()
    serving = Server(shards)
    yield serving
    serving.close()


@pytest.fixture
def remote(shards: Path, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Manifest:
    monkeypatch.setenv("BESNET_CACHE", str(tmp_path / "cache"))
    return Manifest.load(served(shards, server, tmp_path / "away"))


def copies() -> list[Path]:
    return sorted(cache.cache_folder().glob("*.tar"))


def test_a_server_that_is_down_ends_the_job_once(remote: Manifest, server: Server) -> None:
    """Every video is not undecodable: there is no accuracy to be had."""

    def fail(handler: Any, data: bytes) -> bool:
        handler.send_error(503)
        return True

    server.answer = fail
    views = EvaluationClips(remote, np.arange(4), SHAPE, 1)
    for _ in range(3):
        with pytest.raises(Unreachable, match=r"http://127.*\.tar: cannot be fetched: .*503"):
            views[0]
    assert server.asked <= 2 * fetching.ATTEMPTS, "one verdict a shard"
    assert not list(cache.cache_folder().glob("*.partial*"))
    server.close()
    cache._failures.clear()
    with pytest.raises(Unreachable, match="cannot be fetched"):
        views[0]


class Failing(Dataset[None]):
    def __getitem__(self, row: int) -> None:
        raise Unreachable("http://host/shard: why")


def test_a_loader_worker_hands_it_over_as_one_line() -> None:
    loader = DataLoader(Failing(), sampler=[0], batch_size=None, **loader_settings(1, torch.device("cpu")))
    with pytest.raises(Unreachable) as caught:
        next(iter(loader))
    assert str(caught.value) == "http://host/shard: why"


def test_a_missing_shard_is_asked_for_once(remote: Manifest, server: Server) -> None:
    def gone(handler: Any, data: bytes) -> bool:
        handler.send_error(404)
        return True

    server.answer = gone
    with pytest.raises(Unreachable, match="FileNotFoundError"):
        remote.open(0)
    assert server.asked <= 2


def test_transient_failures_are_tried_again(remote: Manifest, server: Server) -> None:
    def twice(handler: Any, data: bytes) -> bool:
        if server.asked > 2:
            return False
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data[: len(data) // 2])  # and the connection ends
        return True

    server.answer = twice
    with remote.open(0) as reader:
        assert len(reader)
    assert len(copies()) == 1


@pytest.mark.parametrize("extra", [b"", b"x" * 5_000_000])
def test_other_bytes_are_refused_and_not_kept(extra: bytes, remote: Manifest, server: Server) -> None:
    def other(handler: Any, data: bytes) -> bool:
        sent = data[:-1] + b"x" + extra
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(sent)))
        handler.end_headers()
        handler.wfile.write(sent)
        return True

    server.answer = other
    with pytest.raises(Unreachable, match="is not the shard that the manifest describes"):
        remote.open(0)
    assert not [*copies(), *cache.cache_folder().glob("*.partial*")]


def test_bytes_that_drip_are_not_waited_for(remote: Manifest, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()

    def drip(handler: Any, data: bytes) -> bool:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        for byte in data:
            if over.wait(0.05):
                break
            try:
                handler.wfile.write(bytes([byte]))
            except OSError:
                break
        return True

    server.answer = drip
    monkeypatch.setattr(remote_transfer, "WINDOW_SEC", 0.3)
    monkeypatch.setattr(fetching, "ATTEMPTS", 2)
    with pytest.raises(Unreachable, match="less than 20000 bytes per second"):
        remote.open(0)
    over.set()


@pytest.mark.parametrize("damage", ["zeroed", "cut", "flipped"])
def test_a_damaged_copy_is_replaced(damage: str, remote: Manifest, server: Server) -> None:
    with remote.open(0) as reader:
        truth = reader.read([0])
    (copy,) = copies()
    whole = copy.read_bytes()
    changed = {"zeroed": bytes(len(whole)), "cut": whole[:700], "flipped": bytes(b ^ 1 for b in whole)}[damage]
    copy.write_bytes(changed)
    with Manifest.load(remote.folder).open(0) as reader:  # as the next process sees it
        assert np.array_equal(reader.read([0]), truth)
    assert copy.read_bytes() == whole
    copy.write_bytes(changed)
    assert verify(remote.folder) == 0
    assert copy.read_bytes() == whole


def test_a_shard_that_is_read_does_not_give_way(remote: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [remote[n] for n in range(4)]
    first, second = (next(row for row in rows if row.path == shard.path) for shard in remote.about.shards)
    most = max(shard.size for shard in remote.about.shards)
    monkeypatch.setenv("BESNET_CACHE_GB", str((most + 1) / 1e9))
    monkeypatch.setattr(cache_room, "ROOM_SEC", 0.2)
    with remote.held(first) as path:
        with pytest.raises(Unreachable, match="full of shards being read"), remote.held(second):
            pass
        assert os.path.exists(path)
        assert sum(copy.stat().st_size for copy in copies()) <= most
        monkeypatch.setattr(cache_room, "ROOM_SEC", 60.0)
        cache._failures.clear()
        waiting = threading.Thread(target=lambda: remote.held(second).__enter__())
        waiting.start()
        time.sleep(0.2)
        assert os.path.exists(path)
    waiting.join(60)
    assert len(copies()) == 1
    assert not os.path.exists(path)


def test_what_a_killed_process_left_makes_room(remote: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    most = max(shard.size for shard in remote.about.shards)
    monkeypatch.setenv("BESNET_CACHE_GB", str((most + 1) / 1e9))
    folder = cache.cache_folder()
    folder.mkdir(parents=True)
    dead = f"besnet-{'0' * 32}"
    (folder / f"{dead}.lock").touch()
    (folder / f"{dead}.partial.1.2").write_bytes(bytes(1000))
    with open(folder / f"{dead}.reserved", "wb") as file:
        file.truncate(most)
    with remote.open(0) as reader:
        assert len(reader)
    assert not list(folder.glob("besnet-0000*.[pr]*"))


def test_files_of_others_in_the_folder_stay(remote: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    """BESNET_CACHE may point at a prepared data set, whose shards are in a folder `shards`, too."""
    monkeypatch.setenv("BESNET_CACHE_GB", str((max(shard.size for shard in remote.about.shards) + 1) / 1e9))
    folder = cache.cache_folder()
    folder.mkdir(parents=True)
    others = [folder / name for name in ("train-000000.tar", f"{'0' * 32}.tar", "mine.reserved", "x.partial.1")]
    for other in others:
        other.write_bytes(bytes(100))
        os.utime(other, (0, 0))
    for row in range(4):
        with remote.open(row) as reader:
            assert len(reader)
    assert all(other.exists() for other in others)
    assert len(list(folder.glob("besnet-*.tar"))) == 1


@pytest.mark.parametrize("date_sec", [0, 4e9])
def test_a_cache_whose_files_all_have_one_date_keeps_its_bound(
    date_sec: float, remote: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    most = max(shard.size for shard in remote.about.shards)
    monkeypatch.setenv("BESNET_CACHE_GB", str((most + 1) / 1e9))
    for row in (0, 3, 1, 2):
        with remote.held(remote[row]) as path:
            assert hash_bytes(Path(path).read_bytes()[remote[row].offset :][: remote[row].size]) == remote[row].hash
        assert sum(copy.stat().st_size for copy in copies()) <= most
        for copy in copies():
            os.utime(copy, (date_sec, date_sec))


def test_without_locks_every_video_is_read(remote: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    monkeypatch.setenv("BESNET_CACHE_GB", str((max(shard.size for shard in remote.about.shards) + 1) / 1e9))
    for row in (0, 1, 2, 3, 0):
        with remote.open(row) as reader:
            assert len(reader)
    assert len(copies()) == 1


@pytest.mark.parametrize(("status", "requests"), [(400, 2), (403, 2), (404, 1), (503, fetching.ATTEMPTS)])
def test_refusals_are_asked_once_more_and_what_is_gone_never(
    status: int, requests: int, remote: Manifest, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(handler: Any, data: bytes) -> bool:
        handler.send_error(status)
        return True

    server.answer = fail
    with pytest.raises(Unreachable) as caught:
        remote.open(0)
    assert "\n" not in str(caught.value)
    assert server.asked == requests
    assert capsys.readouterr().err.count("; attempt ") == requests - 1
    assert cache.fetched().failed == requests


def test_pauses_grow_and_differ_between_hosts(
    remote: Manifest, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[list[float]] = []
    monkeypatch.setattr(fetching, "FIRST_PAUSE_SEC", 1.0)
    monkeypatch.setattr(fetching, "time", SimpleNamespace(sleep=lambda sec: pauses[-1].append(sec)))
    server.answer = lambda handler, data: handler.send_error(503) or True
    for _ in range(2):
        pauses.append([])
        cache._failures.clear()
        with pytest.raises(Unreachable, match="503"):
            remote.open(0)
        assert len(pauses[-1]) == fetching.ATTEMPTS - 1
        assert all(0.5 <= sec / 2**n <= 1.5 for n, sec in enumerate(pauses[-1]))
    assert pauses[0] != pauses[1]


@pytest.mark.parametrize("size", [remote_transfer.BLOCK, 2 * remote_transfer.PIECE])
def test_files_of_whole_blocks_arrive_whole(size: int, tmp_path: Path) -> None:
    data = np.random.default_rng(size).bytes(size)
    (tmp_path / "a").write_bytes(data)
    server = Server(tmp_path)
    for address in (f"{server.address}/a", f"file://{tmp_path}/a"):
        tally = fetching.Tally()
        fetching.download(address, tmp_path / "to", size, hash_bytes(data), tally)
        assert (tmp_path / "to").read_bytes() == data
        assert fetching.download_range(remote_transfer.RemoteFile(address), 0, size, size, tally) == data
        assert tally.failed == 0
    server.close()


def test_copies_of_different_shards_have_different_names() -> None:
    places = [("http://a/b/c.tar", "0"), ("http://a/b_c.tar", "0"), ("http://a/b/c.tar", "1"), ("s3://a/b/c.tar", "0"),
              ("http://a/B/c.tar", "0"), ("http://a/b/c.tar 0", "")]  # fmt: skip
    assert len({cache._place(address, digest).name.lower() for address, digest in places}) == len(places)


def test_a_few_videos_are_fetched_alone_and_many_by_the_shard(remote: Manifest, server: Server) -> None:
    rows = np.arange(4)
    assert wanted_alone(remote, rows) == frozenset()
    many = Manifest(remote.folder, replace(remote.about, shards=[replace(s, count=100) for s in remote.about.shards]),
                    remote.columns, os.dup(remote._lines))  # fmt: skip
    views = EvaluationClips(many, rows, SHAPE, 1)
    assert views.alone == {0, 1, 2, 3}
    truth = EvaluationClips(remote, rows, SHAPE, 1)
    for position in (0, 1):
        found = views[position].frames
        assert found is not None
        assert not copies() or position
        assert torch.equal(found, truth[position].frames)  # type: ignore[arg-type]
    assert cache.fetched().ranges >= 1


@pytest.mark.parametrize("way", ["whole answer", "other bytes", "cut"])
def test_a_range_that_cannot_be_trusted_ends_in_the_whole_shard(way: str, remote: Manifest, server: Server) -> None:
    def answer(handler: Any, data: bytes) -> bool:
        if "Range" not in handler.headers:
            return False
        first, last = map(int, handler.headers["Range"].removeprefix("bytes=").split("-"))
        piece = {"whole answer": data, "other bytes": bytes(last + 1 - first), "cut": data[first:last]}[way]
        handler.send_response(200 if way == "whole answer" else 206)
        handler.send_header("Content-Length", str(len(piece)))
        handler.end_headers()
        handler.wfile.write(piece)
        return True

    server.answer = answer
    if way == "cut":
        with pytest.raises(Unreachable, match="is not the shard"):
            remote.open(0, alone=True)
        return
    with remote.open(0, alone=True) as reader:
        assert len(reader)
    assert len(copies()) == 1


def test_ranks_that_evaluate_read_whole_shards(remote: Manifest) -> None:
    shares = [rows_of_rank(remote, np.array([3, 0, 2, 1]), rank, 2) for rank in range(2)]
    assert sorted(np.concatenate(shares).tolist()) == [0, 1, 2, 3]
    read = [set(shards_of(remote, share).tolist()) for share in shares]
    assert not read[0] & read[1]
