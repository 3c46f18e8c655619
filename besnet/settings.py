"""A config of `besnet train` as plain values, for what looks at a few of them before a training."""

import sys
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from besnet.environment import whole_number
from besnet.formats import upgraded
from besnet.formats.config_keys import with_new_keys
from besnet.reading import read_bytes
from besnet.text import short

MOST_LETTERS, DEEPEST = 200_000, 20
STARTS = (yaml.BlockMappingStartToken, yaml.BlockSequenceStartToken, yaml.FlowMappingStartToken,
          yaml.FlowSequenceStartToken)  # fmt: skip
ENDS = (yaml.BlockEndToken, yaml.FlowMappingEndToken, yaml.FlowSequenceEndToken)
SECTIONS = ("model", "data", "data.clip", "recipe", "saving", "evaluation", "trainer")


class UnreadableYaml(yaml.YAMLError):
    """A text that is not read, because a few of its letters may stand for any amount of memory."""


def check_yaml(text: str) -> None:
    """UnreadableYaml for a text that is too long, too deeply nested, or refers to its own parts."""
    if len(text) > MOST_LETTERS:
        raise UnreadableYaml(f"longer than {MOST_LETTERS:,} letters")
    depth = 0
    for token in yaml.scan(text):
        if isinstance(token, yaml.AliasToken):
            raise UnreadableYaml(
                f"line {token.start_mark.line + 1}: *{token.value}: write it out, aliases are not read"
            )
        depth += isinstance(token, STARTS) - isinstance(token, ENDS)
        if depth > DEEPEST:
            raise UnreadableYaml(f"line {token.start_mark.line + 1}: nested more than {DEEPEST} deep")


def read_settings(config: Path) -> tuple[str, dict[str, Any]]:
    """A config's text and its values; every section that is there holds settings. ValueError if it cannot be one."""
    try:
        text = read_bytes(config, 4 * MOST_LETTERS).decode()
        check_yaml(text)
        settings = yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{config}: not readable as YAML: {short(str(error), 300)}") from error
    if not isinstance(settings, dict):
        raise ValueError(f"{config}: no settings in it: a config of `besnet train` is expected")
    settings = current(settings, str(config))
    check_sections(settings, f"{config}: ")
    return text, settings


def current(settings: dict[str, Any], where: str) -> dict[str, Any]:
    """A user's or a run's config with today's keys; a line on standard error names each one that is older.

    ValueError that names the file (`where`) that a newer besnet wrote.
    """
    settings, lines = with_new_keys(upgraded(settings, "run", where))
    for line in lines:
        say_once(f"besnet: {where}: {line}")
    return settings


@cache
def say_once(line: str) -> None:
    """Print a line on standard error, once however often a config is read, and not on every rank."""
    if whole_number("RANK", 0) == 0:
        print(line, file=sys.stderr, flush=True)


def check_sections(settings: dict[str, Any], where: str = "") -> None:
    """ValueError if a section that is there holds no settings."""
    for name in SECTIONS:
        part = settings
        for key in name.split("."):
            part = part.get(key, {})
            if not isinstance(part, dict):
                raise ValueError(f"{where}{name} holds no settings: write some below it, or leave the line out")


def data_folder(config: Path, settings: dict[str, Any]) -> Path:
    """The prepared data set of a config. ValueError if it names none."""
    folder = settings.get("data", {}).get("folder")
    if not isinstance(folder, str):
        raise ValueError(f"{config}: data.folder is missing: it names a prepared data set")
    return Path(folder)
