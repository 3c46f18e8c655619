"""Checkpoint files that are whole or absent: written aside, synced, renamed, and named by their own hash."""

import contextlib
import hashlib
import os
import pickle
import re
import time
from pathlib import Path
from typing import Any

import torch

from besnet.files import sync_folder

NAME = re.compile(r"step_(\d{9})-([0-9a-f]{16})\.ckpt")
ATTEMPTS = 3
WAIT_SEC = 1.0


def save(checkpoint: dict[str, Any], folder: Path, step: int) -> Path:
    """Write a checkpoint so that a crash at any instant leaves either none or a whole one.

    The file lands as `step_<step>-<first 16 digits of its SHA-256>.ckpt`, so that it verifies by itself.
    A failing disk is tried again, three times in all; then OSError says what to do, and older checkpoints are intact.
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
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f".partial-{os.getpid()}"
    try:
        # torch's own zip writer reports a full disk as RuntimeError; a plain file reports it as OSError
        with open(partial, "wb") as file:
            torch.save(checkpoint, file)
            file.flush()
            os.fsync(file.fileno())
        path = folder / f"step_{step:09d}-{file_hash(partial)}.ckpt"
        os.replace(partial, path)
        sync_folder(folder)
        return path
    except RuntimeError as error:
        raise OSError(str(error).splitlines()[0]) from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def file_hash(path: Path) -> str:
    """First 16 hexadecimal digits of a file's SHA-256."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def verifies(path: Path) -> bool:
    """Whether a checkpoint's bytes are those that its name promises."""
    match = NAME.fullmatch(path.name)
    return match is not None and file_hash(path) == match[2]


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
            path.unlink(missing_ok=True)
            for statistics in folder.glob(f"{path.stem}-*.norms"):  # see besnet.evaluation.recalibration
                statistics.unlink(missing_ok=True)
        else:
            return
    for partial in folder.glob(".partial-[0-9]*"):
        partial.unlink(missing_ok=True)


def load(path: Path, device: Any = "cpu") -> dict[str, Any]:
    """Read a checkpoint: tensors and plain values only; nothing in it is ever executed.

    A file that carries its hash in its name is checked against it. ValueError names the file and what is wrong.
    """
    path = resolve(path)
    if not path.is_file():
        raise ValueError(f"{path}: there is no such checkpoint")
    if NAME.fullmatch(path.name) and not verifies(path):
        raise ValueError(f"{path}: damaged: its bytes do not match the hash in its name; use an earlier checkpoint")
    try:
        checkpoint = torch.load(path, map_location=device, weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path}: refused: no checkpoint, or one that holds more than tensors and plain values"
        ) from error
    except Exception as error:  # what a damaged or foreign file makes torch raise is anything
        why = " ".join(str(error).split())[:200] or type(error).__name__
        raise ValueError(f"{path}: not a readable checkpoint ({why})") from error
    if not isinstance(checkpoint, dict) or "besnet" not in checkpoint:
        raise ValueError(f"{path}: not a besnet checkpoint (no 'besnet' entry in it)")
    return checkpoint


def resolve(path: Path) -> Path:
    """A checkpoint's own path: the newest good one where `path` is a run folder or a folder of checkpoints."""
    if not path.is_dir():
        return path
    inner = path / "checkpoints"
    found, damaged = newest(inner if inner.is_dir() else path)
    if found is None:
        if (path / "model.safetensors").is_file():
            raise ValueError(f"{path}: an exported model, not a run: its checkpoint is wanted here")
        why = f"every checkpoint in it is damaged ({len(damaged)})" if damaged else "no checkpoint in this folder"
        raise ValueError(f"{path}: {why}")
    return found
