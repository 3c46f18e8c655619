"""Contact sheets: what a video shows, as a row of frames with a line of text."""

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from besnet.text import short

HEIGHT = 84
GAP = 3
TEXT = 20


def contact_sheet(strips: list[tuple[str, np.ndarray]]) -> Image.Image:
    """One row a strip: (text, frames uint8 (N, H, W, 3)), frames in the order of time from left to right."""
    rows = [(text, [Image.fromarray(scaled(frame)) for frame in frames]) for text, frames in strips]
    width = max(sum(image.width + GAP for image in images) for _, images in rows)
    sheet = Image.new("RGB", (width, len(rows) * (HEIGHT + TEXT + GAP)), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(13)
    for number, (text, images) in enumerate(rows):
        top = number * (HEIGHT + TEXT + GAP)
        draw.text((2, top + 2), short(text, 160), fill="black", font=font)
        left = 0
        for image in images:
            sheet.paste(image, (left, top + TEXT))
            left += image.width + GAP
    return sheet


def scaled(frame: np.ndarray) -> np.ndarray:
    """A frame at the sheet's height; one that has it already stays as it is."""
    image = Image.fromarray(frame)
    size = max(1, round(image.width * HEIGHT / image.height)), HEIGHT
    return np.asarray(image.resize(size, Image.Resampling.BILINEAR))
