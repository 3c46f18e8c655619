"""Where fsspec's file systems differ: what is missing, what an error means, how an object is known."""

import base64
import hashlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fsspec.registry import _registry

from besnet.data.fetching import Tally, Unreachable, answer, download
from besnet.data.file_systems import Held, fetch_options, held, opened, status_of
from besnet.data.prepare import prepare
from besnet.data.remote_transfer import RemoteFile
from besnet.data.row import hash_bytes


@pytest.mark.parametrize(
    ("protocol", "named"),
    [
        ("az", "Install adlfs"),
        ("gs", r"gcsfs.*: pip install 'besnet\[gcs\]'"),
        ("s3", r"S3: pip install 'besnet\[s3\]'"),
    ],
)
def test_a_missing_library_is_named(
    protocol: str,
    named: str,
    machine: Callable[[str], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """At once, and as the fault of no video."""
    for name in ("adlfs", "gcsfs", "s3fs"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(_registry, protocol, raising=False)
    address = f"{protocol}://bucket/videos"
    for source, out in ((Path(address), tmp_path), (tmp_path, Path(address))):
        with pytest.raises(ValueError, match=f"^{address}: .*{named}"):
            prepare(source, out)
    with pytest.raises(Unreachable, match=f"^{address}/0.tar: .*{named}") as caught:
        download(f"{address}/0.tar", tmp_path / "0.tar", 5, "", Tally())
    assert not caught.value.passing
    assert "attempt" not in capsys.readouterr().err


def gcsfs_error(status: int, content: bytes = b"") -> Exception:
    from gcsfs.retry import validate_response

    try:
        validate_response(status, content, "o")
    except Exception as error:
        return error
    raise AssertionError(status)


def test_errors_stand_for_a_status() -> None:
    """Those that the libraries really raise: access that is refused is not asked for again and again."""
    from botocore.exceptions import ClientError, NoCredentialsError
    from gcsfs.retry import HttpError
    from google.auth.exceptions import DefaultCredentialsError
    from s3fs.errors import translate_boto_error

    for status in (401, 403, 404, 408, 429, 500, 503):
        assert status_of(gcsfs_error(status)) == status
    assert status_of(gcsfs_error(400, b'{"error": {"message": "invalid"}}')) == 400
    assert isinstance(gcsfs_error(503), HttpError)
    for status, code in ((403, "AccessDenied"), (404, "NoSuchKey"), (503, "SlowDown"), (403, "ExpiredToken")):
        about: Any = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
        assert status_of(translate_boto_error(ClientError(about, "GetObject"))) == status
    assert status_of(NoCredentialsError()) == status_of(DefaultCredentialsError()) == 401
    assert status_of(None) == status_of(TimeoutError("slow")) == status_of(ConnectionResetError()) == 0


def test_without_credentials_the_job_ends(machine: Callable[[str], None]) -> None:
    asked = []

    class NoCredentialsError(Exception):
        pass

    def ask(*_: object) -> None:
        asked.append(1)
        raise NoCredentialsError("Unable to locate credentials")

    with pytest.raises(Unreachable, match="Unable to locate") as caught:
        answer(RemoteFile("memory://videos"), ask)
    assert len(asked) == 2, "once more with those of now"
    assert not caught.value.passing


def test_a_library_may_begin_again_by_itself(
    machine: Callable[[str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As gcsfs does after a broken connection: the bytes that came twice are no larger file."""
    from fsspec.implementations.local import LocalFileSystem

    (tmp_path / "0.tar").write_bytes(b"shard")
    get, times = LocalFileSystem.get_file, []

    def twice(self: Any, path: str, to: str, callback: Any, **more: Any) -> None:
        for _ in range(2):
            times.append(path)
            callback.set_size(5)
            callback.relative_update(4)
        get(self, path, to, **more)

    monkeypatch.setattr(LocalFileSystem, "get_file", twice)
    tally = Tally()
    download(f"file://{tmp_path}/0.tar", tmp_path / "copy", 5, hash_bytes(b"shard"), tally)
    assert (len(times), tally.bytes, tally.failed) == (2, 8, 0)


def test_an_object_is_known_by_the_hash_of_its_bytes() -> None:
    """Google's ETag changes with the storage class too; an object in pieces has no MD5."""
    md5 = hashlib.md5(b"film").digest()
    about = {"size": 4, "etag": "CKih16GjycICEAE=", "mtime": "now", "md5Hash": base64.b64encode(md5).decode()}
    assert held(about) == Held(4, md5.hex())
    assert held({"size": 4, "ETag": f'"{md5.hex()}"', "LastModified": "now"}) == Held(4, md5.hex())
    del about["md5Hash"]
    assert held(about) == Held(4, "CKih16GjycICEAE=")


def test_progress_of_a_large_file_is_seen(tmp_path: Path) -> None:
    """gcsfs says nothing before 16 MB are whole, unless it is told to read one piece at a time."""
    from gcsfs import GCSFileSystem

    assert fetch_options(GCSFileSystem.__new__(GCSFileSystem)) == {"concurrency": 1}
    assert fetch_options(opened(f"file://{tmp_path}")[0]) == {}
