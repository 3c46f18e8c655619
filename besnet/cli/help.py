"""What `besnet VERB --help` prints: the arguments that people use, or with `--help_all` every argument."""

import re
import shutil
import textwrap
from typing import TYPE_CHECKING, Any

from besnet.cli.flags import booleans

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

COLUMN = 32  # where descriptions begin
HIDDEN = ("help", "print_config")


def help_text(parser: "ArgumentParser", shown: tuple[str, ...] = ()) -> str:
    """The help of a parser; `shown` names the arguments to list, empty lists all."""
    actions = [action for action in parser._actions if is_argument(action)]
    chosen = [action for name in shown for action in actions if action.dest == name] if shown else actions
    chosen.sort(key=lambda action: not is_required(parser, action))
    required = [written(parser, action) for action in actions if is_required(parser, action)]
    optional = ["[--config FILE]"] if any(action.dest == "config" for action in actions if not action.required) else []
    lines = [" ".join(["usage:", parser.prog, *required, *optional, "[ARGUMENTS]"]), "", str(parser.description), ""]
    lines += [line for action in chosen for line in described(parser, action, short=bool(shown))]
    if len(chosen) < len(actions):
        lines += ["", f"{parser.prog} --help_all shows all {len(actions)} arguments."]
    return "\n".join(lines)


def is_argument(action: Any) -> bool:
    """Whether an action stands for one setting; jsonargparse adds one for each section, too, and its own helps."""
    return action.dest not in HIDDEN and not action.dest.endswith(".help") and "_ActionConfigLoad" not in str(
        type(action)
    )


def is_required(parser: "ArgumentParser", action: Any) -> bool:
    """Whether an argument has to be given."""
    return action.required or action.dest in parser.required_args or not action.option_strings


def written(parser: "ArgumentParser", action: Any) -> str:
    """An argument as it is written on the command line."""
    name = action.dest.rpartition(".")[2].upper()
    if not action.option_strings:
        return f"{name} ..." if action.nargs == "+" else name
    flag = action.option_strings[0]
    if flag in booleans(parser):
        return flag
    choices = re.search(r"Literal\[([^]]*)\]", str(getattr(action, "_typehint", "")))
    if choices:
        return f"{flag} {{{choices[1].replace(', ', ',').replace(chr(39), '')}}}"
    return f"{flag} {'FILE' if action.dest == 'config' else name}"


def described(parser: "ArgumentParser", action: Any, short: bool) -> list[str]:
    """The lines of one argument: how it is written, what it means, its default."""
    text = " ".join(str(action.help or "").split()).replace("%%", "%")
    text = re.split(r"[;:.](?= |$)", text)[0] if short else text.rstrip(".")
    if is_required(parser, action):
        text += " (required)"
    elif action.default is not None and "==SUPPRESS==" not in str(action.default):
        text += f" (default: {default(action.default)})"
    width = max(60, min(120, shutil.get_terminal_size((100, 24)).columns)) - COLUMN
    head, lines = f"  {written(parser, action)}", textwrap.wrap(text, width) or [""]
    if len(head) >= COLUMN - 1:
        return [head, *(" " * COLUMN + line for line in lines)]
    return [head.ljust(COLUMN) + lines[0], *(" " * COLUMN + line for line in lines[1:])]


def default(value: Any) -> str:
    """A default as it is written on the command line."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{','.join(default(item) for item in value)}]"
    return str(value)
