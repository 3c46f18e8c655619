"""Where a manifest's rows lead: never out of their root, and to files that are still those which were prepared."""

import os
from contextlib import suppress
from pathlib import PurePosixPath


def inside(root: str, path: str, id: str) -> str:
    """The full path of a row; ValueError where it would lead out of the root."""
    pure = PurePosixPath(path)
    if not path or pure.is_absolute() or ".." in pure.parts or "://" in path or "\0" in path:
        raise ValueError(f"{id}: the path {path!r} in the manifest leads outside {root}")
    return f"{root.rstrip('/')}/{path}"


def check_size(path: str, size: int) -> None:
    """ValueError where a file has another size than it was prepared with; whether it is there its reader will see."""
    with suppress(OSError):
        found = os.stat(path).st_size
        if found != size:
            raise ValueError(f"{path}: changed since it was prepared ({found} bytes, not {size}): run `besnet verify`")
