"""How a decoded picture is turned and mirrored to be upright: the eight orientations of a display matrix.

The matrix comes with the frame, from the container or from the stream itself (H.264 and HEVC display orientation SEI).
"""

import math
from typing import Any, NamedTuple

import numpy as np
from av.sidedata.sidedata import Type

from besnet.video.container import VideoError

MOST_ASKEW = math.sin(math.radians(1))  # up to one degree counts as a quarter turn, as in ffmpeg


class Orientation(NamedTuple):
    """What is done to the decoded picture, in this order."""

    transposed: bool = False  # rows become columns
    mirrored: bool = False  # left and right change places
    flipped: bool = False  # top and bottom change places

    def apply(self, picture: np.ndarray) -> np.ndarray:
        """The upright view of an array whose first axes are height and width."""
        if self.transposed:
            picture = picture.swapaxes(0, 1)
        if self.mirrored:
            picture = picture[:, ::-1]
        return picture[::-1] if self.flipped else picture


def orientation_of(frame: Any, name: str) -> Orientation:
    """The orientation of a decoded frame. VideoError where it is turned by something else than quarter turns."""
    data = frame.side_data.get(Type.DISPLAYMATRIX)
    if data is None:
        return Orientation()
    a, b, _, c, d = np.frombuffer(bytes(data), np.int32)[:5].tolist()  # x' = a x + c y, y' = b x + d y
    across, along = math.hypot(a, c), math.hypot(b, d)
    if not across or not along:
        return Orientation()  # no rotation at all, as in ffmpeg
    if abs(c) <= MOST_ASKEW * across and abs(b) <= MOST_ASKEW * along:
        return Orientation(False, a < 0, d < 0)
    if abs(a) <= MOST_ASKEW * across and abs(d) <= MOST_ASKEW * along:
        return Orientation(True, c < 0, b < 0)
    degrees = math.degrees(math.atan2(b / along, a / across))
    raise VideoError(
        f"{name}: its display matrix turns it by {degrees:.0f} degrees, and only quarter turns and mirror images are "
        "read: turn it first (ffmpeg -i VIDEO upright.mp4)"
    )
