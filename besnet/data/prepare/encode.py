"""The encoding for training: small H.264 that decodes fast from any frame, at the requested quality.

Chosen by measurement (LOG.md, Decoding): no arithmetic coding and no weighted prediction, which cost the decoder most;
a key frame every 32; between them P frames four apart with three B frames that nothing refers to, so that a reader
leaves out those it does not want. The deblocking filter stays: it saves more bytes than it costs time. Each video gets
the coarsest quantisation that reaches the requested quality: estimated on trial pieces, checked on the whole.
"""

import io
import math
import platform
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from besnet.data.looks import See
from besnet.data.prepare.quality import measure_quality
from besnet.video.orientation import Orientation
from besnet.video.pyav_reader import PyAVReader

GRID = 4  # every fourth frame refers to no other kind: a reader that keeps to these decodes nothing else
# x264's AVX-512 code gives other bytes from run to run (macroblock tree, core 165); without it they repeat, on every
# machine, and take 2 % longer.
ASM = ":asm=MMX2,SSE2Fast,SSSE3,SSE4.2" if platform.machine() == "x86_64" else ""
X264 = {
    "preset": "slow",
    "g": "32",
    "bf": "3",
    "b_strategy": "0",
    "sc_threshold": "0",
    "x264-params": "b-pyramid=none:ref=1:cabac=0:weightp=0:no-weightb=1:no-psy=1:aq-mode=0" + ASM,
}
MIN_PSNR_DB, MIN_SSIM = 40.0, 0.98
CRF_FIRST, CRF_LEAST, CRF_MOST = 23.0, 12.0, 28.0
TRIAL_PIECES, TRIAL_FRAMES = 3, 17
TRIAL_PRESET = "veryfast"
TRIAL_OFFSET = 0.75  # steps of CRF: the quick preset does worse on short pieces than the slow one on the whole
KEPT_BYTES = 200_000_000
CHECKED_FRAMES = 96  # at most, spread over the video
ATTEMPTS = 3


def settings(short_side: int) -> dict[str, Any]:
    """The settings of the encoding that dataset.json records."""
    return {"short_side": short_side, "grid": GRID, "psnr_db": MIN_PSNR_DB, "ssim": MIN_SSIM, "libx264": X264}


@dataclass(frozen=True)
class Encoded:
    """One video for training."""

    data: bytes  # MP4
    frames: int
    width: int
    height: int
    crf: float
    psnr_db: float
    ssim: float


@dataclass(frozen=True)
class _Target:
    width: int
    height: int
    orientation: Orientation  # what is done to the scaled frames
    time_base: Fraction
    rate: Fraction


def encode(
    reader: PyAVReader, first: int, last: int, short_side: int, see: See = lambda number, frame: None
) -> Encoded:
    """Re-encode the frames first..last of an open video; time stamps are kept, sound is dropped, frames are upright.

    see: gets the number of each frame, and the frame as it is decoded.
    Raises VideoError where the video does not decode completely.
    """
    target = _target(reader, short_side)
    source = _Source(reader, first, last, target, see)
    size = (target.height, target.width) if target.orientation.transposed else (target.width, target.height)
    trial = _write(source.trial, target, size, CRF_FIRST, TRIAL_PRESET)
    crf = _round(CRF_FIRST + _room(measure_quality(source.trial, trial)) + TRIAL_OFFSET)
    for attempt in range(ATTEMPTS):
        data = _write(source, target, size, crf)
        quality = measure_quality(source.checked, data, source.step, len(source))
        room = _room(quality)
        if room >= 0 or crf <= CRF_LEAST or attempt == ATTEMPTS - 1:
            break
        crf = _round(crf + room - 0.25)
    return Encoded(data, len(source), *size, crf, round(quality[0], 3), round(quality[1], 5))


class _Source:
    """The scaled frames of a video, to be gone through more than once; kept in memory where they are few enough.

    Building it decodes every frame. `trial`: pieces spread over the video, `checked`: every `step`-th frame.
    """

    def __init__(self, reader: PyAVReader, first: int, last: int, target: _Target, see: See) -> None:
        self._see = see
        self._reader, self._first, self._last, self._scale = reader, first, last, _Scaler(target)
        self._all: list[Any] | None = None
        self.step = max(7, -(-len(self) // CHECKED_FRAMES))  # 7: all phases of the B frames are met
        fits = len(self) * target.width * target.height * 3 // 2 <= KEPT_BYTES
        length = max(1, (len(self) - TRIAL_PIECES * TRIAL_FRAMES) // (TRIAL_PIECES + 1) + TRIAL_FRAMES)
        self.trial: list[Any] = []
        self.checked: list[Any] = []
        kept: list[Any] = []
        for n, frame in enumerate(self):
            if fits:
                kept.append(frame)
            if n % self.step == 0:
                self.checked.append(frame)
            if len(self.trial) < TRIAL_PIECES * TRIAL_FRAMES and length - TRIAL_FRAMES <= n % length:
                self.trial.append(frame)
        self._all = kept if fits else None

    def __len__(self) -> int:
        return self._last - self._first + 1

    def __iter__(self) -> Iterator[Any]:
        if self._all is not None:
            yield from self._all
            return
        times, target = self._reader.times_sec, self._scale.target
        for number, frame in self._reader.frames(self._first, self._last):
            self._see(number, frame)
            yield self._scale(frame, round((times[number] - times[self._first]) / target.time_base))


def _target(reader: PyAVReader, short_side: int) -> _Target:
    """Size as coded: the short side at most `short_side`, both even."""
    width, height = reader.coded_size
    scale = min(1.0, short_side / min(width, height))
    even = [max(2, 2 * int(side * scale / 2 + (0.5 if scale < 1 else 0))) for side in (width, height)]
    rate = Fraction(max(1.0, (len(reader) - 1) / max(reader.times_sec[-1], 1e-3))).limit_denominator(1001)
    return _Target(even[0], even[1], reader.orientation, reader.time_base, rate)


def _round(crf: float) -> float:
    return min(CRF_MOST, max(CRF_LEAST, math.floor(4 * crf) / 4))


def _room(quality: tuple[float, float]) -> float:
    """How many steps of CRF coarser (negative: finer) would still reach the requested quality, by the usual slopes."""
    psnr, ssim = quality
    return min(
        (psnr - MIN_PSNR_DB) / 0.65,
        math.log((1 - MIN_SSIM) / max(1 - ssim, 1e-6)) / math.log(1.16),
    )


class _Scaler:
    """Scales a decoded frame to the target as yuv420p and turns it upright."""

    def __init__(self, target: _Target) -> None:
        self.target = target
        self._reformatter = VideoReformatter()

    def __call__(self, frame: Any, ticks: int) -> Any:
        t = self.target
        scaled = self._reformatter.reformat(frame, t.width, t.height, "yuv420p", interpolation="BICUBIC", threads=1)
        if any(t.orientation):
            scaled = _upright(scaled, t.orientation)
        scaled.pts, scaled.time_base = ticks, t.time_base
        scaled.pict_type = 0  # the encoder decides
        return scaled


def _upright(frame: Any, orientation: Orientation) -> Any:
    """A yuv420p frame turned and mirrored."""
    width, height = (frame.height, frame.width) if orientation.transposed else (frame.width, frame.height)
    turned = av.VideoFrame(width, height, "yuv420p")
    for plane, into in zip(frame.planes, turned.planes, strict=True):
        rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: plane.height, : plane.width]
        padded = np.zeros((into.height, into.line_size), np.uint8)
        padded[:, : into.width] = orientation.apply(rows)
        into.update(padded.tobytes())
    turned.color_range, turned.colorspace = frame.color_range, frame.colorspace
    return turned


def _write(frames: Iterable[Any], target: _Target, size: tuple[int, int], crf: float, preset: str = "") -> bytes:
    """Frames as the bytes of an MP4 file; the same frames give the same bytes (one encoder thread)."""
    out = io.BytesIO()
    options = {**X264, "crf": f"{crf:g}", **({"preset": preset} if preset else {})}
    with av.open(out, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=target.rate, options=options)
        context = stream.codec_context
        stream.width, stream.height, stream.pix_fmt = size[0], size[1], "yuv420p"
        context.time_base = target.time_base
        context.thread_count = 1
        for n, frame in enumerate(frames):
            if n == 0:
                # Carried over so that the colours of the re-encoded video are those of the original.
                context.color_range, context.colorspace = frame.color_range, frame.colorspace
                context.color_primaries, context.color_trc = frame.color_primaries, frame.color_trc
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return out.getvalue()
