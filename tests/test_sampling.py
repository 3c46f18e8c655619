"""Clips against what a person would count off a film strip."""

import numpy as np
import pytest

from besnet.video.sampling import ClipShape, is_short, random_clip, uniform_clips


def strip(fps: float, seconds: float) -> np.ndarray:
    return np.arange(round(fps * seconds)) / fps


@pytest.mark.parametrize("fps", [30, 30000 / 1001])
def test_at_the_target_rate_the_frames_are_evenly_spaced(fps: float) -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        clip = random_clip(strip(fps, 10), ClipShape(16, 4), rng)
        assert set(np.diff(clip)) <= ({4} if fps == 30 else {3, 4, 5})
        assert clip.min() >= 0
        assert clip.max() < 300


def test_other_rates_keep_the_seconds() -> None:
    """16 frames every 4/30 s span 2 s, whatever the rate of the video."""
    for fps in (15, 25, 50, 60):
        clip = uniform_clips(strip(fps, 10), ClipShape(16, 4), 3)
        spans = (clip[:, -1] - clip[:, 0]) / fps
        assert np.allclose(spans, 2, atol=1.1 / fps), (fps, spans)
    doubled = uniform_clips(strip(15, 10), ClipShape(4, 1), 2)
    assert doubled[0].tolist() == [0, 0, 1, 1]


def test_every_start_is_equally_likely() -> None:
    rng = np.random.default_rng(1)
    for shape in (ClipShape(4, 2), ClipShape(4, 2, target_fps=None)):
        starts = np.bincount([random_clip(strip(30, 0.5), shape, rng)[0] for _ in range(9000)])
        assert len(starts) == 9
        assert starts.min() > 850, starts


def test_uniform_clips_reach_both_ends() -> None:
    for target_fps in (30.0, None):
        clips = uniform_clips(strip(30, 10), ClipShape(8, 8, target_fps), 10)
        assert clips.shape == (10, 8)
        assert clips[0, 0] == 0
        assert clips[-1, -1] == 299
        assert (np.diff(clips[:, 0]) > 0).all()


def test_short_videos_are_looped() -> None:
    rng = np.random.default_rng(2)
    for target_fps in (30.0, None):
        shape = ClipShape(8, 1, target_fps)
        assert is_short(strip(30, 0.1), shape)
        assert random_clip(strip(30, 0.1), shape, rng).tolist() == [0, 1, 2, 0, 1, 2, 0, 1]
        assert not is_short(strip(30, 8 / 30), shape)
        assert random_clip(strip(30, 8 / 30), shape, rng).tolist() == list(range(8))
        assert random_clip(np.zeros(1), shape, rng).tolist() == [0] * 8


def test_the_frame_on_screen_is_taken_when_the_rate_varies() -> None:
    times = np.array([0.0, 0.5, 0.6, 0.7, 2.0, 3.9])
    assert uniform_clips(times, ClipShape(5, 30), 2)[0].tolist() == [0, 3, 4, 4, 5]


def test_millisecond_stamps_do_not_repeat_frames() -> None:
    times = np.round(strip(30, 10), 3)
    for clip in uniform_clips(times, ClipShape(16, 1), 7):
        assert (np.diff(clip) == 1).all()


def test_a_grid_moves_frames_back_to_its_own() -> None:
    rng = np.random.default_rng(3)
    for target_fps in (30.0, None):
        for _ in range(50):
            clip = random_clip(strip(30, 10), ClipShape(16, 4, target_fps, grid=4), rng)
            assert (clip % 4 == 0).all()
            assert (np.diff(clip) == 4).all()
    with pytest.raises(ValueError, match="grid 4: frame_interval 6"):
        ClipShape(16, 6, grid=4)


def test_uniform_sampling_takes_one_frame_of_each_segment() -> None:
    rng, shape = np.random.default_rng(4), ClipShape(8, sampling="uniform")
    clips = np.array([random_clip(strip(30, 8), shape, rng) for _ in range(3000)])
    assert (clips // 30 == np.arange(8)).all(), "a second of 30 frames is a segment here"
    counts = np.bincount(clips.flatten(), minlength=240)
    assert counts.min() > 50, "every frame comes"
    assert counts.max() < 160, "and as often as the others"
    assert uniform_clips(strip(30, 8), shape, 1).tolist() == [[15 + 30 * segment for segment in range(8)]]
    three = uniform_clips(strip(30, 8), shape, 3)
    assert three[:, 0].tolist() == [5, 15, 25]
    assert (three // 30 == np.arange(8)).all()


def test_uniform_sampling_goes_by_time_and_repeats_the_frames_of_tiny_videos() -> None:
    shape = ClipShape(4, sampling="uniform")
    times = np.array([0.0, 0.1, 0.2, 3.0, 3.1])  # the middle ones of 3.2 s: 0.4, 1.2, 2.0 and 2.8 s
    assert uniform_clips(times, shape, 1).tolist() == [[2, 2, 2, 2]]
    assert is_short(np.array([0.0, 0.1]), shape)
    assert not is_short(strip(30, 1), shape)
    assert uniform_clips(np.array([0.0, 0.1]), shape, 1).tolist() == [[0, 0, 1, 1]]


def test_speed_spaces_the_frames_of_a_clip_otherwise() -> None:
    rng, shape = np.random.default_rng(5), ClipShape(9, 4, speed=(0.5, 2.0))
    spans = np.array([np.ptp(random_clip(strip(240, 20), shape.paced(rng), rng)) for _ in range(500)]) / 240
    assert 0.53 < spans.min() < 0.6
    assert 1.9 < spans.max() < 2.14
    assert np.median(spans) == pytest.approx(8 * 4 / 30, rel=0.1)
    assert ClipShape(9, 4).paced(rng) == ClipShape(9, 4)
    for wrong in ({"target_fps": None}, {"sampling": "uniform"}):
        with pytest.raises(ValueError, match="speed"):
            ClipShape(9, 4, speed=(0.5, 2.0), **wrong)  # type: ignore[arg-type]


def test_a_shape_without_frames_is_refused() -> None:
    for wrong in ({"num_frames": 0}, {"frame_interval": 0}, {"target_fps": 0.0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            ClipShape(**wrong)
