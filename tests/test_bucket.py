"""A preparation into object storage: the bytes of a local one, whatever is killed, lost or served wrong."""

import errno
import hashlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from besnet.data import fetching
from besnet.data.dataset import Shard
from besnet.data.fetching import Unreachable
from besnet.data.manifest import Manifest
from besnet.data.prepare import bucket as buckets
from besnet.data.prepare import prepare, prepare_part
from besnet.data.prepare.bucket import Bucket
from besnet.data.prepare.object_storage import address_of
from besnet.data.row import hash_bytes
from tests.bucket_servers import BucketServer
from tests.prepared import SIZES, bytes_of


def stored(address: str) -> dict[str, str]:
    """Every object of a result, as a hash of its bytes."""
    place = Bucket(address)
    return {
        name: hashlib.sha256(place.read(name)).hexdigest()
        for name in place.held()
        if name not in (".plan", "coverage.html")
    }


@pytest.fixture
def memory() -> Iterator[str]:
    """A third file system of fsspec, which is in no way special here."""
    yield "memory://videos"
    MemoryFileSystem.store.clear()


def test_an_address_is_known_by_its_protocol() -> None:
    assert address_of(Path("s3://bucket/name")) == "s3://bucket/name"
    assert address_of(Path("gs://bucket/a/b")) == "gs://bucket/a/b"
    assert [address_of(Path(name)) for name in ("data/x", "/data/s3:/x", "c:/x", "ftp://x")] == [None] * 4


def check_round_trip(address: str, table: Path, folder: Path, shards: Path, whole: dict[str, str]) -> None:
    """What is prepared there is trained from there."""
    prepare(table, Path(f"{address}/one"), **SIZES)  # type: ignore[arg-type]
    assert stored(f"{address}/one") == whole
    place = Bucket(f"{address}/one")
    folder.mkdir()
    for name in buckets.MANIFEST:
        (folder / name).write_bytes(place.read(name).replace(b'"root": "."', f'"root": "{address}/one"'.encode()))
    manifest = Manifest.load(folder)
    for alone in (False, True):
        shutil.rmtree(shards, ignore_errors=True)
        with manifest.open(3, alone=alone) as reader:
            assert len(reader) == 16


@pytest.mark.filterwarnings("ignore")
def test_what_was_prepared_there_is_trained_from_there(
    bucket_server: BucketServer, table: Path, machine: Callable[[str], None], tmp_path: Path, whole: dict[str, str]
) -> None:
    check_round_trip(bucket_server.address, table, tmp_path / "data", tmp_path / "first" / "shards", whole)


def test_any_file_system_of_fsspec_will_do(
    memory: str, table: Path, machine: Callable[[str], None], tmp_path: Path, whole: dict[str, str]
) -> None:
    check_round_trip(memory, table, tmp_path / "data", tmp_path / "first" / "shards", whole)


def test_the_last_call_says_what_is_left_and_lost_shards_are_made_again(
    table: Path,
    whole: dict[str, str],
    tmp_path: Path,
    machine: Callable[[str], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    out: Any = Path(f"file://{tmp_path}/bucket")
    prepare_part("1/3", source=table, out=out, **SIZES)
    sorted((tmp_path / "bucket" / "shards").glob("*.tar"))[0].unlink()
    machine("second")
    capsys.readouterr()
    prepare(table, out, **SIZES)
    said = capsys.readouterr().out
    assert "part 0 of 3 has never begun" in said
    assert "part 1 of 3 is unfinished: 3 of its" in said
    assert bytes_of(tmp_path / "bucket") == whole


def test_bytes_that_arrive_wrong_are_uploaded_again(
    table: Path,
    whole: dict[str, str],
    tmp_path: Path,
    machine: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from fsspec.implementations.local import LocalFileSystem

    put, times = LocalFileSystem.put_file, []

    def cut(self: Any, path1: str, path2: str, **more: Any) -> None:
        put(self, path1, path2, **more)
        times.append(path2)
        if len(times) == 1:
            whole_bytes = Path(path2).read_bytes()
            Path(path2).write_bytes(whole_bytes[:-512] + bytes(511) + b"x")  # the same size

    monkeypatch.setattr(LocalFileSystem, "put_file", cut)
    monkeypatch.setattr(fetching, "ATTEMPTS", 2)
    prepare(table, Path(f"file://{tmp_path}/bucket"), **SIZES)  # type: ignore[arg-type]
    assert len(times) == len(set(times)) + 1
    assert "; upload 2 of 2" in capsys.readouterr().err
    assert bytes_of(tmp_path / "bucket") == whole


def test_a_refused_upload_is_tried_once_more_with_fresh_credentials(
    tmp_path: Path, machine: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a full disk here is said at once."""
    from fsspec.implementations.local import LocalFileSystem

    shard = tmp_path / "0.tar"
    shard.write_bytes(b"shard")
    about, bucket = Shard("0.tar", 1, 5, hash_bytes(b"shard")), Bucket(f"file://{tmp_path}/bucket")
    put, times = LocalFileSystem.put_file, []

    def refused(self: Any, path1: str, path2: str, **more: Any) -> None:
        times.append(path2)
        if len(times) % 3:
            raise PermissionError("expired")
        put(self, path1, path2, **more)

    monkeypatch.setattr(LocalFileSystem, "put_file", refused)
    with pytest.raises(Unreachable, match="expired"):
        bucket._upload(shard, "0.tar", about)
    assert len(times) == 2
    times.append("")
    times.append("")
    bucket._upload(shard, "0.tar", about)
    assert (tmp_path / "bucket" / "0.tar").read_bytes() == b"shard"

    def full(self: Any, *_: Any, **__: Any) -> None:
        times.append("full")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(LocalFileSystem, "get_file", full)
    with pytest.raises(OSError, match=r"No space left on device: '.*copy"):
        fetching.download(f"file://{shard}", tmp_path / "copy", 5, about.hash, fetching.Tally())
    assert times.count("full") == 1


def test_another_preparation_there_is_not_overwritten(
    table: Path, tmp_path: Path, machine: Callable[[str], None]
) -> None:
    out: Any = Path(f"file://{tmp_path}/bucket")
    prepare_part("0/3", source=table, out=out, **SIZES)
    with pytest.raises(ValueError, match=r"\.work/plan: a preparation of another list"):
        prepare(table, out, copy=True, videos_per_shard=4, workers=1)
    with pytest.raises(ValueError, match="leave --index_only out"):
        prepare(table, out, index_only=True)


def test_two_writers_there_are_harmless(
    memory: str, table: Path, whole: dict[str, str], machine: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another machine does the same part, and then the last call, in the middle of this one's."""
    out: Any = Path(f"{memory}/two")
    upload, publish, begun = Bucket._upload, Bucket.publish, []

    def beside(kind: str, do: Callable[[], object]) -> None:
        if kind not in begun:
            begun.append(kind)
            machine(kind)
            do()
            machine("first")

    def uploaded(self: Bucket, *about: Any) -> None:
        beside("part", lambda: prepare_part("0/1", source=table, out=out, **SIZES))
        upload(self, *about)

    def published(self: Bucket, plan: str) -> None:
        beside("last", lambda: prepare(table, out, **SIZES))
        publish(self, plan)

    monkeypatch.setattr(Bucket, "_upload", uploaded)
    monkeypatch.setattr(Bucket, "publish", published)
    prepare_part("0/1", source=table, out=out, **SIZES)
    prepare(table, out, **SIZES)
    assert begun == ["part", "last"]
    assert stored(f"{memory}/two") == whole
