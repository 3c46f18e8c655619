"""What laboratories record in is read as ffmpeg reads it; what is not read is said with the way out."""

import re
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from besnet.data.prepare.process_video import Job, process_video
from besnet.data.shards import VIDEO_MEMBERS
from besnet.video.container import VideoError
from besnet.video.formats import CODECS, FORMATS
from besnet.video.opening import open_video
from besnet.video.plain import Plain
from besnet.video.pyav_reader import ToRGB
from tests.conftest import ROOT

KEPT = [
    ("rawvideo", "avi", "bgr24"), ("rawvideo", "mkv", "yuv420p"), ("rawvideo", "y4m", "yuv420p"),
    ("ffv1", "mkv", "yuv420p"),
    ("huffyuv", "avi", "yuv422p"), ("ffvhuff", "avi", "yuv420p"), ("utvideo", "avi", "yuv420p"),
    ("magicyuv", "avi", "yuv420p"), ("dvvideo", "dv", "yuv420p"), ("dvvideo", "mov", "yuv420p"),
    ("prores_ks", "mov", "yuv422p10le"), ("dnxhd", "mxf", "yuv422p"), ("cfhd", "mov", "yuv422p10le"),
    ("v210", "mov", "yuv422p10le"), ("qtrle", "mov", "rgb24"), ("png", "avi", "rgb24"), ("gif", "gif", "rgb8"),
    ("msvideo1", "avi", "rgb555le"), ("svq1", "mov", "yuv410p"), ("cinepak", "avi", "rgb24"),
]  # fmt: skip


def record(path: Path, codec: str, pixels: str) -> Path:
    width, height = {"dvvideo": (720, 576), "dnxhd": (1920, 1080)}.get(codec, (160, 96))
    with av.open(str(path), "w", format={"mkv": "matroska", "y4m": "yuv4mpegpipe"}.get(path.suffix[1:])) as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, pixels
        if codec == "dnxhd":
            stream.bit_rate = 120_000_000
        for n in range(5):
            picture = np.zeros((height, width, 3), np.uint8)
            picture[..., 0] = np.arange(width) % 256
            picture[..., 1] = (np.arange(height)[:, None] + 8 * n) % 256
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize(("codec", "extension", "pixels"), KEPT)
def test_what_laboratories_record_in_is_read(codec: str, extension: str, pixels: str, tmp_path: Path) -> None:
    path = record(tmp_path / f"v.{extension}", codec, pixels)
    assert extension in VIDEO_MEMBERS
    with av.open(str(path)) as container:
        truth = [frame.to_ndarray(format="rgb24").astype(float) for frame in container.decode(video=0)]
    with open_video(path) as reader:
        found = reader.read(range(5))
        assert np.allclose(np.diff(reader.times_sec), 0.04, atol=0.002)
    error = ((found - np.stack(truth)) ** 2).mean()
    assert 10 * np.log10(255**2 / max(error, 1e-9)) > 40
    assert (
        process_video(Job(0, str(path), mode="encode", short_side=48, to=str(tmp_path / "made"))).facts["frames"] == 5
    )  # type: ignore[index]


def test_what_is_not_read_is_said_with_the_way_out(tmp_path: Path) -> None:
    for codec, extension, pixels, what in (
        ("snow", "avi", "yuv420p", "codec snow is not"),
        ("rawvideo", "nut", "yuv420p", ""),
    ):
        path = record(tmp_path / f"{codec}.{extension}", codec, pixels)
        with pytest.raises(VideoError, match=rf"{path.name}: .*{what}.*convert it first: ffmpeg -i VIDEO -c:v libx264"):
            open_video(path)


def test_the_list_in_the_docs_is_the_list() -> None:
    text = (ROOT / "docs" / "videos.md").read_text()
    containers, *codecs = re.findall(r"^\*\*[^*]+:\*\* (.+?)\.\n\n", text, re.M | re.S)
    assert set(FORMATS) <= set(re.findall(r"\w+", containers))
    assert set(re.findall(r"\w+", " ".join(codecs))) == set(CODECS)


def test_colours_without_a_meaning_are_unspecified_ones_and_others_are_refused() -> None:
    plain = Plain(Fraction(1, 25))

    def converted(matrix: int) -> np.ndarray:
        rng = np.random.default_rng(0)
        frame = av.VideoFrame.from_ndarray(rng.integers(16, 235, (72, 64), dtype=np.uint8), format="yuv420p")
        frame.colorspace = matrix
        return ToRGB("v.mp4")(plain(frame)).copy()

    for reserved in (0, 3):
        assert np.array_equal(converted(reserved), converted(2))
    assert not np.array_equal(converted(1), converted(2))
    with pytest.raises(VideoError, match=r"v\.mp4: its colours \(yuv420p, matrix 14\) cannot be made RGB: .*ffmpeg -i"):
        converted(14)
