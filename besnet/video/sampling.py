"""Which frames make a clip: times on a grid, and the frame on screen at each."""

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from besnet.ranges import check_section
from besnet.video.durations import duration_sec, frame_period_sec

# Containers round time stamps (Matroska and WebM to a millisecond), so a grid time that should meet a frame's own time
# may fall a little before it.
SLACK_SEC = 0.0015
MOST_CLIPS = 20_000  # of one timeline: two and a half hours, one every half second


@dataclass(frozen=True)
class ClipShape:
    """How many frames a clip has and how far apart they are.

    Args:
        num_frames: Frames in a clip.
        frame_interval: Distance of neighbours, counted in frames of `target_fps`.
        target_fps: The rate that `frame_interval` counts in, for every video; None counts the video's own
            frames instead.
        grid: 4 moves every frame to the last one before it whose number divides by 4. In shards written by `besnet
            prepare` these decode without the others, at about four fifths of the time. 1 leaves frames as they are.
        sampling: "dense" takes neighbours `frame_interval` apart, from anywhere in the video. "uniform" cuts the whole
            video into `num_frames` equal segments and takes a frame of each, a drawn one in training and the middle one
            in evaluation (TSN); `frame_interval` and `target_fps` then have no meaning.
        speed: Smallest and largest factor on `frame_interval` that training draws for a clip, such as [0.8, 1.25];
            null for always 1.
    """

    num_frames: int = 16
    frame_interval: int = 4
    target_fps: float | None = 30.0
    grid: int = 1
    sampling: Literal["dense", "uniform"] = "dense"
    speed: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        check_section("data.clip", vars(self))
        if self.frame_interval % self.grid:
            raise ValueError(f"grid {self.grid}: frame_interval {self.frame_interval} must be a multiple of it")
        if self.speed is not None:
            if self.speed[0] > self.speed[1]:
                raise ValueError(f"speed {self.speed}: two rising positive numbers, or null")
            if self.target_fps is None or self.sampling == "uniform":
                raise ValueError(
                    "speed: only for dense sampling with a target_fps, whose frames it can space otherwise"
                )

    def cannot_space(self, factor: float) -> str:
        """Why clips cannot have their frames exactly `factor` times as far apart in time; empty where they can."""
        if factor == 1:
            return ""
        if self.sampling == "uniform":
            return "with data.clip.sampling uniform a clip spans the whole video at any interval"
        interval = self.frame_interval * factor
        if self.target_fps is not None and self.grid == 1:
            return ""  # frames are picked by time
        whole = self.grid * max(1, round(interval / self.grid))
        if math.isclose(interval, whole):
            return ""
        reason = f"data.clip.grid {self.grid}" if self.grid > 1 else "data.clip.target_fps null"
        return f"{interval:g} frames apart cannot be picked with {reason}"

    def spaced(self, factor: float) -> "ClipShape":
        """A clip whose frames are `factor` times as far apart in time, which `cannot_space` must allow."""
        assert not self.cannot_space(factor)
        if factor == 1:
            return self
        if self.target_fps is not None:
            return replace(self, target_fps=self.target_fps / factor)
        return replace(self, frame_interval=round(self.frame_interval * factor))

    def paced(self, rng: np.random.Generator) -> "ClipShape":
        """The shape of one training clip, at a drawn speed if there is one to draw; evenly on a logarithmic scale."""
        if self.speed is None:
            return self
        assert self.target_fps is not None
        factor = float(np.exp(rng.uniform(*np.log(self.speed))))
        return replace(self, target_fps=self.target_fps / factor, speed=None)


def span(times_sec: np.ndarray, shape: ClipShape) -> tuple[float, float]:
    """(length of the video, from a clip's first frame to the end of its last): in seconds, or in source frames where
    `target_fps` is None."""
    if shape.target_fps is None:
        return float(len(times_sec)), float((shape.num_frames - 1) * shape.frame_interval + 1)
    step = shape.frame_interval / shape.target_fps
    return duration_sec(times_sec), (shape.num_frames - 1) * step + frame_period_sec(times_sec)


def is_short(times_sec: np.ndarray, shape: ClipShape) -> bool:
    """True where the video is shorter than a clip, so that the clip loops it or, sampled uniformly, repeats frames."""
    if shape.sampling == "uniform":
        return len(times_sec) < shape.num_frames
    length, clip = span(times_sec, shape)
    return length < clip - 2 * SLACK_SEC


def random_clip(times_sec: np.ndarray, shape: ClipShape, rng: np.random.Generator) -> np.ndarray:
    """Frame numbers of a clip that starts anywhere in the video, or has a frame of each segment: int64 (num_frames,).

    A video that is shorter than a dense clip is looped from its first frame.
    """
    if shape.sampling == "uniform":
        return _segments(times_sec, shape, rng.random((1, shape.num_frames)), -SLACK_SEC)[0]
    length, clip = span(times_sec, shape)
    last, slack = (1.0, 0.0) if shape.target_fps is None else (frame_period_sec(times_sec), SLACK_SEC)
    # The last possible start is a whole frame long, like every other.
    return _clips(times_sec, shape, np.array([rng.random() * max(length - clip + last, 0.0) - slack]))[0]


def uniform_clips(times_sec: np.ndarray, shape: ClipShape, num_clips: int) -> np.ndarray:
    """Frame numbers of clips spread evenly, the first at the beginning and the last at the end: int64 (num_clips,
    num_frames). A single clip is in the middle.

    Sampled uniformly, a single clip has the middle of each segment, and several have evenly spread points of it.
    """
    assert num_clips >= 1
    if shape.sampling == "uniform":
        return _segments(times_sec, shape, (np.arange(num_clips)[:, None] + 0.5) / num_clips)
    length, clip = span(times_sec, shape)
    where = np.full(1, 0.5) if num_clips == 1 else np.linspace(0, 1, num_clips)
    return _clips(times_sec, shape, where * max(length - clip, 0.0))


def window_clips(video: str, times_sec: np.ndarray, shape: ClipShape, window_sec: float) -> np.ndarray:
    """Frame numbers of the clips that are sampled uniformly from windows of a video, one after the other: int64
    (windows, num_frames). The video is cut into equal windows as near to `window_sec` as can be."""
    length_sec = duration_sec(times_sec)
    count = check_clips(video, max(1, round(length_sec / window_sec)))
    where = np.arange(count)[:, None] + (np.arange(shape.num_frames) + 0.5) / shape.num_frames
    return _on_screen(times_sec, where * length_sec / count, shape)


def check_clips(video: str, count: int) -> int:
    """The number of clips of a video. ValueError if there are more than anybody waits for."""
    if count > MOST_CLIPS:
        raise ValueError(f"{video}: {count:,} clips are above the limit of {MOST_CLIPS:,}: raise --every_sec")
    return count


def _segments(times_sec: np.ndarray, shape: ClipShape, where: np.ndarray, later_sec: float = 0.0) -> np.ndarray:
    """Frames of equal segments, `where` in 0..1 of each, (n, num_frames) or (n, 1): int64 (n, num_frames)."""
    times = (np.arange(shape.num_frames) + where) / shape.num_frames * duration_sec(times_sec) + later_sec
    return _on_screen(times_sec, times, shape)


def _on_screen(times_sec: np.ndarray, wanted_sec: np.ndarray, shape: ClipShape) -> np.ndarray:
    numbers = np.searchsorted(times_sec, wanted_sec + SLACK_SEC, side="right") - 1
    return np.clip(numbers, 0, len(times_sec) - 1).astype(np.int64) // shape.grid * shape.grid


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
    return _on_screen(times_sec, times, shape)
