"""The controls: networks that differ in one thing, with the same code, data and schedule."""

import shlex
from dataclasses import dataclass

from besnet.models.video_networks import KINDS


@dataclass(frozen=True)
class Control:
    """A network to compare: its name, what it is, and the arguments of `besnet train` that make it.

    from_frames: whether it starts from a 2D network, which is trained on single frames first where the config names no
    pretrained weights.
    """

    name: str
    what: str
    words: tuple[str, ...]
    from_frames: bool = False


def dilated(name: str, what: str, dilations: str, *more: str) -> Control:
    """A control that differs by its set of dilations."""
    return Control(name, what, (f"--model.dilations={dilations}", *more))


CONTROLS = {
    control.name: control
    for control in [
        dilated("c2d", "2D network, no taps in time", "[]"),
        dilated("none", "dilation 1 (as I3D; the paper's “no dilation”)", "[1]"),
        dilated("fixed_2", "dilation 2 everywhere", "[2]"),
        dilated("random_12", "random dilation, 1 or 2", "[1,2]"),
        Control(
            "interval_12",
            "dilation 1, and the frame interval of each training clip drawn from x 1 and x 2",
            ("--model.dilations=[1]", "--data.intervals=[1,2]"),
        ),
        dilated(
            "channels_12", "half of each layer's channels at dilation 1, half at 2", "[1,2]", "--model.mixture=channels"
        ),
        dilated("averaged_12", "dilations 1 and 2, averaged in training too", "[1,2]", "--recipe.draw=average"),
        dilated("network_12", "random dilation, 1 or 2, the same in all layers", "[1,2]", "--recipe.draw=network"),
        dilated("clip_12", "random dilation, 1 or 2, drawn for each clip", "[1,2]", "--recipe.draw=clip"),
        dilated("random_1234", "random dilation, 1 to 4", "[1,2,3,4]"),
        dilated(
            "learned_1234", "learned mixture of dilations 1 to 4 in each layer", "[1,2,3,4]", "--model.mixture=learned"
        ),
        Control(
            "frames",
            "frozen features of single frames, averaged, MLP",
            ("--model.dilations=[]", "--model.frame_features=true"),
            from_frames=True,
        ),
    ]
}


def find_control(text: str) -> Control:
    """A control by its name, a video network by its name, or one of your own as `NAME: ARGUMENTS OF besnet train`.

    ValueError for neither.
    """
    name, colon, words = text.partition(":")
    if colon:
        if not name.replace("_", "a").replace("-", "a").isalnum():
            raise ValueError(f"controls: {name!r} cannot name a folder: use letters, digits, - and _")
        return Control(name, words.strip(), tuple(shlex.split(words)))
    if name in KINDS:
        return Control(name, f"the network {name}", (f"--model.network={name}",))
    if name not in CONTROLS:
        raise ValueError(
            f"controls: unknown control {name!r}: choose from {', '.join([*CONTROLS, *KINDS])}, "
            "or define your own as 'NAME: --model.dilations=[1,3]'"
        )
    return CONTROLS[name]
