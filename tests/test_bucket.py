"""A preparation into object storage: the bytes of a local one, whatever is killed, lost or served wrong."""

import hashlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from besnet.data import fetching
from besnet.data.manifest import Manifest
from besnet.data.prepare import bucket as buckets
from besnet.data.prepare import prepare, prepare_part
from besnet.data.prepare.bucket import Bucket, address_of
from tests.test_parts import SIZES, bytes_of


@pytest.fixture(scope="module")
def source(squares: Path) -> Path:
    return squares.parent / "index.csv"


@pytest.fixture(scope="module")
def whole(source: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What one machine makes in a folder."""
    out = tmp_path_factory.mktemp("whole")
    prepare(source, out, **SIZES)  # type: ignore[arg-type]
    return bytes_of(out)


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """A bucket of moto's server."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patched.setenv("AWS_ACCESS_KEY_ID", "test")
        patched.setenv("AWS_SECRET_ACCESS_KEY", "test")
        patched.setenv("AWS_DEFAULT_REGION", "us-east-1")
        boto3.client("s3").create_bucket(Bucket="videos")
        yield "s3://videos"
    server.stop()


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Work as another machine, which shares no file system with the others."""
    monkeypatch.setattr(fetching, "FIRST_PAUSE_SEC", 0.001)

    def on(name: str) -> None:
        monkeypatch.setenv("BESNET_CACHE", str(tmp_path / name))

    on("first")
    return on


def stored(address: str) -> dict[str, str]:
    """Every object of a result, as a hash of its bytes."""
    place = Bucket(address)
    return {
        name: hashlib.sha256(place._read(name)).hexdigest()
        for name in place._sizes()
        if name not in (".plan", "coverage.html")
    }


def test_an_address_is_known_by_its_protocol() -> None:
    assert address_of(Path("s3://bucket/name")) == "s3://bucket/name"
    assert address_of(Path("gs://bucket/a/b")) == "gs://bucket/a/b"
    assert [address_of(Path(name)) for name in ("data/x", "/data/s3:/x", "c:/x", "ftp://x")] == [None] * 4


@pytest.mark.filterwarnings("ignore")
def test_parts_on_machines_of_their_own_make_the_bytes_of_one(
    s3: str, source: Path, whole: dict[str, str], machine: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Part 1 of 3 is killed after an upload and goes on on another machine; part 2 is left to the last call."""
    out: Any = Path(f"{s3}/squares")
    prepare_part("0/3", source=source, out=out, **SIZES)
    write = Bucket._write

    def killed(self: Bucket, name: str, data: bytes) -> None:
        if name.startswith(".work/shards/"):
            raise KeyboardInterrupt
        write(self, name, data)

    machine("second")
    with monkeypatch.context() as patched:
        patched.setattr(Bucket, "_write", killed)
        with pytest.raises(KeyboardInterrupt):
            prepare_part("1/3", source=source, out=out, **SIZES)
    machine("third")
    prepare_part("1/3", source=source, out=out, **SIZES)
    machine("fourth")
    manifest = prepare(source, out, **SIZES)  # type: ignore[arg-type]
    assert stored(str(address_of(out))) == whole
    assert len(manifest) == 33
    machine("fifth")
    assert len(prepare(source, out, **SIZES)) == 33, "already prepared"  # type: ignore[arg-type]


@pytest.mark.filterwarnings("ignore")
def test_what_was_prepared_there_is_trained_from_there(
    s3: str, source: Path, machine: Callable[[str], None], tmp_path: Path
) -> None:
    prepare(source, Path(f"{s3}/one"), **SIZES)  # type: ignore[arg-type]
    place = Bucket(f"{s3}/one")
    folder = tmp_path / "data"
    folder.mkdir()
    for name in buckets.MANIFEST:
        (folder / name).write_bytes(place._read(name).replace(b'"root": "."', f'"root": "{s3}/one"'.encode()))
    manifest = Manifest.load(folder)
    for alone in (False, True):
        shutil.rmtree(tmp_path / "first" / "shards", ignore_errors=True)
        with manifest.open(3, alone=alone) as reader:
            assert len(reader) == 16


def test_the_last_call_says_what_is_left_and_lost_shards_are_made_again(
    source: Path,
    whole: dict[str, str],
    tmp_path: Path,
    machine: Callable[[str], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    out: Any = Path(f"file://{tmp_path}/bucket")
    prepare_part("1/3", source=source, out=out, **SIZES)
    sorted((tmp_path / "bucket" / "shards").glob("*.tar"))[0].unlink()
    machine("second")
    capsys.readouterr()
    prepare(source, out, **SIZES)
    said = capsys.readouterr().out
    assert "part 0 of 3 has never begun" in said
    assert "part 1 of 3 is unfinished: 3 of its" in said
    assert bytes_of(tmp_path / "bucket") == whole


def test_bytes_that_arrive_wrong_are_uploaded_again(
    source: Path,
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
    prepare(source, Path(f"file://{tmp_path}/bucket"), **SIZES)  # type: ignore[arg-type]
    assert len(times) == len(set(times)) + 1
    assert "; upload 2 of 2" in capsys.readouterr().err
    assert bytes_of(tmp_path / "bucket") == whole


def test_another_preparation_there_is_not_overwritten(
    source: Path, tmp_path: Path, machine: Callable[[str], None]
) -> None:
    out: Any = Path(f"file://{tmp_path}/bucket")
    prepare_part("0/3", source=source, out=out, **SIZES)
    with pytest.raises(ValueError, match=r"\.work/plan: a preparation of another list"):
        prepare(source, out, copy=True, videos_per_shard=4, workers=1)
    with pytest.raises(ValueError, match="leave --index_only out"):
        prepare(source, out, index_only=True)
