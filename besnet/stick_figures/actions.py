"""The actions: a label and what was drawn for the video → the pose at every frame.

Two classes of a reversal pair share one curve; the second plays it backwards, frame by frame. Whatever else a
video shows is drawn without looking at the label, so neither a frame nor a bag of frames tells the two apart.
Actions of one hand or foot use either side, and no action turns by itself: a horizontal flip keeps every label.
"""

from dataclasses import dataclass, field, fields, replace

import numpy as np

CLASSES = [
    "sit_down", "stand_up", "pick_up", "put_down", "raise_arms", "lower_arms",
    "wave", "clap", "kick", "march", "jumping_jack", "bow",
]  # fmt: skip
# (forward, the same curve backwards)
REVERSALS = [("sit_down", "stand_up"), ("pick_up", "put_down"), ("raise_arms", "lower_arms")]
# Classes that duration alone tells apart: the rhythm of one movement, or how often it is done at one pace.
DURATION_PAIRS = [("march_slow", "march_fast"), ("jumping_jack_slow", "jumping_jack_fast"),
                  ("kick_slow", "kick_fast"), ("bow_once", "bow_twice")]  # fmt: skip
PACES = {"slow": 0.5**0.5, "fast": 2**0.5}  # on the speed of a repeated movement
# Pairs that a horizontal flip would exchange: none, so flipping is a safe augmentation.
MIRROR_PAIRS: list[tuple[str, str]] = []

SEAT_HEIGHT, SEAT_BACK = 0.29, 0.25  # of the stool that sit_down uses, in body heights; SEAT_BACK is behind the feet
BOX_HALF, BOX_FORWARD = 0.075, 0.27  # half the edge of the carried box, and its distance before the feet
_BACKWARDS = {second: first for first, second in REVERSALS}


@dataclass
class Timing:
    """When and how one figure moves. Drawn without the label."""

    hold_before: float  # still share of the video before a single movement ...
    hold_after: float  # ... and after it
    sharpness: float  # of the ease in and out; 1 is constant speed
    speed: float  # factor on the rhythm of repeated movements
    phase: float  # 0..1 of a period
    side: int  # 0 left, 1 right: the hand that waves, the foot that kicks; the half of the time with a single bow
    amplitude: float  # about 1
    manner: float  # 0..1, free choice within an action (arms rise sideways or in front, ...)
    sway: tuple[float, float, float]  # amplitude, Hz, phase of the idle sway


@dataclass
class Pose:
    """One body over T frames. Lengths in body heights, angles in radians; x to its right, y forward, z up.

    Arrays of sides hold left first. `hands` are offsets from the shoulder in the frame of the torso (x outward),
    in arm lengths; `grip` is a place in the world that the hands are drawn to with weight `gripping`.
    `seated` is the share of the way down to the stool, `carried` true where the box is off the floor.
    """

    pelvis: np.ndarray  # (T, 3) offset from where it is when standing
    pitch: np.ndarray  # (T,) lean of the torso, forward positive
    twist: np.ndarray  # (T,)
    hands: np.ndarray  # (T, 2, 3)
    feet: np.ndarray  # (T, 2, 3) offset of the ankles from standing, x outward
    toes: np.ndarray  # (T, 2) angle of the feet, up positive
    grip: np.ndarray = field(init=False)  # (T, 2, 3)
    gripping: np.ndarray = field(init=False)  # (T,)
    seated: np.ndarray = field(init=False)  # (T,)
    carried: np.ndarray = field(init=False)  # (T,) bool

    def __post_init__(self) -> None:
        self.grip = np.zeros_like(self.hands)
        self.gripping = np.zeros_like(self.pitch)
        self.seated = np.zeros_like(self.pitch)
        self.carried = np.zeros(len(self.pitch), bool)

    def backwards(self) -> "Pose":
        """The same body moving backwards in time."""
        other = Pose(*(getattr(self, item.name)[::-1] for item in fields(self) if item.init))
        for item in fields(self):
            if not item.init:
                setattr(other, item.name, getattr(self, item.name)[::-1])
        return other


def pose_curve(label: str, timing: Timing, times_sec: np.ndarray) -> Pose:
    """The pose at each of the evenly spaced times (T,); a reversal pair gives equal curves in opposite order."""
    movement, _, pace = label.rpartition("_")
    if pace in PACES:
        label, timing = movement, replace(timing, speed=timing.speed * PACES[pace])
    forward = _BACKWARDS.get(label, label)
    pose = _forward(forward, timing, times_sec)
    return pose if forward == label else pose.backwards()


def _progress(timing: Timing, times_sec: np.ndarray) -> np.ndarray:
    """0 → 1 once over the video, with a hold at either end."""
    share = times_sec / max(times_sec[-1], 1e-9)
    x = np.clip((share - timing.hold_before) / (1 - timing.hold_before - timing.hold_after), 0, 1)
    up, down = x**timing.sharpness, (1 - x) ** timing.sharpness
    return up / (up + down)


def _smooth(x: np.ndarray) -> np.ndarray:
    x = np.clip(x, 0, 1)
    return x * x * (3 - 2 * x)


def reach(flex: np.ndarray, abduct: np.ndarray, length: np.ndarray | float) -> np.ndarray:
    """Hand offset (T, 3) of an arm raised forward by `flex` and outward by `abduct` from hanging down."""
    out, ahead, up = np.sin(abduct), np.cos(abduct) * np.sin(flex), -np.cos(abduct) * np.cos(flex)
    return np.stack([out, ahead, up], -1) * np.expand_dims(np.asarray(length, float), -1)


def _forward(label: str, timing: Timing, times_sec: np.ndarray) -> Pose:
    n, size = len(times_sec), timing.amplitude
    zero, one = np.zeros(n), np.ones(n)
    rest = reach(0.12 * one, 0.2 * one, 0.96)
    pose = Pose(np.zeros((n, 3)), zero.copy(), zero.copy(), np.stack([rest, rest], 1), np.zeros((n, 2, 3)),
                np.zeros((n, 2)))  # fmt: skip
    strength, hertz, phase = timing.sway
    sway = strength * np.sin(2 * np.pi * (hertz * times_sec + phase))
    pose.pelvis[:, 0] += sway
    pose.pitch += 0.04 + 0.8 * sway
    s = _progress(timing, times_sec)
    bump = np.sin(np.pi * s) ** 2

    def cycle(hertz: float) -> np.ndarray:
        return 2 * np.pi * (hertz * timing.speed * times_sec + timing.phase)

    if label == "sit_down":
        pose.pelvis[:, 1] -= SEAT_BACK * np.sin(np.pi / 2 * s)
        pose.seated[:] = s
        pose.pitch += 0.75 * size * bump
        hand = reach(0.12 + 0.75 * s + 0.5 * bump, 0.2 - 0.12 * s, 0.96 - 0.12 * s)
        pose.hands[:] = hand[:, None]
    elif label == "pick_up":
        pose.pelvis[:, 2] -= 0.2 * bump
        pose.pelvis[:, 1] -= 0.14 * bump
        pose.pitch += 1.15 * bump
        lifted = _smooth(2 * s - 1)
        height = BOX_HALF + (0.5 - BOX_HALF + 0.06 * timing.manner) * lifted
        for side, sign in enumerate((-1, 1)):
            pose.grip[:, side] = np.stack([sign * BOX_HALF * one, BOX_FORWARD - 0.03 * lifted, height], -1)
        pose.gripping[:] = _smooth(s / 0.45)
        pose.carried[:] = s > 0.5
    elif label == "raise_arms":
        flex = 1.2 * (timing.manner - 0.2) * np.sin(np.pi * s)
        pose.hands[:] = reach(0.12 + flex, 0.2 + (2.45 + 0.2 * size) * s, 0.96 + 0.03 * s)[:, None]
        pose.pitch -= 0.08 * s
    elif label == "wave":
        a = 0.45 * size * np.sin(cycle(1.7))
        pose.hands[:, timing.side] = np.stack([0.42 + 0.75 * np.sin(a), 0.2 * one, 0.72 * np.cos(a) - 0.02], -1)
        pose.pelvis[:, 0] += 0.01 * np.sin(cycle(1.7))
    elif label == "clap":
        gap = 0.72 * size * (0.5 + 0.5 * np.cos(cycle(1.6))) ** 0.8
        pose.hands[:] = np.stack([-0.25 + gap, 0.78 - 0.35 * gap, -0.1 + 0.25 * timing.manner * one], -1)[:, None]
    elif label == "kick":
        turn = cycle(0.8)
        kick = np.clip(np.cos(turn), 0, None) ** 1.5
        wind = np.clip(np.cos(turn + 1.7), 0, None) ** 2
        pose.feet[:, timing.side, 1] = (0.42 * kick - 0.2 * wind) * size
        pose.feet[:, timing.side, 2] = 0.36 * size * kick + 0.09 * wind
        pose.toes[:, timing.side] = 0.5 * kick - 0.6 * wind
        pose.pitch += -0.22 * kick + 0.12 * wind
        pose.hands[:, timing.side] = reach(0.1 - 0.7 * kick + 0.4 * wind, 0.35 * one, 0.9)
        pose.hands[:, 1 - timing.side] = reach(0.1 + 1.0 * kick - 0.3 * wind, 0.45 * one, 0.88)
    elif label == "march":
        turn = cycle(1.0)
        for side, sign in enumerate((-1, 1)):
            lift = np.clip(sign * np.sin(turn), 0, None)
            pose.feet[:, side, 2] = 0.22 * size * lift
            pose.feet[:, side, 1] = 0.1 * size * lift
            pose.toes[:, side] = -0.4 * lift
            pose.hands[:, side] = reach(0.25 - 0.8 * size * sign * np.sin(turn), 0.15 * one, 0.78)
        pose.pelvis[:, 2] += 0.012 * np.cos(2 * turn)
        pose.twist += 0.12 * np.sin(turn)
    elif label == "jumping_jack":
        turn = cycle(1.0)
        apart = 0.5 - 0.5 * np.cos(turn)
        pose.feet[:, :, 0] = (0.15 * size * apart)[:, None]
        pose.hands[:] = reach(0.1 * one, 0.2 + 2.55 * apart, 0.97)[:, None]
        hop = 0.045 * np.abs(np.sin(turn))
        pose.pelvis[:, 2] += hop - 0.025 * apart
        pose.feet[:, :, 2] += hop[:, None]
        pose.toes[:] -= (6 * hop)[:, None]
    elif label in ("bow", "bow_once", "bow_twice"):
        if label != "bow":  # two bows, or one of them
            shown = (s < 0.5) == (timing.side == 0) if label == "bow_once" else np.ones(n, bool)
            bump = np.sin(2 * np.pi * s) ** 2 * shown
        pose.pitch += (1.0 + 0.15 * size) * bump
        pose.pelvis[:, 1] -= 0.07 * bump
        pose.hands[:] = reach(0.12 + (0.2 + 0.5 * timing.manner) * bump, 0.2 - 0.05 * bump, 0.96)[:, None]
    else:
        raise ValueError(f"unknown action {label!r}: choose one of {', '.join(CLASSES)}")
    return pose
