"""What the tests share: where the real videos are."""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# Tiny networks gain nothing from threads, and equal thread counts keep runs comparable bit by bit.
os.environ["OMP_NUM_THREADS"] = "1"
# The processes that tests start import from here too, also where nothing is imported from the working folder.
sys.path.insert(0, str(ROOT))
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))

import pytest  # noqa: E402

from besnet.data import fetching  # noqa: E402
from besnet.data.prepare import prepare  # noqa: E402
from tests import moving_squares  # noqa: E402
from tests.bucket_servers import RUNNING, BucketServer  # noqa: E402
from tests.prepared import SIZES, bytes_of  # noqa: E402

# They take minutes, and start first: else one process waits for the other at the end.
LONGEST = ("test_prove_resume.py", "test_docs.py", "test_exit_codes.py", "test_gpu_benchmark.py", "test_lab.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.name not in LONGEST)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real labelled video; tests that need it are skipped where it is absent."""
    folder = Path(os.environ.get("BESNET_SHARED_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("real video not found: set BESNET_SHARED_DATA to its folder")
    return folder


@pytest.fixture(scope="session")
def squares(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared data set of 24 training and 9 test videos, 4 classes that only motion tells apart."""
    return moving_squares.make(tmp_path_factory.mktemp("squares"))


@pytest.fixture(scope="session")
def table(squares: Path) -> Path:
    """The table of these videos."""
    return squares.parent / "index.csv"


@pytest.fixture(scope="session")
def whole(table: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What one machine makes of them in a folder: a hash of each file's bytes."""
    out = tmp_path_factory.mktemp("whole")
    prepare(table, out, **SIZES)  # type: ignore[arg-type]
    return bytes_of(out)


@pytest.fixture(scope="session", params=RUNNING)
def bucket_server(request: pytest.FixtureRequest) -> Iterator[BucketServer]:
    """A bucket of a server on the loopback, of each kind."""
    with RUNNING[request.param]() as server:
        yield server


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Work as another machine, which shares no file system with the others, and does not wait for long."""
    monkeypatch.setattr(fetching, "FIRST_PAUSE_SEC", 0.001)

    def on(name: str) -> None:
        monkeypatch.setenv("BESNET_CACHE", str(tmp_path / name))

    on("first")
    return on
