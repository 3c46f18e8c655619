"""Names that come from files, as a terminal, a table, a picture and a folder can take them."""

import hashlib
import re
import unicodedata
from typing import Any, TextIO

JOINERS = "\u200c\u200d"  # parts of words in some scripts
FORMULA = re.compile(r"[=+@\t]|-(?![\w-]*$)")


def visible(text: str) -> str:
    """Text without anything that moves a cursor, turns the direction of writing or breaks a line: such characters are
    written as escapes, \\x1b or \\u202e."""
    return "".join(mark if _harmless(mark) else mark.encode("unicode_escape").decode() for mark in text)


def _harmless(mark: str) -> bool:
    return mark.isprintable() or mark in JOINERS or unicodedata.category(mark) == "Zs"


def short(text: str, most: int = 60) -> str:
    """Visible text of at most so many characters, with an ellipsis in its middle where it was longer."""
    if len(text) > 2 * most:
        text = text[:most] + text[-most:]
    text = visible(text)
    if len(text) <= most:
        return text
    half = (most - 1) // 2
    return f"{text[: most - 1 - half]}…{text[len(text) - half :]}"


def label(text: str, most: int = 40) -> str:
    """A name in a picture: visible and short. matplotlib leaves out what begins with an underscore."""
    name = short(text, most)
    return f" {name}" if name.startswith("_") else name


def cell(text: str) -> str:
    """A name in a CSV: a spreadsheet would compute what begins as a formula does, so an apostrophe goes before it.

    A name such as -x1_Yz, which begins with a minus as ids of videos do, is no formula and stays as it is.
    """
    text = text.replace("\r", "\\r")  # which csv leaves unquoted, and readers take for the end of a line
    return f"'{text}" if FORMULA.match(text) else text


def file_name(text: str) -> str:
    """A name as one part of a path: letters, digits, `.`, `-` and `_`. Names that differ stay different."""
    name = re.sub(r"[^\w.-]+", "_", text, flags=re.ASCII).lstrip(".-")[:60]
    if name and name == text:
        return name
    return f"{name}-{hashlib.sha256(text.encode(errors='surrogatepass')).hexdigest()[:8]}".lstrip("-")


class VisibleStream:
    """A stream to a terminal or a log that makes all text visible; only line ends and tabs pass as they are, and a
    carriage return at the beginning, which lets a line of progress be written again."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write the text; returns its length as it was given."""
        start = text[:1] if text.startswith("\r") else ""
        parts = re.split(r"([\n\t])", text[len(start) :])
        self._stream.write(start + "".join(part if part in ("\n", "\t") else visible(part) for part in parts))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
