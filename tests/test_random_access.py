"""Where not every key frame is one to begin at, any frame is still that of a whole decode; and damage stays damage."""

import io
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from besnet.data.prepare.process_video import Job, process_video
from besnet.video.container import VideoError
from besnet.video.opening import open_video
from besnet.video.pyav_reader import PyAVReader, ToRGB
from tests.drawn import draw

OPEN_GROUPS = "open-gop=1:keyint=12:bframes=3:b-pyramid=normal"
INTRA_REFRESH = "intra-refresh=1:keyint=20:bframes=0"


def whole_decode(path: Path) -> np.ndarray:
    to_rgb = ToRGB(path.name)
    with av.open(str(path)) as container:
        return np.stack([to_rgb(frame) for frame in container.decode(video=0)])


@pytest.mark.parametrize("params", [OPEN_GROUPS, INTRA_REFRESH])
@pytest.mark.parametrize("extension", ["mp4", "mkv", "ts"])
def test_every_frame_can_be_read_on_its_own(params: str, extension: str, tmp_path: Path) -> None:
    path = draw(tmp_path / f"v.{extension}", params=params)
    truth = whole_decode(path)
    assert len(truth) == 60
    assert process_video(Job(0, str(path))).facts
    with open_video(path) as reader:
        for n in range(60):
            assert np.array_equal(reader.read([n])[0], truth[n]), n
        draws = np.random.default_rng(0)
        for _ in range(20):
            wanted = draws.integers(0, 60, 5)
            assert np.array_equal(reader.read(wanted), truth[wanted]), wanted


@pytest.mark.parametrize("params", [OPEN_GROUPS, INTRA_REFRESH])
def test_a_part_can_begin_anywhere(params: str, tmp_path: Path) -> None:
    path = draw(tmp_path / "v.mp4", params=params)
    truth = whole_decode(path)
    with PyAVReader(path, "v") as reader:
        for first in range(0, 55, 7):
            found = {n: ToRGB(path.name)(frame).copy() for n, frame in reader.frames(first, first + 4)}
            assert list(found) == list(range(first, first + 5))
            assert all(np.array_equal(found[n], truth[n]) for n in found)


@pytest.mark.parametrize("params", [OPEN_GROUPS, INTRA_REFRESH, "keyint=12:bframes=3"])
def test_damage_is_refused_and_what_comes_before_it_is_read(params: str, tmp_path: Path) -> None:
    path = draw(tmp_path / "v.mp4", params=params)
    truth = whole_decode(path)
    data = bytearray(path.read_bytes())
    with av.open(io.BytesIO(data)) as container:
        packets = [(packet.pos, packet.size, packet.pts) for packet in container.demux(video=0) if packet.size]
        step = container.streams.video[0].time_base
    largest = max((p for p in packets if p[2] * step > 1), key=lambda p: p[1])
    data[largest[0] : largest[0] + 64] = b"\xff" * 64
    with pytest.raises(VideoError, match="damaged"):
        examine_bytes(tmp_path, bytes(data))
    hurt = round(float(largest[2] * step) * 25)
    with open_video(bytes(data)) as reader:
        with pytest.raises(VideoError, match=r"damaged|cannot be decoded"):
            reader.read([hurt])
        assert np.array_equal(reader.read([3, 15]), truth[[3, 15]])


def examine_bytes(folder: Path, data: bytes) -> None:
    (folder / "damaged.mp4").write_bytes(data)
    process_video(Job(0, str(folder / "damaged.mp4")))


def test_going_back_costs_at_most_a_few_whole_decodes(tmp_path: Path) -> None:
    path = draw(tmp_path / "v.mp4", params="keyint=2:bframes=0", count=200)
    with open_video(path) as reader:
        starts = list(reader._index.starts_for(199))
    assert starts[0] == 198
    assert starts[-1] == 0
    assert starts == sorted(set(starts), reverse=True)
    assert sum(200 - start for start in starts) < 600


def test_a_key_frame_that_is_none_is_not_certified(tmp_path: Path) -> None:
    """The MPEG-4 decoder begins at any picture without a word, and shows another one."""
    path, marked = draw(tmp_path / "v.mp4", "mpeg4"), tmp_path / "marked.mp4"
    assert process_video(Job(0, str(path))).facts
    with av.open(str(path)) as source, av.open(str(marked), "w") as container:
        stream = container.add_stream_from_template(source.streams.video[0])
        for n, packet in enumerate(source.demux(video=0)):
            if packet.size:
                packet.stream = stream
                packet.is_keyframe = packet.is_keyframe or n == 30
                container.mux(packet)
    with pytest.raises(VideoError, match=r"frame 31 is another one"):
        process_video(Job(0, str(marked)))


def test_the_limit_counts_what_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A part of a long video is prepared and a long video is read; only decoding all of it is refused."""
    path, late = draw(tmp_path / "v.mp4", params="keyint=12", count=100), draw(tmp_path / "v.avi", "mpeg4", b_frames=2)
    monkeypatch.setattr("besnet.video.container.MAX_TOTAL_PIXELS", 50 * 160 * 96)
    part = Job(0, str(path), 1.0, 2.0, mode="encode", short_side=64, to=str(tmp_path / "part.mp4"))
    facts = process_video(part).facts
    assert facts is not None
    assert facts["frames"] == 25
    for whole in (Job(0, str(path)), replace(part, start_sec=None, end_sec=None)):
        with pytest.raises(VideoError, match="100 frames of 160 x 96 are above the limit"):
            process_video(whole)
    with open_video(path) as reader:
        assert reader.read([99]).shape == (1, 96, 160, 3)
    with pytest.raises(VideoError, match="60 frames of 160 x 96 are above the limit"):
        open_video(late)
