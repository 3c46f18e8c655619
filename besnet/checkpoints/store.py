"""Checkpoint files that are whole or absent: written aside, synced, renamed, and named by their own hash."""

import copy
import hashlib
import os
import pickle
import re
import stat
import time
import warnings
import zipfile
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any

import torch

from besnet.checkpoints.arrays import check_zip
from besnet.files import replacing
from besnet.formats import upgraded, upgraded_tensors
from besnet.text import short

NAME = re.compile(r"step_(\d{9})-([0-9a-f]{16})\.ckpt")
ATTEMPTS = 3
WAIT_SEC = 1.0


@dataclass(frozen=True)
class Stored:
    """A checkpoint as it was read: the file, the first 16 digits of its SHA-256, and what is in it."""

    path: Path
    hash: str
    content: dict[str, Any]


def save(checkpoint: dict[str, Any], folder: Path, step: int) -> Path:
    """Write a checkpoint so that a crash at any instant leaves either none or a whole one.

    The file lands as `step_<step>-<first 16 digits of its SHA-256>.ckpt`, so that it verifies by itself.
    A failing disk is tried three times; then OSError names the next step, and older checkpoints are intact.
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return _save_once(checkpoint, folder, step)
        except OSError as error:
            if attempt == ATTEMPTS:
                raise OSError(
                    f"{folder}: the checkpoint of step {step} could not be written ({error.strerror or error}); "
                    "earlier checkpoints are kept: free some space or choose another run folder, then start again"
                ) from error
            time.sleep(WAIT_SEC)
    raise AssertionError("unreachable")


def _save_once(checkpoint: dict[str, Any], folder: Path, step: int) -> Path:
    path = folder / f"step_{step:09d}.ckpt"

    def named(partial: Path) -> Path:
        nonlocal path
        path = folder / f"step_{step:09d}-{file_hash(partial)}.ckpt"
        return path

    try:
        # torch's own zip writer reports a full disk as RuntimeError; a plain file reports it as OSError
        with replacing(path, named) as file:
            torch.save(checkpoint, file)
    except RuntimeError as error:
        raise OSError(str(error).splitlines()[0]) from error
    return path


def file_hash(path: Path) -> str:
    """First 16 hexadecimal digits of a file's SHA-256."""
    with open(path, "rb") as file:
        return _hash(file)


def _hash(file: BufferedReader) -> str:
    file.seek(0)
    return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def bytes_hash(data: bytes) -> str:
    """First 16 hexadecimal digits of the SHA-256 of bytes."""
    return hashlib.sha256(data).hexdigest()[:16]


def hash_in_name(path: Path) -> str | None:
    """The facts in a checkpoint's name about its bytes."""
    match = NAME.fullmatch(path.name)
    return match and match[2]


def verifies(path: Path) -> bool:
    """Whether a checkpoint's bytes are those that its name promises."""
    return hash_in_name(path) == file_hash(path)


def by_age(folder: Path) -> list[Path]:
    """Checkpoints of a folder, the newest step first; unfinished files are not among them."""
    return sorted((path for path in folder.glob("step_*.ckpt") if NAME.fullmatch(path.name)), reverse=True)


def newest(folder: Path) -> tuple[Path | None, list[Path]]:
    """The newest checkpoint that verifies, and the newer ones that do not."""
    damaged: list[Path] = []
    for path in by_age(folder):
        if verifies(path):
            return path, damaged
        damaged.append(path)
    return None, damaged


def step_of(path: Path) -> int:
    """The step in a checkpoint's name."""
    match = NAME.fullmatch(path.name)
    assert match
    return int(match[1])


def remove(path: Path) -> None:
    """Delete a checkpoint, and what was measured on it (see besnet.evaluation.recalibration)."""
    path.unlink(missing_ok=True)
    for statistics in path.parent.glob(f"{path.stem}-*.norms"):
        statistics.unlink(missing_ok=True)


def prune(folder: Path, keep: int) -> None:
    """Delete all but the `keep` newest checkpoints that verify, and what a killed save left.

    Nothing goes while the newest one does not verify.
    """
    checkpoints = by_age(folder)
    good = 0
    for path in checkpoints:
        if good < keep and verifies(path):
            good += 1
        elif good:
            remove(path)
        else:
            return
    for pattern in (".step_*.partial", ".partial-[0-9]*"):  # the latter by besnet 0.1
        for partial in folder.glob(pattern):
            partial.unlink(missing_ok=True)


def load(path: Path, device: Any = "cpu") -> dict[str, Any]:
    """The content of a checkpoint, in memory of its own. ValueError as for `read`."""
    content: dict[str, Any] = copy.deepcopy(read(path, device).content)
    return content


def read(path: Path, device: Any = "cpu") -> Stored:
    """Read a checkpoint once: tensors and plain values only; nothing in it is ever executed.

    path: a file, or a run folder or a folder of checkpoints: then the newest whose bytes match its name. The hash is
    that of the bytes that were read, even if a run saves and deletes files meanwhile. Tensors stay in the file until
    they are used. ValueError names the file and the fault.
    """
    if not path.is_dir():
        try:
            with _opened(path) as file:
                return _read(path, file, device)
        except FileNotFoundError:
            raise ValueError(f"{path}: there is no such checkpoint") from None
    for _ in range(ATTEMPTS):
        for candidate in by_age(checkpoints_below(path)):
            try:
                with _opened(candidate) as file:
                    if _hash(file) == hash_in_name(candidate):
                        return _read(candidate, file, device)
            except FileNotFoundError:  # a run has saved newer ones and deleted this one: list again
                break
        else:
            break
    return read(resolve(path), device)


def _opened(path: Path) -> BufferedReader:
    """A checkpoint for reading. FileNotFoundError where there is none, ValueError where it is no file."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    file = os.fdopen(descriptor, "rb")
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        file.close()
        raise ValueError(f"{path}: not a file that can be read")
    return file


def _read(path: Path, file: BufferedReader, device: Any) -> Stored:
    before = os.fstat(file.fileno())
    digest = _hash(file)
    if hash_in_name(path) not in (None, digest):
        raise ValueError(f"{path}: damaged: its bytes do not match the hash in its name; use an earlier checkpoint")
    if not zipfile.is_zipfile(file):
        raise ValueError(f"{path}: not a readable checkpoint: no zip archive as torch.save writes it, or cut off")
    check_zip(path, file, packed=False)
    try:
        # through the descriptor, which stays on this file whatever is renamed or deleted; and mapped, because torch's
        # reader takes the size of a tensor from the pickle without comparing it with the bytes that are there
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            content = torch.load(f"/dev/fd/{file.fileno()}", map_location=device, weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path}: refused: no checkpoint, or one that holds more than tensors and plain values"
        ) from error
    except Exception as error:  # what a damaged or foreign file makes torch raise is anything
        why = short(" ".join(str(error).split()), 200) or type(error).__name__
        raise ValueError(f"{path}: not a readable checkpoint ({why})") from error
    if not isinstance(content, dict) or "besnet" not in content:
        raise ValueError(f"{path}: not a besnet checkpoint (no 'besnet' entry in it)")
    after = os.fstat(file.fileno())
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise ValueError(f"{path}: changed while it was read: try again")
    about = content["besnet"]
    content["besnet"] = upgraded(about, "checkpoint", str(path))
    if isinstance(about, dict):
        content = upgraded_tensors(content, about, "checkpoint")
    return Stored(path, digest, content)


def resolve(path: Path) -> Path:
    """A checkpoint's own path: the newest good one where `path` is a run folder or a folder of checkpoints."""
    if not path.is_dir():
        return path
    found, damaged = newest(checkpoints_below(path))
    if found is None:
        if (path / "model.safetensors").is_file():
            raise ValueError(f"{path}: an exported model, not a run: its checkpoint is wanted here")
        why = f"every checkpoint in it is damaged ({len(damaged)})" if damaged else "no checkpoint in this folder"
        raise ValueError(f"{path}: {why}")
    return found


def checkpoints_below(folder: Path) -> Path:
    """Where the checkpoints of a run folder lie; a folder of checkpoints is that itself."""
    inner = folder / "checkpoints"
    return inner if inner.is_dir() else folder
