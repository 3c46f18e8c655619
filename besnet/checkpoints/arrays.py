"""Arrays from NPZ files, and zips in general: what they claim to hold is compared with a bound before it is read."""

import io
import math
import os
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from besnet.text import short

PACKED_MOST = 64 * 2**20  # bytes that a small file may unpack to, whatever its own size
PACKED_TIMES = 50  # and a larger one: probabilities in float32 pack to half
READERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def read_arrays(path: Path, data: bytes) -> dict[str, np.ndarray]:
    """The arrays of an NPZ file with these bytes. ValueError names the file where it is none, or claims too much."""
    file = io.BytesIO(data)
    check_zip(path, file, packed=True)
    arrays = {}
    try:
        with zipfile.ZipFile(file) as archive:
            for entry in archive.infolist():
                with archive.open(entry) as stream:
                    arrays[entry.filename.removesuffix(".npy")] = _read(stream, entry.file_size)
    except Exception as error:  # damaged bytes make zipfile, zlib and numpy raise errors of any kind
        raise ValueError(f"{path}: not readable as arrays ({short(str(error), 200)})") from None
    return arrays


def _read(stream: Any, size: int) -> np.ndarray:
    header = READERS.get(np.lib.format.read_magic(stream))
    if header is None:
        raise ValueError("an array of a format that is not read here")
    shape, fortran, kind = header(stream)
    if kind.hasobject or kind.names is not None:
        raise ValueError("an array that holds more than numbers and texts")
    if math.prod(shape) * kind.itemsize != size - stream.tell():
        raise ValueError(f"an array claims the shape {shape} with another number of bytes")
    flat = np.frombuffer(bytearray(stream.read()), kind, math.prod(shape)) if size else np.zeros(0, kind)
    return flat.reshape(shape, order="F" if fortran else "C")


def check_zip(path: Path, file: BinaryIO, packed: bool) -> None:
    """ValueError for what is no zip, and for one that claims more than it may: than its own size, or, where its entries
    may be packed, than such files come to."""
    size = file.seek(0, os.SEEK_END)
    if not zipfile.is_zipfile(file):
        raise ValueError(f"{path}: another kind of file than expected here, or cut off")
    try:
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError, EOFError) as error:
        raise ValueError(f"{path}: damaged: its list of contents cannot be read ({error})") from None
    if not packed and any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise ValueError(f"{path}: refused: its entries are compressed, which a checkpoint's never are")
    most = max(PACKED_MOST, PACKED_TIMES * size) if packed else size
    claimed = sum(entry.file_size for entry in entries)
    if claimed > most:
        raise ValueError(f"{path}: refused: {size:,} bytes that claim to hold {claimed:,}")
