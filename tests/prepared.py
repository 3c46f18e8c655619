"""How the tests of preparations prepare, and what tells results apart."""

import hashlib
from pathlib import Path

OTHER = (".lock", ".plan", "coverage.html")  # beside the data; the page is written by the command line alone
SIZES = {"copy": True, "videos_per_shard": 3, "workers": 1}


def bytes_of(folder: Path) -> dict[str, str]:
    """Every file of a data set by its name, as a hash of its bytes."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name not in OTHER)
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
