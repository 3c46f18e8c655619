"""What the tests share: where the real videos are."""

import os
from pathlib import Path

# Tiny networks gain nothing from threads, and equal thread counts keep runs comparable bit by bit.
os.environ["OMP_NUM_THREADS"] = "1"

import pytest

from tests import moving_squares

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the command line sets for its children ends with the test that ran it in this process."""
    for name in ("PYTHONSAFEPATH", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        monkeypatch.setenv(name, os.environ.get(name, ""))  # restored, or removed, after the test
        if not os.environ[name]:
            del os.environ[name]


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
