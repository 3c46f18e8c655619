"""What a source lists before any video is opened: class folders, tables, tars, and what is left out or refused."""

import unicodedata
from pathlib import Path

import av
import numpy as np
import pytest

from besnet.data.labels import read_classes
from besnet.data.manifest import Manifest
from besnet.data.prepare import prepare
from besnet.data.prepare.listing import Listing, number_labels
from besnet.data.prepare.sources import list_source
from besnet.video.opening import open_video
from tests.moving_squares import DIRECTIONS, draw
from tests.test_sources import tar_with


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def listing(source: Path, videos: Path | None = None) -> Listing:
    return list_source(source, videos, {}, 1)


def listed(source: Path, videos: Path | None = None) -> dict[str, tuple[str | None, str]]:
    return {entry.id: (entry.label, entry.split) for entry in listing(source, videos).entries}


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_videos_in_test_itself_have_no_label(tmp_path: Path) -> None:
    source = touch(tmp_path, "train/walk/a.mp4", "train/clap/a.mp4", "test/x1.mp4")
    assert listed(source) == {
        "train/walk/a.mp4": ("walk", "train"), "train/clap/a.mp4": ("clap", "train"), "test/x1.mp4": (None, "test"),
    }  # fmt: skip
    for split in ("train", "Validation"):
        stray = touch(tmp_path, f"{split}/stray.mp4") / split / "stray.mp4"
        with pytest.raises(ValueError, match=rf"{split}/stray\.mp4: lies in no class folder of {split}"):
            listed(source)
        stray.unlink()


def test_a_folder_with_one_table_is_listed_by_it(tmp_path: Path) -> None:
    touch(tmp_path, "videos/train/a.mp4", "videos/train/b.mp4")
    table = write(tmp_path / "index.csv", "label,path\nwalk,videos/train/a.mp4\nclap,videos/train/b.mp4\n")
    write(tmp_path / "people.csv", "name,age\nido,30\n")
    assert listed(tmp_path) == listed(table) == {
        "videos/train/a.mp4": ("walk", "train"), "videos/train/b.mp4": ("clap", "train"),
    }  # fmt: skip
    write(tmp_path / "more.csv", "label,path\nwalk,videos/train/a.mp4\n")
    with pytest.raises(ValueError, match=r"holds the tables index\.csv, more\.csv: name the one"):
        listed(tmp_path)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("videos/walk/a.mp4", "videos/clap/b.mp4"), r"give .*/videos instead"),
        (("train_256/walk/a.mp4", "train_256/clap/b.mp4"), r"give .*/train_256 instead"),
        (("videos/train/walk/a.mp4", "videos/test/walk/b.mp4"), r"give .*/videos instead"),
        (("train/all/walk/a.mp4", "test/all/walk/b.mp4"), r"move the class folders in .*/test/all up by one"),
        (("train_256/walk/a.mp4", "val_256/walk/b.mp4"), "train_256, val_256 hold class folders: name them train, val"),
    ],
)
def test_one_level_too_many_is_refused(tmp_path: Path, names: tuple[str, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        listed(touch(tmp_path, *names))


def test_folders_below_classes_belong_to_them(tmp_path: Path) -> None:
    source = touch(tmp_path, "walk/ido/a.mp4", "walk/eli/a.mp4", "test_drive/b.mp4")
    assert {label for label, _ in listed(source).values()} == {"walk", "test_drive"}


def test_what_is_left_out_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = touch(
        tmp_path, "walk/a.mp4", "walk/.DS_Store", "walk/._a.mp4", "walk/Thumbs.db", "x.mp4", "clap/a.mp4.part",
        "clap/b.jpg", "clap/c.JPG", "train/run/a", "train/jump/a.MTS",
    )  # fmt: skip
    assert set(listed(source)) == {"walk/a.mp4", "train/jump/a.MTS"}
    assert capsys.readouterr().out == (
        "left out: 4 files not named like videos (.jpg 2, .part 1, no extension 1), 1 video outside class folders, "
        "2 folders without videos (clap, train/run)\n"
    )
    clean = touch(tmp_path / "clean", "walk/a.mp4", "clap/b.mp4", "walk/.DS_Store")
    listed(clean)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("extension", "container", "codec"),
    [
        ("MTS", "mpegts", "libx264"),
        ("m2ts", "mpegts", "libx264"),
        ("mpe", "mpeg", "mpeg2video"),
        ("vob", "vob", "mpeg2video"),
        ("3g2", "3g2", "libx264"),
        ("f4v", "f4v", "libx264"),
        ("divx", "avi", "mpeg4"),
    ],
)
def test_every_extension_that_is_listed_can_be_read(tmp_path: Path, extension: str, container: str, codec: str) -> None:
    path = tmp_path / "walk" / f"a.{extension}"
    path.parent.mkdir()
    with av.open(str(path), "w", format=container) as file:
        stream = file.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for n in range(9):
            picture = np.full((48, 64, 3), 20 * n, np.uint8)
            file.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        file.mux(stream.encode())
    assert listed(tmp_path) == {f"walk/a.{extension}": ("walk", "train")}
    with open_video(path) as reader:
        assert reader.read([0, 8]).mean((1, 2, 3)) == pytest.approx([0, 160], abs=2)


def test_our_own_output_is_no_source(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for label in ("left", "up"):
        draw(tmp_path / label / "a.mp4", DIRECTIONS[label], seed=1)
    out = tmp_path / "prepared"
    touch(out, "up/not_mine.mp4")
    first = prepare(tmp_path, out, copy=True, workers=1)
    assert "left out" not in capsys.readouterr().out
    again = prepare(tmp_path, out, copy=True, workers=1, videos_per_shard=1)
    assert again.passport.source == first.passport.source
    assert set(listed(tmp_path)) == {"left/a.mp4", "up/a.mp4"}
    assert "left out: prepared data (prepared)" in capsys.readouterr().out
    (out / ".work").mkdir()  # interrupted
    (out / "dataset.json").unlink()
    assert set(listed(tmp_path)) == {"left/a.mp4", "up/a.mp4"}
    inside = prepare(tmp_path, tmp_path, copy=True, workers=1)
    assert inside.passport.source == prepare(tmp_path, tmp_path, copy=True, workers=1, short_side=128).passport.source
    with pytest.raises(ValueError, match="no videos in class folders"):
        listed(touch(tmp_path / "other", "prepared/.work/plan", "prepared/walk/a.mp4"))


def test_a_finished_set_stays_until_the_next_is_complete(tmp_path: Path) -> None:
    source, out = tmp_path / "source", tmp_path / "out"
    draw(source / "left" / "a.mp4", DIRECTIONS["left"], seed=1)
    first = prepare(source, out, copy=True, workers=1)
    before = {path: path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}
    (source / "left" / "a.mp4").write_bytes(b"no video")
    with pytest.raises(ValueError, match="no readable video among"):
        prepare(source, out, copy=True, workers=1)
    assert {path: path.read_bytes() for path in before} == before
    with Manifest.load(out).open(0) as reader:
        assert len(reader) == first[0].frames
    draw(source / "left" / "a.mp4", DIRECTIONS["left"], seed=2)
    assert prepare(source, out, copy=True, workers=1).passport != first.passport
    assert not (out / ".work").exists()


def test_tars_beside_videos_are_refused(tmp_path: Path) -> None:
    tar_with(tmp_path / "a.tar", {"a.mp4": b"video", "a.cls": b"0"})
    assert listed(tmp_path) == {"a/a": ("0", "train")}
    with pytest.raises(ValueError, match=r"holds tar files \(a\.tar\) and videos \(walk/a\.mp4\): give the folder of"):
        listed(touch(tmp_path, "walk/a.mp4"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('label,path\na,1.mp4\n"b,2.mp4\nc,3.mp4\n', r"t\.csv:3: cannot be read as a table"),
        ('label,path\na,1.mp4\n"b,2.mp4\nc",3.mp4\n', r"t\.csv:3: a field goes over the end of the line"),
        ('label,path\n"a"b,1.mp4\n', r"t\.csv:2: cannot be read as a table"),
        ("label,path\na,A/b.mp4\nb,./A/b.mp4\n", r"t\.csv:3: '\./A/b\.mp4' is listed twice, first in .*t\.csv:2"),
    ],
)
def test_a_damaged_table_is_refused_by_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        listed(write(tmp_path / "t.csv", text))


@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_tables_as_spreadsheets_write_them(tmp_path: Path, mark: str) -> None:
    touch(tmp_path, "A/b.mp4", "A/c.mp4")
    rows = [("Label", " Path", "SPLIT"), ("walk", "A/b.mp4 ", "train"), ("clap", "A\\c.mp4", "test")]
    table = write(tmp_path / "t.csv", "\ufeff" + "\r\n".join(mark.join(row) for row in rows))
    assert [(e.label, e.path, e.split) for e in listing(table).entries] == [
        ("walk", "A/b.mp4", "train"),
        ("clap", "A/c.mp4", "test"),
    ]
    with open(table, "a") as file:
        file.write("\r\n" + mark.join(("walk", "A/d.mp4", "train")))
    held = list_source(table, None, {"val": "PATH=A/d.mp4"}, 1)
    assert held.entries[2].split == "val"


def test_a_table_named_from_where_it_lies_is_named_after_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "people").mkdir()
    write(tmp_path / "people" / "index.csv", "label,path\nwalk,a.mp4\n")
    monkeypatch.chdir(tmp_path / "people")
    assert listing(Path("index.csv")).name == "people"


def test_a_class_has_one_spelling(tmp_path: Path) -> None:
    composed, apart = (unicodedata.normalize(form, "Fahrrad über Brücke") for form in ("NFC", "NFD"))
    labels = ("walk", "Walk", "clap", apart, composed)
    table = write(tmp_path / "t.csv", "label,path\n" + "".join(f"{label},{n}.mp4\n" for n, label in enumerate(labels)))
    names, numbers = number_labels(listing(table), None)
    assert names == [min(apart, composed), "Walk", "clap"]
    assert numbers == [1, 1, 2, 0, 0]


def test_class_lists_may_begin_with_a_mark(tmp_path: Path) -> None:
    path = tmp_path / "classes.txt"
    path.write_bytes("\ufeffwalk\nclap\n".encode())
    assert read_classes(path) == ["walk", "clap"]


def test_names_that_differ_only_in_case_are_said(
    squares: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    video = next((squares.parent / "test").glob("*.mp4"))
    for name in ("a.mp4", "A.mp4", "b.mp4"):
        (tmp_path / "walk").mkdir(exist_ok=True)
        (tmp_path / "walk" / name).write_bytes(video.read_bytes())
    prepare(tmp_path, tmp_path / "out", index_only=True, workers=1)
    assert "names that differ only in case: 'walk/A.mp4' and 'walk/a.mp4'\n" in capsys.readouterr().out
