"""What `besnet VERB --help` prints: the most used arguments, or with `--help_all` every argument."""

import shutil
import textwrap
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

from besnet.cli.flags import booleans

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

COLUMN = 32  # where descriptions begin
HIDDEN = ("help", "print_config")


def help_text(parser: "ArgumentParser", shown: tuple[str, ...] = (), after: str = "") -> str:
    """The help of a parser. shown: the arguments to list, empty for all; after: what the command line ends with."""
    actions = [action for action in parser._actions if is_argument(action)]
    chosen = [action for name in shown for action in actions if action.dest == name] if shown else actions
    chosen.sort(key=lambda action: not action.required)
    required = [written(parser, action) for action in actions if action.required]
    config = ["[--config FILE]"] if any(action.dest == "config" and not action.required for action in actions) else []
    usage = " ".join(filter(None, ["usage:", parser.prog, *required, *config, "[ARGUMENTS]", after]))
    lines = [usage, "", str(parser.description), ""]
    lines += [line for action in chosen for line in described(parser, action, short=bool(shown))]
    if len(chosen) < len(actions):
        lines += ["", f"{parser.prog} --help_all shows all {len(actions)} arguments."]
    return "\n".join(lines)


def is_argument(action: Any) -> bool:
    """Whether an action is one setting; jsonargparse also has one for each section, and helps of its own."""
    section = "_ActionConfigLoad" in str(type(action))
    return not section and action.dest not in HIDDEN and not action.dest.endswith(".help")


def written(parser: "ArgumentParser", action: Any) -> str:
    """An argument as it is written on the command line."""
    if not action.option_strings:
        return action.dest.upper() + (" ..." if action.nargs == "+" else "")
    flag: str = action.option_strings[0]
    return flag if flag in booleans(parser) else f"{flag} {placeholder(action)}"


def placeholder(action: Any) -> str:
    """What stands for an argument's value: its choices, or a word for its type."""
    kind = getattr(action, "_typehint", None) or action.type
    if get_origin(kind) is Literal:
        return f"{{{','.join(map(str, get_args(kind)))}}}"
    if action.dest == "config":
        return "FILE"
    names = str(kind)
    for word, name in (("list", "LIST"), ("equence", "LIST"), ("tuple", "LIST"), ("Path", "PATH"), ("str", "TEXT"),
                       ("float", "X"), ("int", "N")):  # fmt: skip
        if word in names:
            return name
    return "VALUE"


def described(parser: "ArgumentParser", action: Any, short: bool) -> list[str]:
    """The lines of one argument: how it is written, what it means, its default."""
    text = " ".join(str(action.help or "").split()).replace("%%", "%")
    text = first_clause(text) if short else text.rstrip(".")
    if text[1:2].islower():
        text = text[0].lower() + text[1:]
    if action.required:
        text += " (required)"
    elif not (action.default is None or action.default is False or str(action.default) in ("[]", "()", "==SUPPRESS==")):
        text += f" (default: {default(action.default)})"
    width = max(60, min(120, shutil.get_terminal_size((100, 24)).columns)) - COLUMN
    head, lines = f"  {written(parser, action)}", textwrap.wrap(text, width, break_on_hyphens=False) or [""]
    if len(head) >= COLUMN - 1:
        return [head, *(" " * COLUMN + line for line in lines)]
    return [head.ljust(COLUMN) + lines[0], *(" " * COLUMN + line for line in lines[1:])]


def first_clause(text: str) -> str:
    """A text up to its first `;`, `:` or `.` that stands outside of brackets."""
    depth = 0
    for place, mark in enumerate(text):
        depth += (mark in "([") - (mark in ")]")
        if mark in ";:." and not depth and text[place + 1 : place + 2] in (" ", ""):
            return text[:place]
    return text


def default(value: Any) -> str:
    """A default as it is written on the command line."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{','.join(default(item) for item in value)}]"
    return str(value)
