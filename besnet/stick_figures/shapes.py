"""The shapes that figures and rooms are painted with, and their colours."""

import numpy as np

from besnet.stick_figures.body import Colour
from besnet.stick_figures.camera import Camera

_STEPS = np.linspace(0, 1, 7)  # points on either round end of a limb


class Tone:
    """The contrast of a whole video: 1 leaves colours as they are, less pulls them towards a grey."""

    def __init__(self, contrast: float, grey: float) -> None:
        self.contrast, self.grey = contrast, grey

    def __call__(self, colour: Colour) -> Colour:
        return tuple(round(self.grey + self.contrast * (c - self.grey)) for c in colour)  # type: ignore[return-value]


def shade(colour: Colour, factor: float) -> Colour:
    """Darker below 1, lighter (towards white) above."""
    if factor <= 1:
        return tuple(round(c * factor) for c in colour)  # type: ignore[return-value]
    return tuple(round(c + (255 - c) * (factor - 1)) for c in colour)  # type: ignore[return-value]


def capsule(a: np.ndarray, b: np.ndarray, radius_a: float, radius_b: float) -> np.ndarray:
    """Outline (T, 14, 2) of a limb with round ends around a and b (T, 2)."""
    way = b - a
    length = np.maximum(np.hypot(way[:, 0], way[:, 1]), 1e-6)
    angle = np.arctan2(way[:, 1], way[:, 0])[:, None]
    half = np.arccos(np.clip((radius_a - radius_b) / length, -1, 1))[:, None]
    around_a = angle + half + (2 * np.pi - 2 * half) * _STEPS
    around_b = angle - half + 2 * half * _STEPS
    first = a[:, None] + radius_a * np.stack([np.cos(around_a), np.sin(around_a)], -1)
    second = b[:, None] + radius_b * np.stack([np.cos(around_b), np.sin(around_b)], -1)
    return np.concatenate([first, second], 1)


def cuboid(centre: np.ndarray, half: tuple[float, float, float], camera: Camera, colour: Colour,
           tone: Tone) -> list[tuple[Colour, list]]:  # fmt: skip
    """Visible faces of boxes at centre (T, 3), with edges along the axes: (colour, T flat polygons) in paint order."""
    faces: list[tuple[Colour, list]] = []
    for axis, sign, light in ((0, -1, 0.72), (0, 1, 0.72), (1, -1, 0.86), (1, 1, 0.86), (2, 1, 1.12)):
        normal = np.zeros(3)
        normal[axis] = sign
        if axis < 2 and camera.project(normal)[2] <= 0:
            continue
        u, v = [k for k in range(3) if k != axis]
        corners = np.repeat(centre[:, None], 4, 1) + normal * half[axis]
        for k, (du, dv) in enumerate(((-1, -1), (1, -1), (1, 1), (-1, 1))):
            corners[:, k, u] += du * half[u]
            corners[:, k, v] += dv * half[v]
        flat = camera.project(corners)[..., :2]
        middle = flat.mean(1, keepdims=True)
        way = flat - middle
        grown = flat + way / np.maximum(np.linalg.norm(way, axis=-1, keepdims=True), 1e-6) * max(
            1.2, 0.009 * camera.scale
        )
        faces.insert(0, (tone(shade(colour, 0.5)), grown.reshape(len(flat), -1).tolist()))
        faces.append((tone(shade(colour, light)), flat.reshape(len(flat), -1).tolist()))
    return faces
