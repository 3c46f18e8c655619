"""The facts of a video that the manifest keeps; only the first frame is decoded."""

from dataclasses import dataclass
from pathlib import Path

from besnet.video.container import name_of
from besnet.video.durations import duration_sec
from besnet.video.orientation import Orientation
from besnet.video.pyav_reader import PyAVReader


@dataclass(frozen=True)
class VideoFacts:
    """Facts of one video. Sizes are those of the upright picture."""

    frames: int  # frames that are shown
    nominal_frames: int  # as in the header; 0 without a number there
    fps: float  # mean rate over the video
    duration_sec: float  # from the first frame to the end of the last
    width: int
    height: int
    orientation: Orientation  # what is done to decoded frames
    codec: str
    pixel_format: str
    container: str
    key_frames: int


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
