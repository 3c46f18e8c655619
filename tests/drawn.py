"""Draws short videos in the formats and codings that the real ones lack."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np


def draw(
    path: Path,
    codec: str = "libx264",
    params: str = "",
    count: int = 60,
    size: tuple[int, int] = (160, 96),
    ticks: Sequence[int] = (),
    b_frames: int = 0,
    sound_sec: float = 0.0,
    muxer: dict[str, str] | None = None,
) -> Path:
    """`count` frames of a moving texture at 25 fps, or at these milliseconds; `params` are x264's; sound is silence."""
    width, height = size
    texture = np.random.default_rng(0).integers(0, 255, (24, 40, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
    with av.open(str(path), "w", options=muxer or {}) as container:
        stream = container.add_stream(codec, rate=25, options={"x264-params": params} if params else {})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.codec_context.thread_count = 1
        if b_frames:
            stream.codec_context.max_b_frames = b_frames
        sound = container.add_stream("aac", rate=16_000) if sound_sec else None
        if ticks:
            stream.codec_context.time_base = Fraction(1, 1000)
        for n in range(len(ticks) or count):
            picture = np.resize(np.roll(texture, (2 * n, 3 * n), (0, 1)), (height, width, 3))
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            if ticks:
                frame.pts, frame.time_base = ticks[n], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        if sound is not None:
            for n in range(round(sound_sec * 16_000 / 1024)):
                silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
                silence.sample_rate, silence.pts, silence.time_base = 16_000, 1024 * n, Fraction(1, 16_000)
                container.mux(sound.encode(silence))
            container.mux(sound.encode())
    return path
