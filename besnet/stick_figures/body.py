"""Persons, and a person's joints in space for a pose."""

import colorsys
from dataclasses import dataclass

import numpy as np

from besnet.stick_figures.actions import BOX_FORWARD, BOX_HALF, SEAT_HEIGHT, Pose

Colour = tuple[int, int, int]
ANKLE = 0.035  # height of the ankles above the sole, in body heights
SKIN = [(255, 224, 196), (241, 194, 152), (224, 172, 124), (198, 134, 90), (150, 96, 62), (104, 66, 44)]
HAIR = [(38, 30, 28), (74, 48, 34), (122, 76, 40), (188, 140, 74), (226, 198, 130), (150, 56, 34), (150, 150, 156)]


@dataclass
class Person:
    """Proportions (in body heights), clothes and movement of one person."""

    leg: float
    torso: float
    arm: float
    shoulder: float  # half the width
    hip: float  # half the width
    head: float  # radius
    stout: float  # factor on every thickness
    skin: Colour
    hair: Colour
    shirt: Colour
    trousers: Colour
    shoes: Colour
    long_sleeves: bool
    long_trousers: bool
    hair_style: str  # short, long, bun or cap
    stripe: bool
    energy: float  # factor on the amplitude of movements, about 1
    tempo: float  # factor on the speed of movements, about 1


def hsv(hue: float, saturation: float, value: float) -> Colour:
    red, green, blue = colorsys.hsv_to_rgb(hue % 1, saturation, value)
    return round(255 * red), round(255 * green), round(255 * blue)


def draw_person(rng: np.random.Generator) -> Person:
    """A new person."""
    head = rng.uniform(0.072, 0.085)
    leg = rng.uniform(0.45, 0.51)
    hue = rng.random()
    return Person(
        leg=leg,
        torso=1 - leg - ANKLE - 2 * head - 0.03,
        arm=rng.uniform(0.36, 0.41),
        shoulder=rng.uniform(0.088, 0.112),
        hip=rng.uniform(0.05, 0.066),
        head=head,
        stout=rng.uniform(0.85, 1.25),
        skin=SKIN[rng.integers(len(SKIN))],
        hair=HAIR[rng.integers(len(HAIR))],
        shirt=hsv(hue, rng.uniform(0.45, 0.85), rng.uniform(0.65, 0.98)),
        trousers=hsv(hue + rng.uniform(0.25, 0.75), rng.uniform(0.25, 0.7), rng.uniform(0.25, 0.7)),
        shoes=hsv(rng.random(), rng.uniform(0, 0.6), rng.choice([0.2, 0.95])),
        long_sleeves=bool(rng.random() < 0.5),
        long_trousers=bool(rng.random() < 0.7),
        hair_style=["short", "long", "bun", "cap"][rng.integers(4)],
        stripe=bool(rng.random() < 0.35),
        energy=rng.uniform(0.88, 1.12),
        tempo=rng.uniform(0.9, 1.1),
    )


def _bend(start: np.ndarray, target: np.ndarray, upper: float, lower: float, pole: np.ndarray) -> tuple[
    np.ndarray, np.ndarray
]:  # fmt: skip
    """(middle joint, end joint), each (T, 3), of two bones from start towards target, bent to the side of `pole`."""
    way = target - start
    distance = np.linalg.norm(way, axis=-1, keepdims=True)
    ahead = way / np.maximum(distance, 1e-9)
    distance = np.clip(distance, abs(upper - lower) + 1e-3, (upper + lower) * 0.9995)
    aside = pole - (pole * ahead).sum(-1, keepdims=True) * ahead
    aside /= np.maximum(np.linalg.norm(aside, axis=-1, keepdims=True), 1e-9)
    cosine = np.clip((upper**2 + distance**2 - lower**2) / (2 * upper * distance), -1, 1)
    middle = start + upper * (cosine * ahead + np.sqrt(1 - cosine**2) * aside)
    return middle, start + distance * ahead


def skeleton(person: Person, pose: Pose) -> dict[str, np.ndarray]:
    """Joints of a person: name → (T, 3) in body heights, origin on the ground between the feet.

    The names of sides end in 0 (left) and 1 (right). `facing` is the forward direction of the head, `across` and
    `upright` the other axes of the torso.
    """
    n = len(pose.pitch)
    hip_height = person.leg * 0.985 + ANKLE
    pelvis = pose.pelvis + np.array([0, 0, hip_height])
    # Whatever the legs' length, a seated figure is on the seat.
    pelvis[:, 2] -= pose.seated * (hip_height - SEAT_HEIGHT - 0.055 * person.stout)
    c, s = np.cos(pose.pitch), np.sin(pose.pitch)
    ct, st = np.cos(pose.twist), np.sin(pose.twist)
    zero = np.zeros(n)
    across = np.stack([ct, st * c, -st * s], -1)
    ahead = np.stack([-st, ct * c, -ct * s], -1)
    upright = np.stack([zero, s, c], -1)
    neck = pelvis + upright * person.torso
    nod = 0.65 * pose.pitch
    joints = {"pelvis": pelvis, "neck": neck, "across": across, "upright": upright}
    joints["facing"] = np.stack([zero, np.cos(nod), -np.sin(nod)], -1)
    crown = np.stack([zero, np.sin(nod), np.cos(nod)], -1)
    joints["crown"] = crown
    joints["head"] = neck + crown * (person.head + 0.025)
    for side, sign in enumerate((-1, 1)):
        shoulder = neck + across * (sign * person.shoulder) - upright * 0.025
        x, y, z = (pose.hands[:, side, k, None] * person.arm for k in range(3))
        hand = shoulder + across * (sign * x) + ahead * y + upright * z
        weight = pose.gripping[:, None]
        hand = (1 - weight) * hand + weight * pose.grip[:, side]
        pole = across * (sign * 0.75) - ahead * 0.55 - upright * 0.5
        elbow, hand = _bend(shoulder, hand, 0.52 * person.arm, 0.48 * person.arm, pole)
        hip = pelvis + np.array([sign * person.hip, 0, 0])
        ankle = pose.feet[:, side] * np.array([sign, 1, 1]) + np.array([sign * person.hip * 1.25, 0, ANKLE])
        pole = np.broadcast_to(np.array([sign * 0.25, 1.0, 0.0]), ankle.shape)
        knee, ankle = _bend(hip, ankle, 0.5 * person.leg, 0.5 * person.leg, pole)
        lift = pose.toes[:, side]
        toe = ankle + 0.085 * np.stack([0.25 * sign + zero, np.cos(lift), np.sin(lift) - 0.12], -1)
        for name, joint in (("shoulder", shoulder), ("elbow", elbow), ("hand", hand), ("hip", hip), ("knee", knee),
                            ("ankle", ankle), ("toe", toe)):  # fmt: skip
            joints[f"{name}{side}"] = joint
    box = np.broadcast_to(np.array([0, BOX_FORWARD, BOX_HALF]), (n, 3)).copy()
    box[pose.carried] = (0.5 * (joints["hand0"] + joints["hand1"]))[pose.carried]
    joints["box"] = box
    return joints
