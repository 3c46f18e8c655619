"""Everything about a video but its label and its person, and the frames they make together."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Literal

import numpy as np
from PIL import Image, ImageDraw

from besnet.stick_figures.actions import CLASSES, SEAT_BACK, SEAT_HEIGHT, Timing, pose_curve
from besnet.stick_figures.backdrop import paint_backdrop
from besnet.stick_figures.body import Person, draw_person, hsv, skeleton
from besnet.stick_figures.camera import Camera
from besnet.stick_figures.painting import Figure
from besnet.stick_figures.shapes import Tone, cuboid, shade

Variant = Literal["easy", "hard", "pairs", "durations"]
LENGTHS_SEC = {"easy": (1.8, 3.2), "hard": (1.5, 4.0), "pairs": (1.8, 3.2), "durations": (2.4, 4.0)}
FRAME_RATES = [Fraction(fps) for fps in (15, 20, 24, 25, 25, 30, 30, 50, 60)]
FRAME_RATES += [Fraction(24000, 1001), Fraction(30000, 1001)]
SHORT_SIDES = [128, 144, 160, 176, 192, 208, 240]
ASPECTS = [(1, 1), (4, 3), (4, 3), (3, 2), (16, 9), (4, 5)]
SUPERSAMPLING = 2


@dataclass
class Actor:
    """A figure without its person: how it moves and where it stands."""

    timing: Timing
    camera: Camera
    decoy_stool: tuple[float, float] | None  # a stool that nobody uses, beside the figure (x, y)
    decoy_box: tuple[float, float] | None


@dataclass
class Bystander:
    """A smaller figure that does something else, in the hard variant; the second of two figures, in pairs."""

    person: Person
    label: str
    actor: Actor


@dataclass
class Scene:
    """One video without its label and person. Drawn from a random generator alone."""

    width: int
    height: int
    fps: Fraction
    frames: int
    actor: Actor
    bystanders: list[Bystander]
    tone: Tone
    backdrop: Image.Image  # the canvas, larger than the frame by a margin, at SUPERSAMPLING
    props: tuple[int, int, int]  # colour of the stool
    boxes: np.ndarray  # (T, 4) what the camera sees of the canvas: left, top, right, bottom
    posts: list[tuple[float, float, tuple[int, int, int]]]  # things before the figure: x, width, colour
    speed: float  # seconds of the scene that pass in a second of the video

    @property
    def times_sec(self) -> np.ndarray:
        """The time in the scene that every frame shows."""
        return np.arange(self.frames) / float(self.fps) * self.speed


def _draw_actor(rng: np.random.Generator, hard: bool, foot: tuple[float, float], scale: float,
                tilt: float, light: tuple[float, float]) -> Actor:  # fmt: skip
    steady = 0.22 if not hard else 0.26
    timing = Timing(
        hold_before=rng.uniform(0.04, steady), hold_after=rng.uniform(0.04, steady), sharpness=rng.uniform(1.2, 2.0),
        speed=rng.uniform(0.85, 1.2) if not hard else rng.uniform(0.6, 1.6), phase=rng.random(),
        side=int(rng.integers(2)), amplitude=rng.uniform(0.92, 1.08) if not hard else rng.uniform(0.75, 1.12),
        manner=rng.random(), sway=(rng.uniform(0.003, 0.012), rng.uniform(0.3, 0.8), rng.random()),
    )  # fmt: skip
    turned = rng.uniform(0.45, 1.05) if not hard else rng.uniform(0.3, 1.2)
    camera = Camera(foot[0], foot[1], scale, turned * rng.choice([-1, 1]), tilt, light)
    spots = [(float(rng.choice([-1, 1]) * rng.uniform(0.34, 0.5)), float(rng.uniform(-0.6, -0.15))) for _ in range(2)]
    return Actor(timing, camera, spots[0] if rng.random() < 0.35 else None, spots[1] if rng.random() < 0.35 else None)


def draw_scene(rng: np.random.Generator, variant: Variant, speed: float = 1.0) -> Scene:
    """A new scene; the label is not known here, so nothing can depend on it. At another speed it is the same scene,
    filmed at the same frame rate, in which everything that moves is so many times as fast."""
    hard, pairs = variant in ("hard", "durations"), variant == "pairs"
    short, (a, b) = int(rng.choice(SHORT_SIDES)), ASPECTS[rng.integers(len(ASPECTS))]
    a, b = (16, 9) if pairs else (a, b)
    width, height = (2 * round(short * side / min(a, b) / 2) for side in (a, b))
    fps = FRAME_RATES[rng.integers(len(FRAME_RATES))]
    frames = max(2, round(rng.uniform(*LENGTHS_SEC[variant]) * fps))
    frames = 1 + max(1, round((frames - 1) / speed))
    margin = 0.08 if not hard else 0.15
    size = (round(SUPERSAMPLING * width * (1 + 2 * margin)), round(SUPERSAMPLING * height * (1 + 2 * margin)))
    inner = np.array([width, height]) * SUPERSAMPLING
    origin = np.array(size) / 2 - inner / 2

    tone = Tone(1.0, 128.0) if not hard else Tone(rng.uniform(0.6, 1.0), rng.uniform(80, 175))
    tilt = rng.uniform(0.1, 0.3)
    light = (float(rng.choice([-1, 1]) * rng.uniform(0.25, 0.7)), float(rng.uniform(-0.5, 0.5)))
    ground = rng.uniform(0.9, 0.95)  # where the feet are, down the frame
    horizon = round(origin[1] + inner[1] * (ground - rng.uniform(0.1, 0.28)))
    backdrop = paint_backdrop(rng, size, horizon, tone, 0 if not hard else int(rng.integers(2, 7)))

    share = rng.uniform(0.64, 0.74) if not hard else rng.uniform(0.54, 0.7)
    wander = 0.07 if not hard else 0.11
    middle = 0.27 if pairs else 0.5
    foot = origin + inner * np.array([rng.uniform(middle - wander, middle + wander), ground])
    actor = _draw_actor(rng, hard, (foot[0], foot[1]), share * inner[1], tilt, light)
    if variant == "durations":  # slow and fast are twice as far apart as that: they never meet
        actor.timing.speed = rng.uniform(0.85, 1.2)
    bystanders = []
    for _ in range(int(rng.integers(1, 3)) if hard else 0):
        smaller = rng.uniform(0.45, 0.7)
        x = origin[0] + inner[0] * rng.uniform(0.05, 0.95)
        y = horizon + (foot[1] - horizon) * rng.uniform(0.15, 0.75)
        other = _draw_actor(rng, True, (x, y), smaller * share * inner[1], tilt, light)
        other.decoy_box = other.decoy_stool = None
        bystanders.append(Bystander(draw_person(rng), CLASSES[rng.integers(len(CLASSES))], other))
    if pairs:
        x = origin[0] + inner[0] * rng.uniform(0.73 - wander, 0.73 + wander)
        other = _draw_actor(rng, False, (x, foot[1]), share * inner[1], tilt, light)
        bystanders.append(Bystander(draw_person(rng), CLASSES[rng.integers(len(CLASSES))], other))
    bystanders.sort(key=lambda someone: someone.actor.camera.foot_y)

    posts = []
    for _ in range(int(rng.integers(0, 2)) if hard else 0):
        posts.append((origin[0] + inner[0] * rng.random(), inner[0] * rng.uniform(0.015, 0.07),
                      hsv(rng.random(), rng.uniform(0.1, 0.6), rng.uniform(0.2, 0.8))))  # fmt: skip
    stool = hsv(rng.random(), 0.45, 0.7)
    path = _draw_camera_path(rng, hard, frames, float(fps) / speed, inner, np.array(size))
    return Scene(width, height, fps, frames, actor, bystanders, tone, backdrop, stool, path, posts, speed)


def _draw_camera_path(rng: np.random.Generator, hard: bool, frames: int, fps: float, inner: np.ndarray,
                      size: np.ndarray) -> np.ndarray:  # fmt: skip
    """Boxes (T, 4) of a slow drift, which is as likely to run the other way: time has no direction in it."""
    u = np.linspace(-1, 1, frames)[:, None]
    far = 0.022 if not hard else 0.045
    centre = size / 2 + inner * rng.uniform(-far, far, 2) * u
    if hard:
        times = np.arange(frames)[:, None] / fps
        hertz, phase = rng.uniform(0.5, 2.5, 2), rng.random(2)
        centre = centre + inner * rng.uniform(0, 0.01) * np.sin(2 * np.pi * (hertz * times + phase))
    half = 0.5 * inner * np.exp(rng.uniform(-far, far) * u)
    half = np.minimum(half, np.minimum(centre, size - centre))
    # keep the pixels square
    half = inner * (half / inner).min(1, keepdims=True)
    return np.concatenate([centre - half, centre + half], 1)


def _paint_stool(canvas: Image.Image, actor: Actor, place: tuple[float, float], scene: Scene) -> None:
    """A stool on the still backdrop; it stands behind whatever moves."""
    draw = ImageDraw.Draw(canvas)
    x, y = place
    half = 0.115
    for dx, dy in ((-1, -1), (1, -1), (-1, 1), (1, 1)):
        foot = np.array([[x + 0.85 * half * dx, y + 0.85 * half * dy, 0.13]])
        for colour, polygons in cuboid(foot, (0.014, 0.014, 0.13), actor.camera, shade(scene.props, 0.65), scene.tone):
            draw.polygon(polygons[0], fill=colour)
    seat = np.array([[x, y, SEAT_HEIGHT - 0.022]])
    for colour, polygons in cuboid(seat, (half, half, 0.022), actor.camera, scene.props, scene.tone):
        draw.polygon(polygons[0], fill=colour)


def _stage(scene: Scene, canvas: Image.Image, actor: Actor, person: Person, label: str, frames: list[int]) -> Figure:
    """The figure of an actor at some frames, with the still things around it painted on the canvas."""
    timing = actor.timing
    timing = replace(timing, speed=timing.speed * person.tempo, amplitude=timing.amplitude * person.energy)
    joints = skeleton(person, pose_curve(label, timing, scene.times_sec))
    if label in ("sit_down", "stand_up"):
        _paint_stool(canvas, actor, (0.0, -SEAT_BACK - 0.02), scene)
    elif actor.decoy_stool:
        _paint_stool(canvas, actor, actor.decoy_stool, scene)
    carries = label in ("pick_up", "put_down")
    if actor.decoy_box and not carries:
        draw = ImageDraw.Draw(canvas)
        place = np.array([[*actor.decoy_box, 0.075]])
        for colour, polygons in cuboid(place, (0.075, 0.0675, 0.075), actor.camera, (206, 152, 92), scene.tone):
            draw.polygon(polygons[0], fill=colour)
    joints = {name: joint[frames] for name, joint in joints.items()}
    return Figure(person, joints, actor.camera, scene.tone, carries)


def render(scene: Scene, person: Person, label: str, frames: Iterable[int] | None = None) -> Iterator[Image.Image]:
    """The frames of one video, or those asked for: RGB, (width, height) of the scene."""
    still = scene.backdrop.copy()
    shown = list(range(scene.frames) if frames is None else frames)
    cast = [(someone.actor, someone.person, someone.label) for someone in scene.bystanders]
    figures = [_stage(scene, still, *member, shown) for member in [*cast, (scene.actor, person, label)]]
    for k, frame in enumerate(shown):
        canvas = still.copy()
        for figure in figures:
            figure.paint(canvas, k)
        draw = ImageDraw.Draw(canvas)
        for x, wide, colour in scene.posts:
            draw.rectangle([x - wide / 2, 0, x + wide / 2, canvas.height], fill=scene.tone(shade(colour, 0.7)))
            draw.rectangle([x - wide / 2, 0, x + wide / 6, canvas.height], fill=scene.tone(colour))
        box = tuple(scene.boxes[frame].tolist())
        yield canvas.resize((scene.width, scene.height), Image.Resampling.BOX, box=box)
