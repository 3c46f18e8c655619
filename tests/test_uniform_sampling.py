"""Clips that show a whole video: every use of a clip's shape knows both ways to sample."""

from pathlib import Path

import numpy as np
import pytest

import besnet
from besnet import cli
from besnet.report.evaluation_page import clip_line
from besnet.video.sampling import ClipShape, span, window_clips
from tests import moving_squares, untrained

UNIFORM = {"num_frames": 4, "frame_interval": 7, "target_fps": 30.0, "sampling": "uniform"}


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three seconds."""
    path = tmp_path_factory.mktemp("video") / "video.mp4"
    moving_squares.draw(path, (0, 1), seed=1, frames=90)
    return path


def test_windows_follow_each_other_and_cover_the_video() -> None:
    times = np.arange(90) / 30
    numbers = window_clips("x", times, ClipShape(**UNIFORM), 1.0)  # type: ignore[arg-type]
    assert numbers.shape == (3, 4)
    middles = (np.arange(12) + 0.5) * 90 / 12  # the middle of each twelfth of the video
    assert np.abs(numbers.reshape(-1) - np.floor(middles)).max() == 0
    one = window_clips("x", times, ClipShape(**UNIFORM), 100.0)  # type: ignore[arg-type]
    assert one.tolist() == [[11, 33, 56, 78]]


def test_a_timeline_of_whole_videos_needs_windows(
    video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = untrained.checkpoint(tmp_path, ["a", "b"], clip=UNIFORM)
    words = [str(video), f"--ckpt_path={run}", f"--timeline={tmp_path / 'lines'}"]
    assert cli.run("predict", words) == 1
    assert "--every_sec is needed" in capsys.readouterr().out
    assert cli.run("predict", [*words, "--every_sec=0.5"]) == 0
    lines = (tmp_path / "lines" / "video.csv").read_text().splitlines()
    assert len(lines) == 1 + 6
    spans = [tuple(map(float, line.split(",")[:2])) for line in lines[1:]]
    assert all(end <= 0.5 * (number + 1) and start >= 0.5 * number for number, (start, end) in enumerate(spans))


def test_each_window_is_shown_as_a_video_of_its_own(video: Path, tmp_path: Path) -> None:
    model = besnet.load(untrained.checkpoint(tmp_path, ["a", "b"], clip=UNIFORM), num_clips=1)
    timeline, whole = model.timeline(video, 100.0), model.predict(video)
    np.testing.assert_array_equal(timeline.numbers, whole.numbers)
    np.testing.assert_allclose(timeline.clips[0], whole.probabilities, atol=1e-6)


@pytest.mark.parametrize("target_fps", [30.0, None])
def test_seconds_are_seconds_where_frames_are_counted(target_fps: float | None, video: Path, tmp_path: Path) -> None:
    clip = {"num_frames": 4, "frame_interval": 2, "target_fps": target_fps}
    model = besnet.load(untrained.checkpoint(tmp_path, ["a", "b"], clip=clip))
    starts = model.timeline(video, 0.5).times_sec[:, 0]
    np.testing.assert_allclose(np.diff(starts), 0.5, atol=0.1)
    assert len(model.timeline(video, 2.0).clips) < len(starts) < len(model.timeline(video).clips)
    length, _ = span(np.arange(90) / 30, model.shape)
    assert length == pytest.approx(3.0 if target_fps else 90)


def test_a_page_states_no_interval_that_was_not_used() -> None:
    assert clip_line(UNIFORM) == "4 frames, one from each equal segment of the whole video"
    assert clip_line(UNIFORM | {"sampling": "dense"}) == "4 frames, 7 apart at 30 fps"
    assert "the source's frames" in clip_line(UNIFORM | {"sampling": "dense", "target_fps": None})
