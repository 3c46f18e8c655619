"""The quality of an encoded video, compared with its original frames."""

import io
import math
from collections.abc import Callable
from contextlib import suppress
from fractions import Fraction
from typing import Any

import av
import numpy as np

from besnet.video.container import VideoError, words


def measure_quality(originals: list[Any], data: bytes, step: int = 1, count: int | None = None) -> tuple[float, float]:
    """(PSNR in dB over all planes, SSIM as libavfilter measures it) of every `step`-th encoded frame.

    VideoError unless exactly `count` frames decode."""
    errors, likeness = [], []
    compare: Callable[[Any, Any], float] | None = None
    with av.open(io.BytesIO(data), "r") as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        stream.codec_context.options = {"err_detect": "explode"}
        decoded = 0
        for frame in container.decode(stream):
            if decoded % step == 0:
                original = originals[decoded // step]
                compare = compare or Likeness(frame.width, frame.height)
                difference = original.to_ndarray().astype(np.int32) - frame.to_ndarray()
                errors.append(float((difference * difference).mean()))
                likeness.append(compare(original, frame))
            decoded += 1
    if decoded != (count or len(originals)):
        raise VideoError(f"{decoded} frames come out of the encoder, {count or len(originals)} went in")
    return 10 * math.log10(255**2 / max(float(np.mean(errors)), 1e-4)), float(np.mean(likeness))


class Likeness:
    """SSIM of two yuv420p frames by libavfilter's ssim filter, all planes weighted by size."""

    def __init__(self, width: int, height: int) -> None:
        self.graph = av.filter.Graph()
        inputs = [
            self.graph.add_buffer(
                width=width, height=height, format=av.VideoFormat("yuv420p"), time_base=Fraction(1, 30), name=name
            )
            for name in ("original", "encoded")
        ]
        ssim, sink = self.graph.add("ssim"), self.graph.add("buffersink")
        for pad, buffer in enumerate(inputs):
            buffer.link_to(ssim, 0, pad)
        ssim.link_to(sink)
        self.graph.configure()
        self.inputs, self.sink, self.count = inputs, sink, 0

    def __call__(self, original: Any, encoded: Any) -> float:
        # The filter pairs frames by time and gives a pair out once a later one has come: each is pushed twice.
        kept = [(frame, frame.pts, frame.time_base) for frame in (original, encoded)]
        value: float | None = None
        for _ in range(2):
            for buffer, (frame, _, _) in zip(self.inputs, kept, strict=True):
                frame.pts, frame.time_base = self.count, Fraction(1, 30)
                buffer.push(frame)
            self.count += 1
            with suppress(av.FFmpegError, BlockingIOError):
                value = float(self.sink.pull().metadata["lavfi.ssim.All"])
        for frame, pts, base in kept:
            frame.pts, frame.time_base = pts, base
        if value is None:
            raise VideoError(words(RuntimeError("the frames could not be compared")))
        return value
