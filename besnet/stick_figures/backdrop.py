"""Rooms, parks, streets and studios for the figures to stand in: one still canvas a video."""

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from besnet.stick_figures.body import Colour, hsv
from besnet.stick_figures.shapes import Tone, shade


def gradient(size: tuple[int, int], top: Colour, bottom: Colour) -> Image.Image:
    """A canvas that runs from one colour to another, downwards."""
    ramp = np.linspace(0, 1, 64)[:, None] * (np.array(bottom) - np.array(top)) + np.array(top)
    return Image.fromarray(ramp.astype(np.uint8)[:, None]).resize(size, Image.Resampling.BILINEAR)


def paint_backdrop(
    rng: np.random.Generator, size: tuple[int, int], horizon: int, tone: Tone, clutter: int
) -> Image.Image:
    """A backdrop whose floor begins `horizon` pixels below the top; `clutter` counts additional shapes."""
    kind = [_room, _park, _street, _studio, _pattern][rng.integers(5)]
    canvas = kind(rng, size, horizon)
    if clutter:
        _clutter(rng, canvas, horizon, clutter)
    coarse = rng.normal(0, 2.5, (size[1] // 4, size[0] // 4))
    grain = np.asarray(Image.fromarray(coarse.astype(np.float32)).resize(size, Image.Resampling.BILINEAR))
    pixels = np.asarray(canvas, np.float32) + grain[..., None]
    pixels = tone.grey + tone.contrast * (pixels - tone.grey)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def _soft(rng: np.random.Generator, low: float = 0.55, high: float = 0.95) -> Colour:
    return hsv(rng.random(), rng.uniform(0.08, 0.38), rng.uniform(low, high))


def _floor(canvas: Image.Image, horizon: int, colour: Colour) -> None:
    width, height = canvas.size
    canvas.paste(gradient((width, height - horizon), shade(colour, 0.82), shade(colour, 1.12)), (0, horizon))


def _room(rng: np.random.Generator, size: tuple[int, int], horizon: int) -> Image.Image:
    width, height = size
    wall, boards = _soft(rng), hsv(rng.uniform(0.04, 0.12), rng.uniform(0.2, 0.5), rng.uniform(0.45, 0.85))
    canvas = gradient(size, shade(wall, 1.15), shade(wall, 0.88))
    _floor(canvas, horizon, boards)
    draw = ImageDraw.Draw(canvas)
    vanish = (rng.uniform(0.2, 0.8) * width, horizon - 0.5 * height)
    for x in np.arange(-2 * width, 3 * width, width * rng.uniform(0.16, 0.26)):
        share = (horizon - vanish[1]) / (height - vanish[1])
        draw.line([(vanish[0] + (x - vanish[0]) * share, horizon), (x, height)], fill=shade(boards, 0.78), width=2)
    draw.rectangle([0, horizon - 0.025 * height, width, horizon], fill=shade(wall, 1.5))
    for _ in range(rng.integers(1, 4)):
        w, h = rng.uniform(0.1, 0.26, 2) * height
        x, y = rng.uniform(0, width - w), rng.uniform(0.06, 0.4) * height
        frame = _soft(rng, 0.3, 1)
        draw.rectangle([x, y, x + w, y + h], fill=shade(frame, 0.6))
        rim = 0.09 * min(w, h)
        inner = gradient((max(2, int(w - 2 * rim)), max(2, int(h - 2 * rim))), _soft(rng, 0.7, 1), _soft(rng, 0.5, 0.9))
        canvas.paste(inner, (int(x + rim), int(y + rim)))
    return canvas


def _park(rng: np.random.Generator, size: tuple[int, int], horizon: int) -> Image.Image:
    width, height = size
    hue = rng.choice([0.55, 0.58, 0.07, 0.9]) + rng.uniform(-0.02, 0.02)
    canvas = gradient(size, hsv(hue, rng.uniform(0.3, 0.5), 0.92), hsv(hue + 0.03, 0.12, 1.0))
    draw = ImageDraw.Draw(canvas)
    x, y, r = rng.uniform(0, width), rng.uniform(0.05, 0.3) * height, rng.uniform(0.05, 0.09) * height
    draw.ellipse([x - r, y - r, x + r, y + r], fill=(255, 246, 214))
    for _ in range(rng.integers(1, 4)):
        x, y, r = rng.uniform(0, width), rng.uniform(0.05, 0.35) * height, rng.uniform(0.03, 0.06) * height
        for k in range(-2, 3):
            q = r * (1.1 - 0.25 * abs(k))
            draw.ellipse([x + k * r - q, y - q, x + k * r + q, y + q], fill=(250, 250, 252))
    xs = np.linspace(0, width, 40)
    green = rng.uniform(0.2, 0.4)
    for layer in range(3):
        base = horizon - (0.2 - 0.08 * layer) * height
        hills = base + 0.05 * height * np.sin(xs / width * rng.uniform(4, 11) + rng.uniform(0, 7))
        colour = hsv(green, 0.22 + 0.1 * layer, 0.8 - 0.1 * layer)
        draw.polygon([(0, height), *zip(xs.tolist(), hills.tolist(), strict=True), (width, height)], fill=colour)
    for _ in range(rng.integers(0, 4)):
        x, h = rng.uniform(0, width), rng.uniform(0.2, 0.36) * height
        draw.rectangle([x - 0.03 * h, horizon - 0.5 * h, x + 0.03 * h, horizon + 2], fill=(112, 84, 62))
        for dx, dy, q in ((-0.16, 0.55, 0.2), (0.16, 0.55, 0.2), (0, 0.78, 0.26)):
            leaf = hsv(green + rng.uniform(-0.03, 0.03), 0.45, rng.uniform(0.5, 0.65))
            draw.ellipse(
                [x + (dx - q) * h, horizon - (dy + q) * h, x + (dx + q) * h, horizon - (dy - q) * h], fill=leaf
            )
    _floor(canvas, horizon, hsv(green, rng.uniform(0.3, 0.5), rng.uniform(0.55, 0.75)))
    return canvas


def _street(rng: np.random.Generator, size: tuple[int, int], horizon: int) -> Image.Image:
    width, height = size
    hue = rng.random()
    canvas = gradient(size, hsv(hue, 0.3, 0.85), hsv(hue + 0.1, 0.15, 1.0))
    draw = ImageDraw.Draw(canvas)
    for layer in range(2):
        x = -rng.uniform(0, 0.1) * width
        while x < width:
            w, h = rng.uniform(0.1, 0.2) * width, rng.uniform(0.25, 0.6 - 0.15 * layer) * height
            wall = hsv(
                hue + rng.uniform(-0.12, 0.12), 0.2 + 0.08 * layer, 0.78 - 0.14 * layer + rng.uniform(-0.05, 0.05)
            )
            draw.rectangle([x, horizon - h, x + w, horizon], fill=wall)
            if layer:
                step = 0.045 * height
                for wy in np.arange(horizon - h + step, horizon - step, 1.6 * step):
                    for wx in np.arange(x + 0.6 * step, x + w - step, 1.4 * step):
                        lit = rng.random() < 0.4
                        draw.rectangle([wx, wy, wx + 0.6 * step, wy + 0.8 * step],
                                       fill=(250, 232, 170) if lit else shade(wall, 0.75))  # fmt: skip
            x += w * rng.uniform(0.9, 1.2)
    _floor(canvas, horizon, hsv(hue, 0.08, rng.uniform(0.5, 0.75)))
    draw = ImageDraw.Draw(canvas)
    draw.rectangle([0, horizon, width, horizon + 0.02 * height], fill=hsv(hue, 0.05, 0.85))
    return canvas


def _studio(rng: np.random.Generator, size: tuple[int, int], horizon: int) -> Image.Image:
    height = size[1]
    colour = hsv(rng.random(), rng.uniform(0.1, 0.5), rng.uniform(0.45, 0.8))
    y, x = np.mgrid[0:48, 0:64] / np.array([47.0, 63.0])[:, None, None]
    distance = np.hypot(x - rng.uniform(0.3, 0.7), 0.8 * (y - 0.45))
    light = 1.25 - 0.75 * np.clip(distance, 0, 1) - 0.12 * (1 / (1 + np.exp(-30 * (y - horizon / height)))) * (1.2 - y)
    pixels = np.clip(light[..., None] * np.array(colour), 0, 255).astype(np.uint8)
    return Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)


def _pattern(rng: np.random.Generator, size: tuple[int, int], horizon: int) -> Image.Image:
    width, height = size
    first = _soft(rng)
    second = shade(first, rng.choice([0.86, 1.35]))
    canvas = Image.new("RGB", size, first)
    draw = ImageDraw.Draw(canvas)
    step = rng.uniform(0.08, 0.16) * height
    kind = rng.integers(3)
    if kind == 0:
        slant = rng.uniform(-0.8, 0.8) * height
        for x in np.arange(-height, width + height, 2 * step):
            draw.polygon([(x, 0), (x + step, 0), (x + step + slant, height), (x + slant, height)], fill=second)
    else:
        for row, y in enumerate(np.arange(0, height, step)):
            for x in np.arange((row % 2) * step / 2, width + step, step):
                r = 0.26 * step
                if kind == 1:
                    draw.ellipse([x - r, y - r, x + r, y + r], fill=second)
                else:
                    draw.polygon([(x, y - r), (x + r, y), (x, y + r), (x - r, y)], fill=second)
    _floor(canvas, horizon, _soft(rng, 0.45, 0.9))
    return canvas.filter(ImageFilter.BoxBlur(1))


def _clutter(rng: np.random.Generator, canvas: Image.Image, horizon: int, count: int) -> None:
    width, height = canvas.size
    draw = ImageDraw.Draw(canvas)
    for _ in range(count):
        colour = hsv(rng.random(), rng.uniform(0.2, 0.8), rng.uniform(0.3, 0.95))
        x, base = rng.uniform(0, width), horizon + rng.uniform(0, 0.12) * height
        w, h = rng.uniform(0.03, 0.14) * height, rng.uniform(0.08, 0.5) * height
        kind = rng.integers(3)
        if kind == 0:
            draw.rectangle([x, base - h, x + w, base], fill=colour, outline=shade(colour, 0.5), width=2)
            draw.rectangle([x, base - h, x + 0.3 * w, base], fill=shade(colour, 0.8))
        elif kind == 1:
            draw.rectangle([x - 0.012 * height, base - h, x + 0.012 * height, base], fill=shade(colour, 0.7))
            draw.ellipse([x - w, base - h - w, x + w, base - h + w], fill=colour, outline=shade(colour, 0.5), width=2)
        else:
            draw.polygon([(x - w, base), (x + w, base), (x, base - h)], fill=colour, outline=shade(colour, 0.5))
