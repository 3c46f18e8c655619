"""Pictures are counted, not packets; the film is the stream that ffmpeg takes; time stamps that begin again shuffle
nothing."""

from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from besnet.data.prepare.process_video import Job, process_video
from besnet.video.container import VideoError
from besnet.video.opening import open_video
from besnet.video.references import hidden
from tests.drawn import draw

Packets = list[tuple[bytes, Any]]


def remuxed(source: Path, out: Path, change: Callable[[Packets], Iterable[tuple[bytes, Any]]]) -> Path:
    """The packets (bytes, original) of a file, changed, in a new one."""
    with av.open(str(source)) as container, av.open(str(out), "w") as target:
        stream = container.streams.video[0]
        into = target.add_stream_from_template(stream)
        for data, original in change([(bytes(p), p) for p in container.demux(stream) if p.size]):
            packet = av.Packet(data)
            packet.pts, packet.dts, packet.time_base = original.pts, original.dts, original.time_base
            packet.is_keyframe, packet.stream = original.is_keyframe, into
            target.mux(packet)
    return out


def every_frame(path: Path) -> np.ndarray:
    """All frames as libavcodec gives them in one pass from the beginning."""
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def check(path: Path, truth: np.ndarray, period_sec: float = 0.04) -> None:
    """Every frame, together and alone, and its time; decord gives the same or refuses; prepare passes it."""
    with open_video(path) as reader:
        assert len(reader) == len(truth)
        assert np.array_equal(reader.read(range(len(truth))), truth)
        for number in (len(truth) - 1, 0, len(truth) // 2):
            assert np.array_equal(reader.read([number])[0], truth[number]), number
        assert np.allclose(np.diff(reader.times_sec), period_sec, atol=2e-3)
    with suppress(VideoError), open_video(path, "decord") as reader:
        assert np.array_equal(reader.read(range(len(truth))), truth)
    facts = process_video(Job(0, str(path))).facts
    assert facts is not None
    assert facts["frames"] == len(truth)
    assert facts["fps"] == pytest.approx(1 / period_sec, rel=0.01)


def test_a_vp8_picture_that_is_only_referred_to_is_no_frame(tmp_path: Path) -> None:
    """As the encoder's alternate references are; here the mark "shown" is taken off two pictures."""
    whole = draw(tmp_path / "whole.webm", "libvpx", count=20)
    marked = (7, 8)

    def hide(packets: Packets) -> Packets:
        return [(bytes([d[0] & ~0x10 if n in marked else d[0]]) + d[1:], p) for n, (d, p) in enumerate(packets)]

    path = remuxed(whole, tmp_path / "v.webm", hide)
    truth = every_frame(path)
    assert len(truth) == 18
    with open_video(path) as reader:
        assert np.array_equal(reader.read(range(18)), truth)
        assert np.array_equal(reader.read([7])[0], truth[7])
        assert np.allclose(np.diff(reader.times_sec)[[0, 6, 7]], [0.04, 0.12, 0.04], atol=2e-3)
    assert process_video(Job(0, str(path))).facts["frames"] == 18  # type: ignore[index]


def test_hidden_pictures_of_vp9_are_known_by_their_header() -> None:
    shown, unseen, again = b"\x82\x49\x83", b"\x84\x49\x83", b"\x88\x49\x83"
    profile_3 = [b"\xb1\x49\x83", b"\xb0\x49\x83", b"\xb4\x49\x83"]
    packets = [shown, unseen, again, unseen + b"\xc0\x03\xc0", *profile_3]
    assert hidden(packets, "vp9").tolist() == [False, True, False, False, False, True, False]
    assert not hidden(packets, "mpeg4").any()


@pytest.mark.parametrize("extension", ["ts", "mkv", "mpg"])
def test_mpeg2_cut_at_an_open_group(extension: str, tmp_path: Path) -> None:
    """The pictures before its first key frame need the group that was cut off: they are not the video, and counted."""
    whole = draw(tmp_path / "whole.ts", "mpeg2video", b_frames=2)

    def cut(packets: Packets) -> Packets:
        return packets[[n for n, (_, p) in enumerate(packets) if p.is_keyframe][1] :]

    path = remuxed(whole, tmp_path / f"v.{extension}", cut)
    truth = every_frame(path)
    check(path, truth)
    with open_video(path) as reader:
        assert reader.dropped == 2
    facts = process_video(Job(0, str(path))).facts
    assert facts is not None
    assert facts["why"].startswith("2 pictures at the start left out")


@pytest.mark.parametrize("extension", ["ts", "mkv"])
@pytest.mark.parametrize("first", [5, 12])
def test_h264_that_starts_in_the_middle_of_a_group(extension: str, first: int, tmp_path: Path) -> None:
    whole = draw(tmp_path / "whole.ts", params="keyint=12:open-gop=1:bframes=2:b-adapt=0:scenecut=0")
    path = remuxed(whole, tmp_path / f"v.{extension}", lambda packets: packets[first:])
    truth = every_frame(path)
    assert 30 < len(truth) < 60 - first
    check(path, truth)
    with open_video(path) as reader:
        assert reader.dropped == 60 - first - len(truth)


@pytest.mark.parametrize("extension", ["ts", "mp4"])
def test_h264_packets_without_a_picture(extension: str, tmp_path: Path) -> None:
    """A delimiter or a message alone in a packet, as some multiplexers leave them."""
    whole = draw(tmp_path / f"whole.{extension}", params="keyint=8:bframes=2", count=20)
    truth = every_frame(whole)
    message = bytes([6, 5, 16, *range(16, 32), 0x80])  # user data
    start = b"\0\0\0\1" if extension == "ts" else len(message).to_bytes(4, "big")

    def emptied(packets: Packets) -> Packets:
        kept = packets[:-1]
        return [*kept, (start + message, packets[-1][1])]

    path = remuxed(whole, tmp_path / f"v.{extension}", emptied)
    with open_video(path) as reader:
        assert len(reader) == 19
        found = reader.read(range(19))
    assert all(any(np.array_equal(one, other) for other in truth) for one in found)
    facts = process_video(Job(0, str(path))).facts
    assert facts is not None
    assert facts["frames"] == 19


def test_mpeg4_packets_that_say_as_before(tmp_path: Path) -> None:
    whole = draw(tmp_path / "whole.mkv", "mpeg4", count=20)
    as_before = b"\0\0\1\xb6" + (0b01_0_1_00000_1_0_01111 << 0).to_bytes(2, "big")  # a P picture that is not coded

    def emptied(packets: Packets) -> Packets:
        return [(as_before if n in (4, 11) else data, p) for n, (data, p) in enumerate(packets)]

    path = remuxed(whole, tmp_path / "v.mkv", emptied)
    truth = every_frame(path)
    with open_video(path) as reader:
        assert len(reader) == len(truth) == 18
        assert np.array_equal(reader.read(range(18)), truth)
        assert np.array_equal(reader.read([12])[0], truth[12])
    assert process_video(Job(0, str(path))).facts["frames"] == 18  # type: ignore[index]


@pytest.mark.parametrize("codec", ["mpeg4", "libx264"])
def test_avi_with_b_frames_keeps_its_rate(codec: str, tmp_path: Path) -> None:
    path = draw(tmp_path / "v.avi", codec, b_frames=2, count=120)
    check(path, every_frame(path))


@pytest.mark.parametrize("lead", [0, 10])
def test_transport_streams_end_to_end(lead: int, tmp_path: Path) -> None:
    """Their stamps begin again, the same or interleaved: the frames stay in the order in which they were filmed."""
    first = draw(tmp_path / "a.ts", count=30)
    second = draw(tmp_path / "b.ts", count=24, ticks=[1000 * (lead > 0) + lead + 40 * n for n in range(24)])
    joined = tmp_path / "v.ts"
    joined.write_bytes(first.read_bytes() + second.read_bytes())
    check(joined, np.concatenate([every_frame(first), every_frame(second)]))


def two_streams(path: Path, sizes: list[tuple[int, int]], default: int | None, cover: int | None = None) -> Path:
    with av.open(str(path), "w") as container:
        streams = []
        for n, (width, height) in enumerate(sizes):
            stream = container.add_stream("mjpeg" if n == cover else "libx264", rate=25)
            stream.width, stream.height = width, height
            stream.pix_fmt = "yuvj420p" if n == cover else "yuv420p"
            marks = av.stream.Disposition
            stream.disposition = marks.attached_pic if n == cover else marks.default if n == default else marks(0)
            streams.append(stream)
        for n, stream in enumerate(streams):
            for number in range(1 if n == cover else 10):
                picture = np.full((stream.height, stream.width, 3), 60 * n + 5 * number, np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode())
    return path


@pytest.mark.parametrize(
    ("extension", "default", "cover", "best"),
    [("mkv", None, None, 1), ("mkv", 0, None, 0), ("mkv", 1, None, 1), ("mp4", 0, 1, 0), ("ts", None, None, 1)],
)
def test_the_film_is_the_stream_that_ffmpeg_takes(
    extension: str, default: int | None, cover: int | None, best: int, tmp_path: Path
) -> None:
    sizes = [(64, 48), (128, 96)]
    path = two_streams(tmp_path / f"v.{extension}", sizes, default, cover)
    with open_video(path) as reader:
        assert (reader.width, reader.height) == sizes[best]
        truth = reader.read(range(10))
        assert abs(int(truth[9, 0, 0, 0]) - 60 * best - 45) <= 3
    with suppress(VideoError), open_video(path, "decord") as reader:
        assert np.array_equal(reader.read(range(10)), truth)
