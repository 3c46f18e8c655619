"""The random crop of training clips."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from besnet.ranges import check_section
from besnet.video.reader import Box

Whole = bool | Literal["borderless"]  # whether whole frames are seen, and that without a border


@dataclass(frozen=True)
class RandomCrop:
    """The rectangle and the mirroring that training draws for a clip; the same for all its frames.

    Args:
        kind: `jitter` takes a square of crop_size after scaling the short side to a drawn length;
            `resized` takes a rectangle of a drawn area and aspect ratio; `whole` takes the whole frame, which keeps its
            shape inside the square, between borders of the network's mean, and `borderless` without these: all videos
            then need one shape. Evaluations take the whole frame too.
        short_side: smallest and largest short side that `jitter` draws, in multiples of crop_size.
        area: smallest and largest share of the frame that `resized` draws.
        aspect: smallest and largest width / height that `resized` draws.
        flip: probability of a left-right mirror image.
    """

    kind: Literal["jitter", "resized", "whole", "borderless"] = "jitter"
    short_side: tuple[float, float] = (256 / 224, 320 / 224)
    area: tuple[float, float] = (0.3, 1.0)
    aspect: tuple[float, float] = (3 / 4, 4 / 3)
    flip: float = 0.5

    def __post_init__(self) -> None:
        check_section("data.crop", vars(self))
        for name in ("short_side", "area", "aspect"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"data.crop.{name}: two rising numbers are expected, not {[low, high]}")

    @property
    def whole(self) -> Whole:
        """Whether whole frames are seen."""
        return whole_of(self.kind)

    def draw(self, height: int, width: int, rng: np.random.Generator) -> tuple[Box, bool]:
        """A box (top, left, height, width) inside a frame, and whether to mirror it."""
        if self.whole:
            box_height, box_width = height, width
        elif self.kind == "jitter":
            side = min(height, width) / rng.uniform(*self.short_side)
            box_height = box_width = max(1, round(side))
        else:
            box_height, box_width = self._resized(height, width, rng)
        top = int(rng.integers(height - box_height + 1))
        left = int(rng.integers(width - box_width + 1))
        return (top, left, box_height, box_width), bool(rng.random() < self.flip)

    def _resized(self, height: int, width: int, rng: np.random.Generator) -> tuple[int, int]:
        for _ in range(10):
            area = height * width * rng.uniform(*self.area)
            aspect = np.exp(rng.uniform(*np.log(self.aspect)))
            box_width, box_height = round(np.sqrt(area * aspect)), round(np.sqrt(area / aspect))
            if 0 < box_width <= width and 0 < box_height <= height:
                return box_height, box_width
        side = min(height, width)
        return side, side


def whole_of(kind: str | None) -> Whole:
    """Whether a `kind` of crop shows whole frames."""
    return "borderless" if kind == "borderless" else kind == "whole"
