"""Facts of real files against what their makers say of them."""

from pathlib import Path

import pytest

from besnet.video.container import VideoError
from besnet.video.probe import probe


@pytest.mark.parametrize(
    ("name", "facts"),
    [
        (
            "odd/nasa_13013_rotated.mp4",
            {"frames": 17, "width": 270, "height": 480, "orientation": (True, False, True), "codec": "h264"},
        ),
        ("odd/video_90.mov", {"frames": 3, "width": 320, "height": 568, "orientation": (True, True, False)}),
        ("odd/discard_first_keyframe.mp4", {"frames": 25, "nominal_frames": 30, "fps": 25, "duration_sec": 1}),
        ("odd/testsrc2_odd_height_and_width_444.mp4", {"width": 321, "height": 241, "pixel_format": "yuv444p"}),
        ("odd/test_non_zero_start.mp4", {"frames": 12, "duration_sec": 0.4}),
        ("odd/av1_video.mkv", {"frames": 125, "nominal_frames": 0, "fps": 25, "codec": "libdav1d"}),
        ("odd/non_utf8_metadata.avi", {"frames": 83, "codec": "mpeg4"}),
        ("kinetics/WUzgd7C1pWA.mp4", {"frames": 327, "fps": 29.97, "width": 340, "height": 256, "key_frames": 2}),
    ],
)
def test_facts(shared_data: Path, name: str, facts: dict[str, object]) -> None:
    found = probe(shared_data / name)
    for field, value in facts.items():
        expected = pytest.approx(value, rel=2e-4) if isinstance(value, int | float) else value
        assert getattr(found, field) == expected, field


def test_what_cannot_be_probed_is_named(shared_data: Path) -> None:
    with pytest.raises(VideoError, match=r"audio_only\.mp4: no picture stream"):
        probe(shared_data / "odd" / "audio_only.mp4")
