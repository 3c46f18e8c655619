"""Files that are read whole: a regular file of bounded size, and JSON that fits a schema."""

import json
import os
import stat
from pathlib import Path
from typing import Any

from besnet.formats import upgraded
from besnet.schema import checked
from besnet.text import short

MOST_BYTES = 192 * 2**20  # of a JSON file: the results of 650,000 videos, all of them missing
MOST_COMMAS = 5_000_000


def read_json(path: Path, schema: Any, kind: str) -> Any:
    """The content of one of besnet's JSON files, in the newest format of its kind. ValueError that names the file, the
    field and what is wrong; OSError where there is no such file."""
    return checked(upgraded(parse_json(path), kind, str(path)), schema, str(path))


def parse_json(path: Path) -> Any:
    """What a JSON file holds, whatever that is. ValueError that names the file where it is not JSON."""
    data = read_bytes(path, MOST_BYTES)
    if data.count(b",") > MOST_COMMAS:
        raise ValueError(f"{path}: more than {MOST_COMMAS:,} values in it: not a file of besnet's")
    try:
        return json.loads(data, parse_constant=_no_number)
    except RecursionError:
        raise ValueError(f"{path}: nested too deeply: not a file of besnet's") from None
    except ValueError as error:
        raise ValueError(f"{path}: not readable as JSON ({short(str(error), 200)})") from None


def read_bytes(path: Path, most: int) -> bytes:
    """A regular file's bytes. ValueError if there are more than `most`."""
    with open(path, "rb", opener=_without_waiting) as file:
        facts = os.fstat(file.fileno())
        if not stat.S_ISREG(facts.st_mode):
            raise ValueError(f"{path}: not a file that can be read")
        if facts.st_size > most:
            raise ValueError(f"{path}: larger than {most / 2**20:g} MiB, which is the most that is read of such a file")
        return file.read(facts.st_size)


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # a pipe without a writer would be waited for


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON's")
