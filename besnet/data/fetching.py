"""Fetches one remote file, or a range of its bytes, or asks for an answer: every attempt ends, is tried again a few
times with a line, and counts only with the bytes that are expected."""

import errno
import os
import random
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from besnet.data.file_systems import status_of
from besnet.data.paths import hash_file
from besnet.data.remote_transfer import Answer, Range, RemoteFile, Transfer, Unranged, WholeFile

ATTEMPTS = 5
FIRST_PAUSE_SEC = 1.0  # doubled after each attempt, with jitter: hosts that failed together do not return together
LONG_ANSWER_SEC, SHORT_ANSWER_SEC = 600.0, 60.0  # a list of a million names, or one fact
GONE = (404, 410)
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)  # the disk here, which no attempt changes
PASSING = (408, 425, 429)  # of the codes that blame the request


class Unreachable(OSError):  # noqa: N818  (what is wrong is the data set's place, not one video)
    """A remote file that cannot be had: the job ends, for an accuracy over what is left would be another one.

    passing: whether the same job may succeed later; it does not where the file is gone, or access to it is refused.
    """

    def __init__(self, text: str, passing: bool = False) -> None:
        self.passing = passing
        # A loader worker hands an error over inside a traceback, of which the last line is the error's own.
        marker = "Unreachable: "
        super().__init__(text.strip().splitlines()[-1].partition(marker)[2] if marker in text else text)


@dataclass
class Tally:
    """What fetching has cost: bytes that arrived, attempts that failed."""

    bytes: int = 0
    failed: int = 0


def download(address: str, to: Path, size: int, digest: str, tally: Tally) -> None:
    """Write a remote file of this size and hash to `to`. Unreachable where no attempt succeeds."""
    download_file(RemoteFile(address), to, size, lambda path: hash_file(path)[0] == digest, tally)


def download_file(file: RemoteFile, to: Path, size: int, fits: Callable[[Path], bool], tally: Tally) -> None:
    """Write a remote file of this size to `to`, once its bytes fit. Unreachable where no attempt succeeds."""

    def whole(transfer: Transfer) -> bool:
        return os.path.getsize(transfer.to) == size and fits(transfer.to)

    os.replace(_fetch(file, lambda: WholeFile(file, to, size), whole, tally).to, to)


def download_range(file: RemoteFile, offset: int, size: int, total: int, tally: Tally) -> bytes:
    """`size` bytes from `offset` of a remote file of `total` bytes. Unreachable where no attempt succeeds, Unranged
    where the server does not send ranges."""
    transfer = _fetch(
        file, lambda: Range(file, offset, size, total), lambda transfer: len(transfer.data) == size, tally
    )
    return bytes(transfer.data)


def answer(file: RemoteFile, ask: Callable[[Any, str], Any], within_sec: float = LONG_ANSWER_SEC) -> Any:
    """What `ask` returns, which is called with fsspec's file system and the path on it. Unreachable where no attempt
    succeeds."""
    transfer = _fetch(file, lambda: Answer(file, ask, within_sec), lambda _: True, Tally())
    assert isinstance(transfer, Answer)
    return transfer.result


def _fetch(file: RemoteFile, begin: Callable[[], Transfer], fits: Callable[[Transfer], bool], tally: Tally) -> Transfer:
    """A finished transfer that fits. Refusals are tried once more with fresh credentials, what is gone is not."""
    why, reopened, passing = "", False, True
    for attempt in range(ATTEMPTS):
        if attempt:
            tally.failed += 1
            print(f"besnet: {file.address}: {why}; attempt {attempt + 1} of {ATTEMPTS}", file=sys.stderr, flush=True)
            time.sleep(FIRST_PAUSE_SEC * 2 ** (attempt - 1) * random.uniform(0.5, 1.5))
        transfer = begin()
        why = transfer.end()
        tally.bytes += transfer.count
        error = transfer.error
        if isinstance(error, Unranged):
            raise error
        if isinstance(error, OSError) and error.errno in FULL:
            transfer.discard()
            raise OSError(error.errno, error.strerror, str(transfer.to))
        if not why and fits(transfer):
            return transfer
        transfer.discard()
        why = why or f"is not {file.expected} (size or hash differ)"
        code = status_of(error)
        refused = 400 <= code < 500 and code not in PASSING
        if isinstance(error, ImportError) or code in GONE or (refused and reopened):
            passing = False
            break
        if refused:  # credentials expire
            transfer.forget_connection()
            reopened = True
    tally.failed += 1
    raise Unreachable(f"{file.address}: {why}", passing)
