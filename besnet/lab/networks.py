"""The network of each control: its own arguments on top of the config's."""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import yaml

from besnet.lab.controls import Control
from besnet.models.build import DEFAULTS, build, build_shapes, kind


def own_arguments(control: Control) -> Iterator[tuple[str, Any]]:
    """What a control sets in the config's section `model`, as (name, value)."""
    words = iter(control.words)
    for word in words:
        name, equals, value = word.partition("=")
        if name.startswith("--model."):
            yield name.removeprefix("--model."), yaml.safe_load(value if equals else next(words, ""))


def model_of(control: Control, settings: dict[str, Any]) -> dict[str, Any]:
    """The section `model` that a control is trained with."""
    return settings.get("model", {}) | dict(own_arguments(control))


def own_class(control: Control, settings: dict[str, Any]) -> str | None:
    """module:Class, where a control's network is a class of the user's own."""
    network = kind(model_of(control, settings)).network
    return network if ":" in network else None


def fitted(control: Control, settings: dict[str, Any]) -> Control:
    """The control without those of the config's arguments that mean nothing for its network.

    ValueError if the control itself sets such an argument.
    """
    model, own = model_of(control, settings), dict(own_arguments(control))
    network = kind(model)
    strange = model.keys() - network.applicable
    for name in sorted(strange & own.keys()):
        raise ValueError(f"--controls: {control.name}: model.{name} does not apply to {network.title}")
    resets = [f"--model.{name}={text(DEFAULTS[name])}" for name in sorted(strange & DEFAULTS.keys())]
    return replace(control, words=(*control.words, *resets))


def check_networks(controls: list[Control], settings: dict[str, Any], num_classes: int, num_frames: int) -> None:
    """ValueError if a control's network cannot be built, or takes no clips of the config's shape."""
    crop_size = settings.get("data", {}).get("crop_size", 224)
    for control in controls:
        model = model_of(control, settings) | {"num_classes": num_classes}
        try:
            # a class of the user's own is tried with a clip, and needs its weights for that
            network = build(model) if own_class(control, settings) else build_shapes(model)
            network.check_clip(num_frames, crop_size)
        except ValueError as error:
            raise ValueError(f"--controls: {control.name}: {error}") from error


def text(value: Any) -> str:
    """A value as the command line takes it."""
    return value if isinstance(value, str) else json.dumps(value)
