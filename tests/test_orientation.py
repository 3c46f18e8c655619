"""The eight ways a picture can be turned and mirrored, said by container or stream: read and prepared upright."""

import itertools
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import av
import numpy as np
import pytest

from besnet.data.prepare.process_video import Job, process_video
from besnet.video.container import VideoError
from besnet.video.opening import open_video
from tests.drawn import draw

Change = Callable[[np.ndarray], np.ndarray]
# a, b, c, d of x' = a x + c y, y' = b x + d y, and the same done to an array.
MATRICES: dict[tuple[int, int, int, int], Change] = {
    (1, 0, 0, 1): lambda p: p,
    (-1, 0, 0, 1): np.fliplr,
    (1, 0, 0, -1): np.flipud,
    (-1, 0, 0, -1): lambda p: np.rot90(p, 2),
    (0, 1, 1, 0): lambda p: np.swapaxes(p, 0, 1),
    (0, 1, -1, 0): lambda p: np.rot90(p, -1),
    (0, -1, 1, 0): lambda p: np.rot90(p, 1),
    (0, -1, -1, 0): lambda p: np.rot90(np.swapaxes(p, 0, 1), 2),
}
# What h264_metadata and hevc_metadata write: anticlockwise turns, then mirrored.
MESSAGES: dict[str, Change] = {
    "rotate=90": lambda p: np.rot90(p, 1),
    "rotate=180": lambda p: np.rot90(p, 2),
    "rotate=270": lambda p: np.rot90(p, 3),
    "flip=horizontal": np.fliplr,
    "flip=vertical": np.flipud,
}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw(tmp_path_factory.mktemp("plain") / "v.mp4", params="keyint=8", count=12)


def with_matrix(plain: Path, out: Path, a: float, b: float, c: float, d: float) -> Path:
    data = bytearray(plain.read_bytes())
    at = data.index(b"tkhd") + 44  # version 0 of the track's header
    numbers = [round(v * 65536) for v in (a, b, 0, c, d, 0, 0, 0)]
    data[at : at + 36] = struct.pack(">9i", *numbers, 1 << 30)
    out.write_bytes(data)
    return out


def with_message(plain: Path, out: Path, orientation: str) -> Path:
    """As players write it: with key frames only, good until the next."""
    with av.open(str(plain)) as source, av.open(str(out), "w") as target:
        stream = source.streams.video[0]
        into = target.add_stream_from_template(stream)
        change = av.BitStreamFilterContext(f"h264_metadata=display_orientation=insert:{orientation}", stream, into)
        for packet in source.demux(stream):
            for changed in change.filter(packet if packet.size else None):
                changed.stream = into
                target.mux(changed)
    return out


def test_the_eight_are_all_there_are() -> None:
    picture = np.arange(6).reshape(2, 3)
    seen = {change(picture).tobytes() + bytes(change(picture).shape) for change in MATRICES.values()}
    assert len(seen) == 8


@pytest.mark.parametrize("matrix", MATRICES)
def test_the_containers_matrix(matrix: tuple[int, int, int, int], plain: Path, tmp_path: Path) -> None:
    check(with_matrix(plain, tmp_path / "v.mp4", *matrix), plain, MATRICES[matrix], tmp_path)


@pytest.mark.parametrize(("message", "extension"), list(itertools.product(MESSAGES, ["mp4", "ts"])))
def test_the_streams_message_holds_for_the_frames_after_it(
    message: str, extension: str, plain: Path, tmp_path: Path
) -> None:
    check(with_message(plain, tmp_path / f"v.{extension}", message), plain, MESSAGES[message], tmp_path)


def check(path: Path, plain: Path, change: Change, folder: Path) -> None:
    """The pictures of a file are those of the plain one, changed; frame by frame, alone, and prepared."""
    with open_video(plain) as reader:
        truth = np.stack([change(picture) for picture in reader.read(range(12))])
    with open_video(path) as reader:
        assert np.array_equal(reader.read([9])[0], truth[9])
        assert np.array_equal(reader.read(range(12)), truth)
        assert (reader.height, reader.width) == truth.shape[1:3]
    with suppress(VideoError), open_video(path, "decord") as reader:  # the same, or refused
        assert np.array_equal(reader.read(range(12)), truth)
    facts = process_video(Job(0, str(path), mode="encode", short_side=96, to=str(folder / "made.mp4"))).facts
    assert facts is not None
    assert (facts["height"], facts["width"]) == truth.shape[1:3]
    with open_video(folder / "made.mp4") as reader:
        error = reader.read(range(12)).astype(float) - truth
    assert 10 * np.log10(255**2 / (error**2).mean()) > 25  # the texture's colours are as fine as pixels
    assert process_video(Job(0, str(path))).facts is not None


def test_other_angles_are_refused(plain: Path, tmp_path: Path) -> None:
    turned = with_matrix(plain, tmp_path / "v.mp4", 0.866, 0.5, -0.5, 0.866)
    with (
        pytest.raises(VideoError, match=r"turns it by 30 degrees, and only quarter turns.*ffmpeg -i"),
        open_video(turned) as reader,
    ):
        reader.read([0])
