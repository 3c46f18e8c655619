"""Verification and the cache of remote shards, on real shards and real damage."""

import json
import os
import shutil
import subprocess
import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest

from besnet.data.evaluation_clips import EvaluationClips
from besnet.data.fetching import Unreachable
from besnet.data.manifest import Manifest
from besnet.data.manifest_writing import load_checked
from besnet.data.prepare import prepare
from besnet.data.verify import verify
from besnet.video.sampling import ClipShape

NAMES = ("unordered.mov", "video_90.mov", "test_non_zero_start.mp4", "nasa_13013_rotated.mp4")


def prepared_shards(shared_data: Path, tmp_path: Path) -> Path:
    """Two shards with two videos each, as they were published."""
    for name in NAMES:
        shutil.copy(shared_data / "odd" / name, tmp_path)
    (tmp_path / "t.csv").write_text("label,path\n" + "".join(f"a,{name}\n" for name in NAMES))
    prepare(tmp_path / "t.csv", tmp_path / "data", copy=True, videos_per_shard=2, workers=1)
    return tmp_path / "data"


@pytest.fixture
def data(shared_data: Path, tmp_path: Path) -> Path:
    return prepared_shards(shared_data, tmp_path)


def test_what_is_as_prepared_passes(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify(data) == 0
    assert verify(data, decode=1, workers=1) == 0
    assert "4 rows, 2 shards, 4 videos decoded: all as prepared" in capsys.readouterr().out


def test_every_kind_of_damage_is_named(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shard = next((data / "shards").iterdir())
    whole = shard.read_bytes()

    def faults(damaged: bytes | None, **more: bool) -> str:
        shard.chmod(0o644)
        shard.unlink() if damaged is None else shard.write_bytes(damaged)
        code = verify(data, **more)  # type: ignore[arg-type]
        shard.write_bytes(whole)
        said = capsys.readouterr().out
        assert code == (1 if "wrong" in said else 0)
        return said

    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    assert f"{shard.name}: its bytes have changed" in faults(bytes(flipped))
    assert "all as prepared" in faults(bytes(flipped), sizes_only=True)
    assert f"{shard.name}: {len(whole) - 512} bytes, not {len(whole)}" in faults(whole[:-512], sizes_only=True)
    assert "No such file" in faults(None)
    assert "all as prepared" in faults(whole)


def test_a_manifest_that_was_changed_is_named(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines, columns = data / "manifest.jsonl", data / "manifest.npy"
    whole = lines.read_bytes(), columns.read_bytes()

    def verdict() -> str:
        code = verify(data, sizes_only=True)
        lines.write_bytes(whole[0])
        columns.write_bytes(whole[1])
        said = capsys.readouterr().out
        assert "4 rows, 2 shards: 1 wrong" in said
        assert (code, said.count("\n")) == (1, 2)
        return said

    for old, new in (
        (b'"label": 0', b'"label": 1'),
        (b'"split": "train"', b'"split": "nopes"'),
        (b'"source_hash": "', b'"source_hash" : '),
        (b'"state": "ready"', b'"state": "broke"'),
    ):
        changed = whole[0].replace(old, new, 1)
        assert len(changed) == len(whole[0])
        if changed == whole[0]:
            continue  # what is the default is not written
        lines.write_bytes(changed)
        assert "manifest.jsonl: " in verdict()
    lines.write_bytes(whole[0].replace(b"unordered", b"unOrdered", 1))
    assert "not the rows that the passport" in verdict()
    for field, value in (("label", -1), ("split", 1), ("state", 2), ("duration_sec", 9), ("begin", 1)):
        table = np.load(columns)
        table[field][1] = value
        np.save(columns, table)
        assert "manifest.npy: not the columns of the rows" in verdict()
    assert verify(data) == 0


def test_videos_in_place_are_checked_too(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = data.parent / "indexed"
    prepare(data.parent / "t.csv", out, index_only=True, workers=1)
    assert verify(out, decode=0.5, workers=1) == 0
    with open(data.parent / NAMES[0], "ab") as file:
        file.write(b"x")
    (data.parent / NAMES[1]).unlink()
    assert verify(out) == 1
    said = capsys.readouterr().out
    assert "unordered.mov has 1607 bytes, not 1606" in said
    assert "video_90.mov" in said
    swapped = bytearray((data.parent / NAMES[2]).read_bytes())
    shutil.copy(data.parent / "t.csv", data.parent / NAMES[1])
    swapped[-1] ^= 1
    (data.parent / NAMES[2]).write_bytes(bytes(swapped))
    with pytest.raises(ValueError, match="a share from 0 to 1"):
        verify(out, decode=2)


@pytest.mark.parametrize("path", ["../outside.tar", "/etc/passwd", "shards/../../outside.tar"])
def test_a_list_of_shards_that_leads_out_is_not_followed(
    data: Path, path: str, capsys: pytest.CaptureFixture[str]
) -> None:
    about = json.loads((data / "dataset.json").read_text())
    about["shards"][0]["path"] = path
    (data / "dataset.json").write_text(json.dumps(about))
    assert verify(data) == 1
    assert "leads outside" in capsys.readouterr().out


@pytest.fixture
def remote(data: Path, monkeypatch: pytest.MonkeyPatch) -> Manifest:
    """The same data with its shards behind HTTP and an empty cache."""
    handler = partial(SimpleHTTPRequestHandler, directory=str(data))
    monkeypatch.setattr(SimpleHTTPRequestHandler, "log_message", lambda *_: None)
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("BESNET_CACHE", str(data.parent / "cache"))
    away = data.parent / "away"
    away.mkdir()
    for name in ("manifest.jsonl", "manifest.npy"):
        shutil.copy(data / name, away)
    about = json.loads((data / "dataset.json").read_text())
    about["root"] = f"http://127.0.0.1:{server.server_port}"
    (away / "dataset.json").write_text(json.dumps(about))
    yield Manifest.load(away)
    server.shutdown()
    server.server_close()


def test_remote_shards_are_fetched_whole_and_once(remote: Manifest, data: Path) -> None:
    local = Manifest.load(data)
    for _ in range(2):
        for n in range(4):
            with remote.open(n) as reader, local.open(n) as other:
                assert np.array_equal(reader.read([0]), other.read([0]))
    cached = list((data.parent / "cache" / "shards").glob("*.tar"))
    assert sorted(p.stat().st_size for p in cached) == sorted(s.size for s in local.about.shards)
    shutil.rmtree(data / "shards")
    with remote.open(0) as reader:
        assert len(reader)


def test_the_cache_stays_within_its_bound(remote: Manifest, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    largest = max(s.size for s in remote.about.shards)
    monkeypatch.setenv("BESNET_CACHE_GB", str((largest + 1) / 1e9))
    for n in (0, 1, 2, 3, 0):
        with remote.open(n):
            pass
        cached = list((data.parent / "cache" / "shards").glob("*.tar"))
        assert len(cached) == 1
    monkeypatch.setenv("BESNET_CACHE_GB", "0.0000001")
    shutil.rmtree(data.parent / "cache")
    with pytest.raises(Unreachable, match="raise BESNET_CACHE_GB"):
        remote.open(0)


def test_a_shard_that_was_replaced_is_refused(remote: Manifest, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for shard in (data / "shards").iterdir():
        shard.chmod(0o644)
        shard.write_bytes(shard.read_bytes()[:-1] + b"x")
    monkeypatch.setattr("besnet.data.fetching.FIRST_PAUSE_SEC", 0.001)
    with pytest.raises(Unreachable, match="is not the shard that the manifest describes"):
        remote.open(0)
    assert not list((data.parent / "cache" / "shards").glob("*.tar"))


@pytest.mark.parametrize("root", ["pipe:touch canary", "pipe://touch canary", "zip://a::http://b", "ssh://host/x"])
def test_an_address_that_could_run_something_is_refused(data: Path, root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(data)
    about = json.loads((data / "dataset.json").read_text())
    (data / "dataset.json").write_text(json.dumps(about | {"root": root}))
    with pytest.raises(ValueError, match="shards can be at"):
        Manifest.load(data).open(0)
    assert not (data / "canary").exists()


def test_many_processes_fetch_a_shard_once(remote: Manifest, data: Path) -> None:
    script = "import sys; from pathlib import Path; from besnet.data.manifest import Manifest\n"
    script += "m = Manifest.load(Path(sys.argv[1])); [m.open(n).close() for n in range(len(m))]"
    command = [sys.executable, "-c", script, str(remote.folder)]
    running = [subprocess.Popen(command, env=os.environ) for _ in range(3)]
    assert [process.wait() for process in running] == [0, 0, 0]


def pointed_elsewhere(data: Path, change: dict[str, object]) -> Manifest:
    """The first row of a data set changed by an editor that keeps the rest in order; its hash stays."""
    lines = [json.loads(line) for line in (data / "manifest.jsonl").read_text().splitlines()]
    lines[0] |= change
    rewrite(data, lines)
    return Manifest.load(data)


def rewrite(data: Path, lines: list[dict[str, object]]) -> None:
    whole = [json.dumps(line).encode() + b"\n" for line in lines]
    (data / "manifest.jsonl").write_bytes(b"".join(whole))
    table = np.load(data / "manifest.npy")
    table["begin"] = np.cumsum([0, *map(len, whole[:-1])])
    np.save(data / "manifest.npy", table)
    about = json.loads((data / "dataset.json").read_text())
    about["size"] = sum(map(len, whole))
    (data / "dataset.json").write_text(json.dumps(about))


@pytest.mark.parametrize("kind", ["shards", "in place", "hash too"])
def test_a_row_that_leads_to_another_videos_bytes(kind: str, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if kind == "in place":
        prepare(data.parent / "t.csv", data.parent / "indexed", index_only=True, workers=1)
        data = data.parent / "indexed"
    manifest = Manifest.load(data)
    views = EvaluationClips(manifest, np.arange(2), ClipShape(num_frames=2, frame_interval=1), 1)
    assert views[0].frames is not None
    other = manifest[1]
    change: dict[str, object] = {"path": other.path, "offset": other.offset, "size": other.size}
    if kind == "hash too":
        change["hash"] = other.hash
    manifest = pointed_elsewhere(data, change)
    assert verify(data) == 1
    said = capsys.readouterr().out
    if kind == "hash too":
        assert "not the rows that the passport" in said
        with pytest.raises(ValueError, match="not the rows that the passport"):
            load_checked(data)
        return
    assert f"{manifest[0].id}: its bytes have changed" in said
    views = EvaluationClips(manifest, np.arange(2), ClipShape(num_frames=2, frame_interval=1), 1)
    assert views[0].frames is None
    assert "does not hold the prepared bytes" in views[0].why
    assert views[1].frames is not None


CHANGES: list[dict[str, object]] = [
    {"offset": -1}, {"offset": 2**40}, {"offset": True}, {"size": 2**40}, {"size": -5}, {"size": 1.5}, {"label": -7},
    {"label": 3}, {"label": "0"}, {"split": "9"}, {"split": 9}, {"state": "fine"}, {"frames": -1}, {"width": 10**9},
    {"fps": float("nan")}, {"duration_sec": -1.0}, {"in_shard": "yes"}, {"id": 7}, {"unknown": 1}, {"hash": None},
]  # fmt: skip


def test_a_row_out_of_its_bounds_is_named_wherever_it_is_opened(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = {name: (data / name).read_bytes() for name in ("dataset.json", "manifest.jsonl", "manifest.npy")}
    for change in CHANGES:
        manifest = pointed_elsewhere(data, change)
        with pytest.raises(ValueError, match=r"manifest\.jsonl: line 1: |ends before byte"):
            manifest.open(0)
        assert verify(data, sizes_only=True) == 1, change
        assert "1 wrong" in capsys.readouterr().out
        for name, content in whole.items():
            (data / name).write_bytes(content)
    assert verify(data) == 0
