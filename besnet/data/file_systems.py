"""fsspec's file systems made alike: here alone is what differs between s3fs, gcsfs, adlfs and the others."""

import base64
import logging
from dataclasses import dataclass
from typing import Any

PROTOCOLS = ("http", "https", "s3", "gs", "gcs", "az", "abfs", "hf", "file", "memory")
EXTRAS = {"s3": "s3", "gs": "gcs", "gcs": "gcs"}  # ours that install the library of a protocol


def opened(address: str) -> tuple[Any, str]:
    """fsspec's file system for an address, and the path on it. ImportError that says what to install."""
    from fsspec.core import url_to_fs

    protocol = address.partition("://")[0]
    try:
        system, path = url_to_fs(address, **({"auto_mkdir": True} if protocol == "file" else {}))
    except ImportError as error:
        hint = f": pip install 'besnet[{EXTRAS[protocol]}]'" if protocol in EXTRAS else ""
        raise ImportError(f"{error}{hint}") from None
    log = logging.getLogger(type(system).__module__.partition(".")[0])
    if not log.handlers:
        log.addHandler(logging.NullHandler())  # gcsfs writes a traceback for errors that are told in one line here
    return system, path


def fetch_options(system: Any) -> dict[str, Any]:
    """What `get_file` is told: gcsfs else reads large files in pieces of 16 MB, and a slow network looks stalled."""
    return {"concurrency": 1} if hasattr(system, "_get_file_concurrent") else {}


def status_of(error: BaseException | None) -> int:
    """The HTTP status that an error of a file system stands for; 0 where it stands for none."""
    text = str(error)
    if isinstance(error, FileNotFoundError):
        return 404
    if isinstance(error, PermissionError) or text.startswith("Forbidden:"):  # gcsfs has a plain OSError for it
        return 403
    if "Credential" in type(error).__name__:  # botocore, google-auth or azure-identity found none
        return 401
    if text.startswith("Bad Request:"):  # gcsfs has a ValueError for it
        return 400
    for name in ("status", "status_code", "code"):  # aiohttp's, Azure's, gcsfs's
        if isinstance(found := getattr(error, name, None), int):
            return found
    answers = [getattr(each, "response", None) for each in (error, getattr(error, "__cause__", None))]
    for answer in answers:  # Hugging Face's, and botocore's behind s3fs's error
        found = answer.get("ResponseMetadata", {}).get("HTTPStatusCode") if isinstance(answer, dict) else None
        if isinstance(found := found or getattr(answer, "status_code", None), int):
            return found
    return 0


@dataclass(frozen=True)
class Held:
    """An object: its bytes, and what tells it from later ones of its name: an MD5 in hexadecimal digits (S3's ETag is
    one unless the object was encrypted or came in pieces), another ETag or a date."""

    size: int
    tag: str = ""


def held(about: dict[str, Any]) -> Held:
    """What a file system says of an object."""
    if md5 := about.get("md5Hash"):  # Google's; its ETag changes with the storage class, too
        return Held(int(about["size"]), base64.b64decode(md5).hex())
    tags = (about.get(key) for key in ("ETag", "etag", "LastModified", "mtime", "created"))
    return Held(int(about["size"]), next((str(tag).strip('"') for tag in tags if tag), ""))
