"""What a file claims is compared with a bound before any memory or time is spent on it."""

import io
import struct
import tarfile
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from besnet.data.evaluation_clips import read_clips
from besnet.data.paths import read_range, read_text
from besnet.data.shards import members
from besnet.data.transforms import evaluation_views
from besnet.models.network import IMAGENET
from besnet.video.container import VideoError
from besnet.video.opening import open_video
from tests.drawn import draw
from tests.test_sources import tar_with


@pytest.mark.parametrize(("codec", "size"), [("libx264", (16, 4096)), ("libx264", (4096, 16)), ("mjpeg", (2000, 2))])
def test_a_frame_that_is_all_length_is_refused(codec: str, size: tuple[int, int], tmp_path: Path) -> None:
    path = draw(tmp_path / "v.mkv", codec, count=2, size=size)
    with pytest.raises(VideoError, match=f"{size[0]} x {size[1]}: one side is more than 16 times the other"):
        open_video(path)


def test_the_crops_of_a_long_frame_hold_no_more_than_the_crops() -> None:
    frames = torch.randint(256, (3, 2, 16, 256, 3), dtype=torch.uint8)
    views = evaluation_views(frames, 32, 3, IMAGENET)
    alone = torch.cat([evaluation_views(frames[n : n + 1], 32, 3, IMAGENET) for n in range(3)])
    assert torch.equal(views, alone)
    assert views.untyped_storage().nbytes() == 4 * 9 * 3 * 2 * 32 * 32


def test_repeats_count_towards_the_limit_of_a_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A single frame, looped, is as many frames in memory as the clips have."""
    path = draw(tmp_path / "v.mp4", count=1)
    monkeypatch.setattr("besnet.video.reader.MAX_READ_BYTES", 3 * 160 * 96 * 40)
    with open_video(path) as reader:
        with pytest.raises(VideoError, match="41 frames at once"):
            reader.read([0] * 41)
        assert read_clips(reader, np.zeros((10, 16), dtype=np.int64)).numel() <= 3 * 160 * 96 * 40


def test_opening_and_reading_end_at_their_deadline(tmp_path: Path) -> None:
    path = draw(tmp_path / "v.mp4", count=20)
    with pytest.raises(VideoError, match=r"v\.mp4: did not finish within -1 s"):
        open_video(path, deadline_sec=-1)
    for backend in ("pyav", "decord"):
        with open_video(path, backend) as reader:
            reader._deadline.sec = -1
            with pytest.raises(VideoError, match=r"did not finish within -1 s"):
                reader.read([0])


def patched(path: Path, at: int, data: bytes) -> Path:
    """A tar with bytes changed in its first header, and the header's sum made right."""
    whole = bytearray(path.read_bytes())
    whole[at : at + len(data)] = data
    whole[148:156] = b" " * 8
    whole[148:156] = b"%06o\0 " % sum(whole[:512])
    path.write_bytes(whole)
    return path


def pax(path: Path, headers: dict[str, str]) -> Path:
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        info = tarfile.TarInfo("a.mp4")
        info.size, info.pax_headers = 3, headers
        tar.addfile(info, io.BytesIO(b"one"))
    return path


def test_sizes_in_a_tar_are_not_believed(tmp_path: Path) -> None:
    plain = tmp_path / "0.tar"
    negative = b"\xff" * 8 + struct.pack(">i", -512)
    huge = b"\x80" + (2**60).to_bytes(11, "big")
    for data, message in ((negative, "claims -512 bytes"), (huge, "cut short inside")):
        tar_with(plain, {"a.mp4": b"one", "b.mp4": b"two"})
        with pytest.raises(ValueError, match=message):
            list(members(patched(plain, 124, data)))
    for kind in (b"x", b"g", b"L", b"K", b"S"):
        tar_with(plain, {"a.mp4": b"one", "b.mp4": b"two"})
        patched(plain, 156, kind)
        with pytest.raises(ValueError, match=r"0\.tar: not a tar .*claims 1152921504606846976 bytes"):
            list(members(patched(plain, 124, huge)))
    with pytest.raises(ValueError, match=r"leads backwards|cannot be read"):
        list(members(pax(plain, {"size": "-2048"})))


def test_tars_put_end_to_end_are_refused(tmp_path: Path) -> None:
    first, second = tmp_path / "0.tar", tmp_path / "1.tar"
    tar_with(first, {"a.mp4": b"one"})
    tar_with(second, {"b.mp4": b"two"})
    both = tmp_path / "both.tar"
    both.write_bytes(first.read_bytes() + second.read_bytes())
    with pytest.raises(ValueError, match=r"both\.tar: .*something follows its end at byte 1024: .*--concatenate"):
        list(members(both))
    both.write_bytes(first.read_bytes()[:1024] + b"damaged header".ljust(512) + second.read_bytes())
    with pytest.raises(ValueError, match="something follows"):
        list(members(both))
    with pytest.raises(ValueError, match="did not finish within -1 s"):
        list(members(first, deadline_sec=-1))
    assert [member.key for member in members(first)] == ["a"]


def test_what_a_row_claims_is_not_allocated(tmp_path: Path) -> None:
    (tmp_path / "v").write_bytes(b"four")
    for offset, size in ((0, 2**40), (2**40, 1), (-1, 2), (0, -1)):
        with pytest.raises(ValueError, match="ends before byte"):
            read_range(str(tmp_path / "v"), offset, size)
    assert read_range(str(tmp_path / "v"), 1, 2) == b"ou"


def test_a_list_of_absurd_size_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    with open(path, "wb") as file:
        file.truncate(2**40)
    with pytest.raises(ValueError, match=r"t\.csv: 1099511627776 bytes are above the limit of 500000000 for a list"):
        read_text(path)


def test_a_timeline_over_a_gap_is_refused(tmp_path: Path) -> None:
    from besnet.predict.model import Model
    from besnet.video.sampling import ClipShape

    path = tmp_path / "v.mkv"
    draw(path, ticks=[0, 40, 80, 100_000_000_000])
    with av.open(str(path)) as container:
        assert container.duration
    model = Model.__new__(Model)
    model.shape = ClipShape()
    with pytest.raises(ValueError, match=r"v\.mkv: .* clips are above the limit of .*: raise --every_sec"):
        model.timeline(path)
