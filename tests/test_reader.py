"""The two readers against a plain decode of the whole file, frame by frame."""

import os
import random
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from besnet.data.evaluation_clips import read_clips
from besnet.video.container import VideoError
from besnet.video.opening import open_video
from besnet.video.pyav_reader import PyAVReader
from besnet.video.sampling import ClipShape, uniform_clips

HIDDEN_OR_UNSTAMPED = {"discard_first_keyframe.mp4", "non_utf8_metadata.avi", "sine_stereo_mp2.mpg"}
UNREADABLE = {"audio_only.mp4", "corrupted.mp4"}


def every_frame(path: Path) -> np.ndarray:
    """All frames as libavcodec gives them in one pass from the beginning, turned upright."""
    with av.open(str(path), metadata_errors="ignore") as container:
        pictures = []
        for frame in container.decode(video=0):
            if frame.format.components[0].bits > 8:
                graph = av.filter.Graph()
                source = graph.add_buffer(template=container.streams.video[0])
                change, sink = graph.add("format", "rgb24"), graph.add("buffersink")
                source.link_to(change)
                change.link_to(sink)
                graph.configure()
                graph.push(frame)
                picture = graph.pull().to_ndarray()
            else:
                picture = frame.to_ndarray(format="rgb24")
            pictures.append(np.rot90(picture, round(frame.rotation / 90)))
    return np.stack(pictures)


def videos(shared_data: Path, share: int) -> list[Path]:
    """All odd and Kinetics files and one of `share` of the others, always the same."""
    others = sorted(shared_data.glob("weizmann/videos/*/*.avi")) + sorted(shared_data.glob("jhmdb/*/*.mp4"))
    odd = sorted(p for p in (shared_data / "odd").iterdir() if p.name not in UNREADABLE)
    return [*odd, *sorted(shared_data.glob("kinetics/*.mp4")), *others[::share]]


def check_against_whole_decode(path: Path, rng: random.Random) -> None:
    truth = every_frame(path)
    count = len(truth)
    draws = [
        rng.sample(range(count), min(5, count)),
        [count - 1],
        [0, 0, count // 2],
        list(range(count))[:: max(1, count // 7)],
    ]
    for backend in ("pyav", "decord"):
        if backend == "decord" and path.name in HIDDEN_OR_UNSTAMPED:
            with pytest.raises(VideoError, match="decord"):
                open_video(path, "decord")
            continue
        with open_video(path, backend) as reader:
            assert len(reader) == count, (path, backend)
            assert reader.times_sec[0] == 0
            assert count == 1 or (np.diff(reader.times_sec) > 0).all()
            for draw in draws:
                assert np.array_equal(reader.read(draw), truth[list(draw)]), (path, backend, draw)
            assert (reader.height, reader.width) == truth.shape[1:3]


def test_both_readers_give_the_frames_of_a_whole_decode(shared_data: Path) -> None:
    rng = random.Random(1)
    for path in videos(shared_data, share=25):
        check_against_whole_decode(path, rng)


@pytest.mark.slow
def test_both_readers_on_every_file(shared_data: Path) -> None:
    rng = random.Random(2)
    paths = videos(shared_data, share=1)
    assert len(paths) == 1032
    for path in paths:
        check_against_whole_decode(path, rng)


def test_bytes_and_boxes(shared_data: Path) -> None:
    path = shared_data / "odd" / "nasa_13013_rotated.mp4"
    truth = every_frame(path)
    assert truth.shape[1:3] == (480, 270)
    for backend in ("pyav", "decord"):
        with open_video(path.read_bytes(), backend, name="turned") as reader:
            assert np.array_equal(reader.read([3, 1], box=(100, 17, 60, 41)), truth[[3, 1], 100:160, 17:58])
            with pytest.raises(VideoError, match="turned: the box"):
                reader.read([0], box=(0, 0, 480, 271))
            with pytest.raises(VideoError, match="no frame 17: the video has 17"):
                reader.read([0, 17])
            assert reader.read([]).shape[0] == 0


def test_too_many_frames_for_one_read_come_smaller(shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the clips of a 4K video would, had the limit not been lowered here."""
    path = shared_data / "odd" / "testsrc2_odd_height_and_width_444.mp4"
    truth = every_frame(path).astype(int)
    numbers = np.array([[0, 7, 14], [7, 14, 21], [3, 3, 24]])
    count = numbers.size
    for backend in ("pyav", "decord"):
        with open_video(path, backend) as reader:
            assert np.array_equal(read_clips(reader, numbers).numpy(), truth[numbers])
            monkeypatch.setattr("besnet.video.reader.MAX_READ_BYTES", 3 * 321 * 241 * count // 2)
            with pytest.raises(VideoError, match=f"{count} frames at once"):
                reader.read(numbers.reshape(-1))
            clips = read_clips(reader, numbers).numpy()
            monkeypatch.undo()
        squares = truth[:, :240, :320].reshape(25, 120, 2, 160, 2, 3).mean(axis=(2, 4))
        assert clips.shape == (3, 3, 120, 160, 3)
        assert np.abs(clips - squares[numbers]).max() <= 0.5


def test_overlapping_clips_are_decoded_once(shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = shared_data / "kinetics" / "WUzgd7C1pWA.mp4"
    whole, handed_out = PyAVReader._decode, []

    def counted(self: PyAVReader, wanted: np.ndarray) -> Any:
        for number, picture in whole(self, wanted):
            handed_out.append(number)
            yield number, picture

    monkeypatch.setattr(PyAVReader, "_decode", counted)
    with open_video(path) as reader:
        numbers = uniform_clips(reader.times_sec, ClipShape(), 10)
        assert read_clips(reader, numbers).shape == (10, 16, 256, 340, 3)
    assert sorted(handed_out) == np.unique(numbers).tolist()


def test_times_are_the_containers(shared_data: Path) -> None:
    with open_video(shared_data / "odd" / "test_non_zero_start.mp4") as reader:
        assert np.allclose(reader.times_sec, np.arange(12) / 30, atol=1e-4)
    with open_video(shared_data / "odd" / "testsrc2_vp9.webm") as reader:
        assert np.allclose(reader.times_sec, np.arange(30) / 30, atol=1e-3)


def test_what_is_not_a_video_is_refused_by_name(shared_data: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "page.mp4").write_text("<html>Video unavailable</html>" * 50)
    (tmp_path / "zeros.mp4").write_bytes(bytes(10_000))
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "loop.mp4").symlink_to(tmp_path / "loop.mp4")
    (tmp_path / "list.m3u8").write_text(f"#EXTM3U\n#EXTINF:1,\nfile://{shared_data}/odd/unordered.mov\n")
    (tmp_path / "cat.mp4").write_text(f"ffconcat version 1.0\nfile {shared_data}/odd/unordered.mov\n")
    # A tail request on a cut file with its index at the front gives nothing and no error in plain libavcodec.
    whole = (shared_data / "odd" / "unordered.mov").read_bytes()
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "sound.mp4").symlink_to(shared_data / "odd" / "audio_only.mp4")
    for path in [*tmp_path.iterdir(), tmp_path / "absent.mp4"]:
        for backend in ("pyav", "decord"):
            with pytest.raises(VideoError, match=path.name):
                open_video(path, backend)
    with pytest.raises(VideoError, match=f"{len(whole) // 2} bytes"), open_video(whole[: len(whole) // 2]) as reader:
        reader.read(range(len(reader)))


def test_damage_raises_instead_of_altered_frames(shared_data: Path) -> None:
    with (
        pytest.raises(VideoError, match=r"corrupted\.mp4: damaged"),
        open_video(shared_data / "odd" / "corrupted.mp4") as reader,
    ):
        reader.read(range(len(reader)))


def test_a_huge_frame_is_refused_before_decoding(tmp_path: Path) -> None:
    path = tmp_path / "bomb.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 8000, 4000, "yuv420p"
        frame = av.VideoFrame(8000, 4000, "yuv420p")
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size))
        for packet in [*stream.encode(frame), *stream.encode()]:
            container.mux(packet)
    with pytest.raises(VideoError, match=r"bomb\.mp4"):
        open_video(path)


def test_variable_frame_rate_keeps_its_times(tmp_path: Path) -> None:
    path = tmp_path / "vfr.mp4"
    ticks = [0, 40, 50, 200, 210, 900]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"bf": "2"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        for n, tick in enumerate(ticks):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 40 * n, np.uint8), format="rgb24")
            frame.pts, frame.time_base = tick, stream.time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    for backend in ("pyav", "decord"):
        with open_video(path, backend) as reader:
            assert np.allclose(reader.times_sec, np.array(ticks) / 1000, atol=1e-3)
            assert np.abs(reader.read([5, 2, 0])[:, 0, 0, 0] - np.array([200.0, 80, 0])).max() <= 3
