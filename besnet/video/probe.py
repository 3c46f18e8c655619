"""What a video is: the facts that the manifest keeps, read without decoding the pictures (but for the first)."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from besnet.video.container import name_of
from besnet.video.orientation import Orientation
from besnet.video.pyav_reader import PyAVReader


@dataclass(frozen=True)
class VideoFacts:
    """Facts of one video. Sizes are those of the upright picture."""

    frames: int  # frames that are shown
    nominal_frames: int  # what the header says; 0 where it says nothing
    fps: float  # mean rate over the video
    duration_sec: float  # from the first frame to the end of the last
    width: int
    height: int
    orientation: Orientation  # what is done to decoded frames
    codec: str
    pixel_format: str
    container: str
    key_frames: int


def frame_period_sec(times_sec: np.ndarray, fallback: float = 1 / 30) -> float:
    """How long a frame is shown: the median distance of neighbours; `fallback` for a single frame."""
    return float(np.median(np.diff(times_sec))) if len(times_sec) > 1 else fallback


def duration_sec(times_sec: np.ndarray) -> float:
    """From the first frame to the end of the last, in seconds."""
    return float(times_sec[-1] - times_sec[0]) + frame_period_sec(times_sec)


def probe(source: Path | bytes, name: str | None = None) -> VideoFacts:
    """The facts of a video; raises VideoError where it cannot be read."""
    with PyAVReader(source, name_of(source, name)) as reader:
        return facts_of(reader)


def facts_of(reader: PyAVReader) -> VideoFacts:
    """The facts of an open video."""
    stream = reader._stream
    length = duration_sec(reader.times_sec)
    return VideoFacts(
        frames=len(reader),
        nominal_frames=int(stream.frames),
        fps=len(reader) / length,
        duration_sec=length,
        width=reader.width,
        height=reader.height,
        orientation=reader.orientation,
        codec=stream.codec_context.name,
        pixel_format=str(stream.codec_context.pix_fmt),
        container=reader._container.format.name,
        key_frames=sum(packet.is_keyframe for packet in reader._index.packets),
    )
