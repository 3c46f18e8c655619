"""The camera of a scene: joints in space → places on the canvas."""

from dataclasses import dataclass

import numpy as np


@dataclass
class Camera:
    """Where a figure stands on the canvas and from where it is seen."""

    foot_x: float  # canvas pixels
    foot_y: float
    scale: float  # canvas pixels a body height
    yaw: float  # 0 looks the figure in the face; radians
    tilt: float  # the camera looks down by this angle
    light: tuple[float, float]  # the shadow of a point at height 1 falls here, in body heights (x, y of the room)

    def project(self, points: np.ndarray) -> np.ndarray:
        """(..., 3) in body heights → (..., 3): canvas x, canvas y, nearness."""
        x, y, z = points[..., 0], points[..., 1], points[..., 2]
        right = -x * np.cos(self.yaw) + y * np.sin(self.yaw)
        near = x * np.sin(self.yaw) + y * np.cos(self.yaw)
        down = -z * np.cos(self.tilt) + near * np.sin(self.tilt)
        return np.stack([self.foot_x + self.scale * right, self.foot_y + self.scale * down, near], -1)

    def shadow(self, points: np.ndarray) -> np.ndarray:
        """(..., 3) in body heights → (..., 2): where on the canvas the shadows fall."""
        z = points[..., 2]
        near = points[..., 0] * np.sin(self.yaw) + points[..., 1] * np.cos(self.yaw)
        right = -points[..., 0] * np.cos(self.yaw) + points[..., 1] * np.sin(self.yaw)
        x = self.foot_x + self.scale * (right + self.light[0] * z)
        return np.stack([x, self.foot_y + self.scale * np.sin(self.tilt) * (near + self.light[1] * z)], -1)
