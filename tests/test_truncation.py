"""Videos that end early are refused in every format whose header says how long they are; whole ones never."""

import struct
from pathlib import Path

import av
import pytest

from besnet.data.prepare.process_video import Job, process_video
from besnet.video.container import VideoError
from besnet.video.opening import open_video
from tests.drawn import draw

IN_SHARED = ("odd/testsrc2_vp9.webm", "odd/av1_video.mkv", "weizmann/videos/walk/denis_walk.avi")
DRAWN = {
    "b_frames.mkv": "libx264", "old.avi": "mpeg4", "motion.avi": "mjpeg", "flash.flv": "flv", "new.flv": "libx264",
    "vp8.webm": "libvpx",
}  # fmt: skip


@pytest.mark.parametrize("name", [*IN_SHARED, *DRAWN])
@pytest.mark.parametrize("share", [0.3, 0.6])
def test_a_download_that_broke_off_is_not_certified(name: str, share: float, shared_data: Path, tmp_path: Path) -> None:
    path = draw(tmp_path / name, DRAWN[name]) if name in DRAWN else shared_data / name
    assert process_video(Job(0, str(path))).facts
    cut = tmp_path / f"cut{path.suffix}"
    cut.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(VideoError, match=r"truncated|not a video that can be read"):
        process_video(Job(0, str(cut)))


def test_an_index_at_the_front_promises_more_than_there_is(tmp_path: Path) -> None:
    path = draw(tmp_path / "front.mp4", params="bframes=0", muxer={"movflags": "faststart"})
    with av.open(str(path)) as container:
        places = [packet.pos for packet in container.demux(video=0) if packet.size]
    with pytest.raises(VideoError, match=r"front: ends after 1.2 of 2.4 s: truncated"):
        open_video(path.read_bytes()[: places[30]], name="front")


@pytest.mark.parametrize("extension", ["mkv", "mp4", "flv"])
def test_sound_that_goes_on_is_no_missing_picture(extension: str, tmp_path: Path) -> None:
    path = draw(tmp_path / f"sound.{extension}", count=30, sound_sec=4)
    with av.open(str(path)) as container:
        assert container.duration > 3_500_000
    with open_video(path) as reader:
        assert len(reader) == 30


@pytest.mark.parametrize("extension", ["mkv", "mp4", "mov", "webm", "flv"])
def test_a_variable_frame_rate_is_whole(extension: str, tmp_path: Path) -> None:
    ticks = [0, 40, 80, 500, 540, 3000, 3040, 6000]
    path = draw(tmp_path / f"v.{extension}", "libvpx" if extension == "webm" else "libx264", ticks=ticks)
    with open_video(path) as reader:
        assert len(reader) == 8
        assert reader.times_sec[-1] == pytest.approx(6, abs=0.01)


@pytest.mark.parametrize("extension", ["mp4", "mkv"])
def test_a_piece_cut_without_encoding_is_whole(extension: str, tmp_path: Path) -> None:
    """It begins with an edit list, or at a time other than 0."""
    path, piece = draw(tmp_path / "whole.mp4", params="keyint=12:bframes=3", count=100), tmp_path / f"piece.{extension}"
    with av.open(str(path)) as source, av.open(str(piece), "w") as container:
        stream = container.add_stream_from_template(source.streams.video[0])
        for packet in list(source.demux(video=0))[48:83]:
            if packet.size:
                packet.stream = stream
                container.mux(packet)
    with open_video(piece) as reader:
        assert 30 <= len(reader) <= 35


def test_a_wrong_count_in_a_header_is_no_truncation(tmp_path: Path) -> None:
    path = draw(tmp_path / "count.avi", "mjpeg")
    data = bytearray(path.read_bytes())
    at = data.find(b"strh") + 40
    assert struct.unpack_from("<I", data, at) == (60,)
    struct.pack_into("<I", data, at, 90)
    with open_video(bytes(data)) as reader:
        assert len(reader) == 60
