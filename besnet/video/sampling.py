"""Which frames make a clip: times on a grid, and the frame on screen at each."""

from dataclasses import dataclass

import numpy as np

from besnet.video.probe import duration_sec, frame_period_sec

# Containers round time stamps (Matroska and WebM to a millisecond), so a grid time that should meet a frame's own time
# may fall a little before it.
SLACK_SEC = 0.0015


@dataclass(frozen=True)
class ClipShape:
    """How many frames a clip has and how far apart they are.

    Args:
        num_frames: Frames in a clip.
        frame_interval: Distance of neighbours, counted in frames of `target_fps`.
        target_fps: The rate that `frame_interval` counts in, whatever rate a video has; None counts the video's own
            frames instead.
        grid: 4 moves every frame to the last one before it whose number divides by 4. In shards written by `besnet
            prepare` these decode without the others, at about four fifths of the time. 1 leaves frames as they are.
    """

    num_frames: int = 16
    frame_interval: int = 4
    target_fps: float | None = 30.0
    grid: int = 1

    def __post_init__(self) -> None:
        if self.num_frames < 1 or self.frame_interval < 1:
            raise ValueError(f"num_frames {self.num_frames} and frame_interval {self.frame_interval}: both at least 1")
        if self.target_fps is not None and not self.target_fps > 0:
            raise ValueError(f"target_fps {self.target_fps}: above 0, or null to count the video's own frames")
        if self.grid < 1 or self.frame_interval % self.grid:
            raise ValueError(f"grid {self.grid}: frame_interval {self.frame_interval} must be a multiple of it")


def span(times_sec: np.ndarray, shape: ClipShape) -> tuple[float, float]:
    """(length of the video, from a clip's first frame to the end of its last): in seconds, or in source frames where
    `target_fps` is None."""
    if shape.target_fps is None:
        return float(len(times_sec)), float((shape.num_frames - 1) * shape.frame_interval + 1)
    step = shape.frame_interval / shape.target_fps
    return duration_sec(times_sec), (shape.num_frames - 1) * step + frame_period_sec(times_sec)


def is_short(times_sec: np.ndarray, shape: ClipShape) -> bool:
    """True where the video is shorter than a clip, so that the clip loops it."""
    length, clip = span(times_sec, shape)
    return length < clip - 2 * SLACK_SEC


def random_clip(times_sec: np.ndarray, shape: ClipShape, rng: np.random.Generator) -> np.ndarray:
    """Frame numbers of a clip that starts anywhere in the video, uniformly: int64 (num_frames,).

    A video that is shorter than the clip is looped from its first frame.
    """
    length, clip = span(times_sec, shape)
    last, slack = (1.0, 0.0) if shape.target_fps is None else (frame_period_sec(times_sec), SLACK_SEC)
    # The last possible start is a whole frame long, like every other.
    return _clips(times_sec, shape, np.array([rng.random() * max(length - clip + last, 0.0) - slack]))[0]


def uniform_clips(times_sec: np.ndarray, shape: ClipShape, num_clips: int) -> np.ndarray:
    """Frame numbers of clips spread evenly, the first at the beginning and the last at the end: int64 (num_clips,
    num_frames). A single clip is in the middle."""
    assert num_clips >= 1
    length, clip = span(times_sec, shape)
    where = np.full(1, 0.5) if num_clips == 1 else np.linspace(0, 1, num_clips)
    return _clips(times_sec, shape, where * max(length - clip, 0.0))


def _clips(times_sec: np.ndarray, shape: ClipShape, start: np.ndarray) -> np.ndarray:
    """Clips with these starts (n,), in seconds or source frames: int64 (n, num_frames)."""
    count = len(times_sec)
    ahead = np.arange(shape.num_frames) * shape.frame_interval
    if is_short(times_sec, shape):
        start = np.zeros_like(start)
    if shape.target_fps is None:
        return (start.astype(np.int64)[:, None] + ahead) % count // shape.grid * shape.grid
    times = start[:, None] + ahead / shape.target_fps
    if is_short(times_sec, shape):
        times = times % span(times_sec, shape)[0]
    numbers = np.searchsorted(times_sec, times + SLACK_SEC, side="right") - 1
    return np.clip(numbers, 0, count - 1).astype(np.int64) // shape.grid * shape.grid
