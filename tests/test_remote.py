"""Shards behind a server that is down, slow, wrong or gone, and a cache that is damaged, full and shared."""

import json
import os
import shutil
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from besnet.data import cache, cache_room, fetching
from besnet.data.evaluation_clips import EvaluationClips
from besnet.data.fetching import Unreachable
from besnet.data.loading import loader_settings
from besnet.data.manifest import Manifest
from besnet.data.verify import verify
from besnet.video.sampling import ClipShape
from tests.test_verify import prepared_shards

SHAPE = ClipShape(num_frames=2, frame_interval=1)


class Server:
    """Serves a folder; `answer` may do something else with a request and then says so."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.asked = folder, 0
        self.answer: Any = lambda handler, data: False
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked += 1
                data = (outer.folder / self.path.lstrip("/")).read_bytes()
                if not outer.answer(self, data):
                    self.send_response(200)
                    self.send_header("Content-Length", str(len(data)))
                    self.end_headers()
                    self.wfile.write(data)

            do_HEAD = do_GET  # noqa: N815

            def log_message(self, *_: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()


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
    away = tmp_path / "away"
    away.mkdir()
    for name in ("manifest.jsonl", "manifest.npy"):
        shutil.copy(shards / name, away)
    about = json.loads((shards / "dataset.json").read_text())
    about["root"] = f"http://127.0.0.1:{server.http.server_port}"
    (away / "dataset.json").write_text(json.dumps(about))
    return Manifest.load(away)


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
    monkeypatch.setattr(fetching, "WINDOW_SEC", 0.3)
    monkeypatch.setattr(fetching, "ATTEMPTS", 2)
    with pytest.raises(Unreachable, match="less than 20000 bytes a second"):
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
