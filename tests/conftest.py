"""What the tests share: where the real videos are."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real labelled video; tests that need it are skipped where it is absent."""
    folder = Path(os.environ.get("BESNET_SHARED_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("real video not found: set BESNET_SHARED_DATA to its folder")
    return folder
