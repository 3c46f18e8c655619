"""Config keys of older releases: what they are called now, and which of them no longer change anything.

A name on the command line is its config key: both tables are for either. What is in them works for one release.
"""

from copy import deepcopy
from typing import Any

RENAMED = {
    "compiled": "compile",
    "recipe.hardest": "recipe.ohem",
}
DROPPED = {
    "channels_last": "the network always runs channels-last",
}
GONE_IN = "0.3"


def renamed_line(old: str, new: str) -> str:
    """The line that a user of an old name gets."""
    return f"{old} is now {new} (the old name goes in {GONE_IN})"


def dropped_line(old: str, why: str) -> str:
    """The line that a user of a name without effect gets."""
    return f"{old} has no effect: {why} (the name goes in {GONE_IN})"


def with_new_keys(
    config: dict[str, Any], renamed: dict[str, str] = RENAMED, dropped: dict[str, str] = DROPPED
) -> tuple[dict[str, Any], list[str]]:
    """A config with today's keys, and a line for each key that was another one.

    A config that has both the old and the new key keeps the new one.
    """
    config, lines = deepcopy(config), []
    for old, new in renamed.items():
        if _has(config, old):
            value = _take(config, old)
            if not _has(config, new):
                _put(config, new, value)
            lines.append(renamed_line(old, new))
    for old, why in dropped.items():
        if _has(config, old):
            _take(config, old)
            lines.append(dropped_line(old, why))
    return config, lines


def _section(config: Any, key: str) -> Any:
    """What holds a dotted key's last name; None where that is not a section."""
    for part in key.split(".")[:-1]:
        config = config.get(part) if isinstance(config, dict) else None
    return config if isinstance(config, dict) else None


def _has(config: dict[str, Any], key: str) -> bool:
    section = _section(config, key)
    return section is not None and key.rpartition(".")[2] in section


def _take(config: dict[str, Any], key: str) -> Any:
    return _section(config, key).pop(key.rpartition(".")[2])


def _put(config: dict[str, Any], key: str, value: Any) -> None:
    for part in key.split(".")[:-1]:
        inner = config.setdefault(part, {})
        if not isinstance(inner, dict):
            return
        config = inner
    config[key.rpartition(".")[2]] = value
