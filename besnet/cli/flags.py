"""Flags as users write them → flags as the parser reads them: booleans without a value, and old names."""

import re
import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, get_args

from besnet.formats.config_keys import dropped_line, renamed_line

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

BOOLEAN = re.compile(r"(true|false|yes|no|null)", re.I)
VALUE = re.compile(r"[^-].*")  # of a flag that may be more than true or false


def with_new_names(words: Iterable[str], renamed: Mapping[str, str], dropped: Mapping[str, str]) -> list[str]:
    """The words with today's flags; a flag that was dropped leaves with its value. Prints one line for each old flag.

    renamed: old → new; dropped: old → why it has no effect; both without the dashes.
    """
    given, new = list(words), []
    while given:
        name, equals, value = given.pop(0).partition("=")
        old = name.removeprefix("--") if name.startswith("--") else ""
        if old in dropped:
            say(dropped_line(name, dropped[old]))
            if not equals and given and BOOLEAN.fullmatch(given[0]):
                given.pop(0)
            continue
        if old in renamed:
            say(renamed_line(name, f"--{renamed[old]}"))
            name = f"--{renamed[old]}"
        new.append(name + equals + value)
    return new


def say(line: str) -> None:
    """A line for the user, on standard error."""
    print(f"besnet: {line}", file=sys.stderr, flush=True)


def with_values(parser: "ArgumentParser", words: Iterable[str]) -> list[str]:
    """The words with `=true` behind every boolean that stands alone; its value may also be the next word."""
    flags, given, written = booleans(parser), list(words), []
    while given:
        word = given.pop(0)
        if word in flags:
            word += "=" + (given.pop(0) if given and flags[word].fullmatch(given[0]) else "true")
        written.append(word)
    return written


def booleans(parser: "ArgumentParser") -> dict[str, re.Pattern[str]]:
    """The flags of a parser that may be true or false, at any depth of its schema, and what a value looks like."""
    hints = {name: getattr(action, "_typehint", None) for action in parser._actions for name in action.option_strings}
    kinds = {name: set(get_args(hint) or (hint,)) for name, hint in hints.items()}
    return {name: BOOLEAN if kind <= {bool, type(None)} else VALUE for name, kind in kinds.items() if bool in kind}
