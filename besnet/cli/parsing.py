"""Text → arguments: what is wrong with it becomes one line that names the argument and the nearest name there is."""

import difflib
import re
from typing import TYPE_CHECKING, Any

from besnet.cli.verbs import VERBS

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace

UNKNOWN = re.compile(
    r"(?:unrecognized arguments: (?:--)?|Option ')(?P<option>[\w.]+)|"
    r"(?:Group '(?P<group>[\w.]+)' does not accept option|[Kk]ey) '(?P<key>[\w.]+)'(?! *:|.*required)"
)


def new_parser(verb: str) -> "ArgumentParser":
    """An argument parser that neither guesses abbreviations nor reads the environment."""
    from jsonargparse import ArgumentParser

    return ArgumentParser(prog=f"besnet {verb}", description=VERBS[verb], allow_abbrev=False, exit_on_error=False)


def parse(parser: "ArgumentParser", words: list[str]) -> "Namespace":
    """Parse the command line. ValueError with one line that names the argument, and the nearest name there is."""
    from argparse import ArgumentError

    try:
        return parser.parse_args(words)
    except ArgumentError as error:
        message = one_line(error)
    if message.startswith("Problems parsing config"):
        files = [word.partition("=")[2] or words[place + 1] for place, word in enumerate(words) if "--config" in word]
        raise ValueError(f"{' '.join(files)}: not readable as YAML: {message.partition(':')[2].strip()}")
    unknown = UNKNOWN.search(message)
    if unknown:
        word = unknown["option"] or f"{unknown['group'] or ''}{'.' if unknown['group'] else ''}{unknown['key']}"
        near = difflib.get_close_matches(word, known_keys(parser), n=1)
        raise ValueError(f"unknown argument {word!r}" + (f": did you mean {near[0]!r}?" if near else "; see --help"))
    raise ValueError(re.sub(r"<class '([\w.]+)'>", r"\1", message))


def known_keys(parser: "ArgumentParser") -> list[str]:
    """Every argument of a parser, by its dotted name."""
    return [action.dest for action in parser._actions if action.dest not in ("help", "print_config")]


def plain(parser: "ArgumentParser", parsed: "Namespace") -> dict[str, Any]:
    """The resolved config as plain values: what a checkpoint stores and config.yaml shows."""
    import yaml

    config: dict[str, Any] = yaml.safe_load(parser.dump(parsed, skip_unset=False))
    return config


def one_line(error: BaseException) -> str:
    """A message without its line breaks."""
    return " ".join(str(error).split()) or type(error).__name__
