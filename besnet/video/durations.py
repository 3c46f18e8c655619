"""How long frames and videos last, from the times of the frames."""

import numpy as np


def frame_period_sec(times_sec: np.ndarray, fallback: float = 1 / 30) -> float:
    """How long a frame is shown: the median distance of neighbours; `fallback` for a single frame."""
    return float(np.median(np.diff(times_sec))) if len(times_sec) > 1 else fallback


def duration_sec(times_sec: np.ndarray) -> float:
    """From the first frame to the end of the last, in seconds."""
    return float(times_sec[-1] - times_sec[0]) + frame_period_sec(times_sec)
