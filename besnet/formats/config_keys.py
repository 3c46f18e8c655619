"""Config keys of older releases: what they are called now, and which of them no longer have an effect.

A name on the command line is its config key: both tables are for either. A name in them works for one release on the
command line and in a user's config, and for ever in the files that besnet wrote.
"""

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


def with_new_keys(config: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """A config with today's keys, and a line for each key that was an older one.

    A config that has both the old and the new key keeps the new one.
    """
    lines = []
    for old, new in RENAMED.items():
        values = _values(config, old.split("."))
        if values:
            config = _without(config, old.split("."))
            if not _values(config, new.split(".")):
                config = _put(config, new.split("."), values[0])
            lines.append(renamed_line(old, new))
    for old, why in DROPPED.items():
        if _values(config, old.split(".")):
            config = _without(config, old.split("."))
            lines.append(dropped_line(old, why))
    return config, lines


def _values(config: Any, key: list[str]) -> list[Any]:
    """The value at a dotted key, in a list that is empty where there is none."""
    for part in key:
        if not isinstance(config, dict) or part not in config:
            return []
        config = config[part]
    return [config]


def _without(config: dict[str, Any], key: list[str]) -> dict[str, Any]:
    first, *rest = key
    if rest:
        return config | {first: _without(config[first], rest)}
    return {name: value for name, value in config.items() if name != first}


def _put(config: dict[str, Any], key: list[str], value: Any) -> dict[str, Any]:
    first, *rest = key
    if not rest:
        return config | {first: value}
    section = config.get(first)
    return config | {first: _put(section if isinstance(section, dict) else {}, rest, value)}
