"""The best checkpoints of a run, each in a folder of its own: `best`, `best_2`, `best_3` and so on.

Any of these folders can be given where a run folder can. Their files are links to those in `checkpoints`, so that they
take no space twice, and that deleting old checkpoints leaves them.
"""

import errno
import os
import shutil
from pathlib import Path

from besnet.checkpoints import store
from besnet.files import replacing

NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV)


def folder_of(run: Path, rank: int) -> Path:
    """The folder of the best checkpoint (rank 1), of the second best, and so on."""
    return run / ("best" if rank == 1 else f"best_{rank}")


def arrange(run: Path, steps: list[int], keep: int) -> list[int]:
    """Let the folders hold the checkpoints of these steps, the best first, and `keep` folders in all.

    Returns the steps that there is no checkpoint of. A kill at any instant leaves folders that the next call mends.
    """
    folders = [folder_of(run, rank) for rank in range(1, keep + 1)]
    sources = {step: found for step in steps[:keep] if (found := checkpoint_of(run, step, folders)) is not None}
    # the last rank first: what moves down is linked there before it goes where it was
    for folder, step in reversed(list(zip(folders, [*steps, *[-1] * keep], strict=False))):
        source = sources.get(step)
        if source is not None and not (folder / source.name).exists():
            folder.mkdir(exist_ok=True)
            link(source, folder / source.name)
        for other in store.by_age(folder):
            if source is None or other.name != source.name:
                store.remove(other)
    return [step for step in steps[:keep] if step not in sources]


def checkpoint_of(run: Path, step: int, folders: list[Path]) -> Path | None:
    """The newest file of a step's checkpoint in a run."""
    files = [path for folder in (run / "checkpoints", *folders) for path in store.by_age(folder)]
    return max(
        (path for path in files if store.step_of(path) == step), key=lambda p: p.stat().st_mtime_ns, default=None
    )


def link(source: Path, target: Path) -> None:
    """A second name of a file; a copy where the disk has no links."""
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        with open(source, "rb") as file, replacing(target) as copy:
            shutil.copyfileobj(file, copy)
