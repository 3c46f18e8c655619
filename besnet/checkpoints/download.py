"""Published weights: from torch.hub's cache, or the net. A file gets its name once it is complete and checked."""

import fcntl
import hashlib
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import torch

from besnet.checkpoints.weights_file import check_hash
from besnet.files import replacing

TIMEOUT_SEC = 60.0  # without a byte
CHUNK = 2**20


def cached_file(name: str) -> Path:
    """Where torch.hub keeps a file of this name."""
    return Path(torch.hub.get_dir()) / "checkpoints" / name


def fetched(url: str, file_name: str, digest: str, name: str) -> Path:
    """The file at a URL: from the cache where it lies there, else downloaded into it.

    file_name: in the cache. digest: its SHA-256, or the beginning of it, or empty where it is not known. name: what is
    fetched, for messages.
    ValueError where it cannot be had, with what to do, or where it is another file than it should be.
    """
    file = cached_file(file_name)
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        with open(file.with_name(f".{file.name}.lock"), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # one of a machine's processes downloads, the others wait
            if not file.exists():
                _download(url, digest, file, name)
    if digest:
        check_hash(file, digest)
    return file


def _download(url: str, digest: str, file: Path, name: str) -> None:
    print(f"{name}: downloading {url}", flush=True)
    try:
        with urlopen(Request(url, headers={"User-Agent": "besnet"}), timeout=TIMEOUT_SEC) as stream:
            size = stream.headers.get("Content-Length")
            with replacing(file) as out:
                seen, found = hashlib.sha256(), 0
                while chunk := stream.read(CHUNK):
                    out.write(chunk)
                    seen.update(chunk)
                    found += len(chunk)
                fault = ""
                if size is not None and found != int(size):
                    fault = f"ended after {found:,} of {int(size):,} bytes"
                elif digest and not seen.hexdigest().startswith(digest):
                    fault = f"is damaged: its hash begins with {seen.hexdigest()[:8]} and not {digest[:8]}"
                if fault:
                    raise ValueError(f"{name}: the download of {url} {fault}: try again")
    except (URLError, TimeoutError, ConnectionError, HTTPException) as error:
        why = getattr(error, "reason", None) or error
        if isinstance(error, HTTPError):
            error.close()
        raise ValueError(
            f"{name}: cannot download {url} ({why}): put that file at {file}, or name a local copy instead"
        ) from None
