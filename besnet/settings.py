"""A config of `besnet train` as plain values, for what looks at a few of them before a training."""

from pathlib import Path
from typing import Any

import yaml

SECTIONS = ("model", "data", "data.clip", "recipe", "saving", "evaluation", "trainer")


def read_settings(config: Path) -> tuple[str, dict[str, Any]]:
    """A config's text and its values; every section that is there holds settings. ValueError if it cannot be one."""
    if config.exists() and not config.is_file():
        raise ValueError(f"{config}: not a file that can be read as a config")
    text = config.read_text()
    try:
        settings = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"{config}: not readable as YAML: {error}") from error
    if not isinstance(settings, dict):
        raise ValueError(f"{config}: no settings in it: a config of `besnet train` is expected")
    for name in SECTIONS:
        part = settings
        for key in name.split("."):
            part = part.get(key, {})
            if not isinstance(part, dict):
                raise ValueError(f"{config}: {name} holds no settings: write some below it, or leave the line out")
    return text, settings


def data_folder(config: Path, settings: dict[str, Any]) -> Path:
    """The prepared data set of a config. ValueError if it names none."""
    folder = settings.get("data", {}).get("folder")
    if not isinstance(folder, str):
        raise ValueError(f"{config}: data.folder is missing: it names a prepared data set")
    return Path(folder)
