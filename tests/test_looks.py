"""The same pictures are known again after a re-encoding, and others of the same camera are not taken for them."""

from pathlib import Path

import av
import numpy as np
import pytest

from besnet import cli
from besnet.data import looks
from besnet.data.coverage import same_pictures
from besnet.data.looks import Looks, alike
from besnet.data.manifest import Manifest
from besnet.data.prepare import prepare
from besnet.report.coverage_page import coverage_page
from besnet.video.orientation import Orientation

FRAMES, SIZE = 40, (160, 120)


def frames(seed: int, background: int = 0) -> list[np.ndarray]:
    """A square that walks at random before a background: of one camera where the number is the same."""
    scene = np.random.default_rng(background).integers(0, 200, (6, 8, 3)).repeat(20, 0).repeat(20, 1).astype(np.uint8)
    rng = np.random.default_rng([1, seed])
    place, speed = rng.uniform(20, 80, 2), rng.normal(size=2) * 3
    shown = []
    for _ in range(FRAMES):
        speed += rng.normal(size=2)
        place = np.clip(place + speed, 0, (90, 130))
        picture = scene.copy()
        top, left = place.astype(int)
        picture[top : top + 30, left : left + 30] = (250, 240, 60)
        shown.append(picture)
    return shown


def encode(path: Path, pictures: list[np.ndarray], crf: int = 20, size: tuple[int, int] = SIZE, rate: int = 25) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate, options={"crf": str(crf), "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        stream.codec_context.thread_count = 1
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


@pytest.fixture(scope="module")
def twice(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve videos before two backgrounds; three of those in train are in test again, small and coarse."""
    folder = tmp_path_factory.mktemp("twice")
    for seed in range(12):
        split = "train" if seed < 8 else "test"
        encode(folder / "videos" / split / "abc"[seed % 3] / f"own_{seed}.mp4", frames(seed, seed % 2))
    for seed in range(3):
        encode(folder / "videos" / "test" / "abc"[seed] / f"again_{seed}.mp4", frames(seed, seed % 2), 32, (80, 60))
    return folder


@pytest.mark.parametrize("mode", [{"index_only": True}, {"short_side": 64}])
def test_prepare_and_verify_name_both_files(
    twice: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], mode: dict[str, object]
) -> None:
    manifest = prepare(twice / "videos", tmp_path / "data", workers=1, **mode)  # type: ignore[arg-type]
    said = capsys.readouterr().out
    [((first, second), pairs)] = same_pictures(manifest).items()
    assert (first, second) == ("train", "test")
    found = [(Path(one).stem, Path(other).stem) for one, other in pairs]
    assert found == [(f"own_{n}", f"again_{n}") for n in range(3)]
    assert "3 times the same pictures, encoded anew, in train and test: " in said
    assert cli.run("verify", [str(tmp_path / "data")]) == 0, "it is no fault"
    assert f"in train and test, encoded anew: {pairs[0][0]} and {pairs[0][1]}" in capsys.readouterr().out
    assert pairs[2][1] in coverage_page(tmp_path / "data").read_text()


def test_a_preparation_that_reuses_videos_keeps_what_they_look_like(twice: Path, tmp_path: Path) -> None:
    first = prepare(twice / "videos", tmp_path / "data", workers=1, index_only=True)
    seen = {first[row].id: first[row].looks for row in range(len(first))}
    encode(twice / "videos" / "train" / "a" / "new.mp4", frames(99))
    second = prepare(twice / "videos", tmp_path / "data", workers=1, index_only=True)
    (twice / "videos" / "train" / "a" / "new.mp4").unlink()
    assert {second[row].id: second[row].looks for row in range(len(second))}.items() >= seen.items()
    assert all(seen.values())


def text_of(pictures: list[np.ndarray], orientation: Orientation = Orientation()) -> str:  # noqa: B008
    """What pictures look like that are decoded without loss."""
    seen = Looks(np.arange(len(pictures)) / 25, orientation, 0, len(pictures) - 1)
    for number, picture in enumerate(pictures):
        seen.see(number, av.VideoFrame.from_ndarray(picture, format="rgb24"))
    return seen.text


def test_length_and_split_count_and_a_black_video_shows_nothing() -> None:
    texts = [text_of(frames(0))] * 3 + [text_of(frames(1))]
    lengths, splits = np.array([2.0, 2.1, 2.5, 2.0]), np.array([0, 2, 2, 2])
    assert alike(texts, lengths, splits) == [(0, 1)]
    assert alike(texts, lengths, np.zeros(4)) == []
    assert text_of([np.full((120, 160, 3), 7, np.uint8)] * FRAMES) == ""


def test_brightness_and_a_turned_file_change_nothing() -> None:
    pictures = frames(3)
    dark = [(picture * (0.5 + 0.4 * (n % 5) / 5)).astype(np.uint8) for n, picture in enumerate(pictures)]
    turned = [np.ascontiguousarray(picture.swapaxes(0, 1)) for picture in pictures]
    texts = [text_of(pictures), text_of(dark), text_of(turned, Orientation(transposed=True)), text_of(turned)]
    found = alike(texts, np.full(4, 1.6), np.arange(4))
    assert {(0, 1), (0, 2)} <= set(found)
    assert not any(3 in pair for pair in found)


def test_the_bits_are_the_same_on_every_machine() -> None:
    """They are in files: what they are made of may not change."""
    ramp = np.outer(np.arange(12), np.arange(12))
    assert np.packbits(looks.signs(ramp, 64)).tobytes().hex() == "e3c092afed206857"


def test_a_damaged_field_is_refused(twice: Path, tmp_path: Path) -> None:
    prepare(twice / "videos", tmp_path / "data", workers=1, index_only=True)
    lines = tmp_path / "data" / "manifest.jsonl"
    text = lines.read_bytes()
    at = text.index(b'"looks": "') + 10
    lines.write_bytes(text[:at] + b"*" + text[at + 1 :])
    with pytest.raises(ValueError, match=r"line 1: looks .* not 64 bytes"):
        Manifest.load(tmp_path / "data")[0]
