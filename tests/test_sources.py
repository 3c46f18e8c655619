"""The layouts that published data sets come in, each built from real videos."""

import io
import json
import pickle
import shutil
import tarfile
from pathlib import Path

import pytest

from besnet.data.labels import ClassFinder, canonical, known_lists
from besnet.data.manifest import Manifest, Row
from besnet.data.prepare import prepare
from besnet.data.prepare.listing import number_labels
from besnet.data.prepare.sources import list_source


def index(source: Path, out: Path, **more: object) -> dict[str, Row]:
    manifest = prepare(source, out, index_only=True, workers=2, **more)  # type: ignore[arg-type]
    return {manifest[n].id: manifest[n] for n in range(len(manifest))}


def classes(out: Path) -> list[str]:
    return Manifest.load(out).classes


@pytest.fixture
def video(shared_data: Path) -> Path:
    return shared_data / "odd" / "unordered.mov"


def test_ucf101(video: Path, tmp_path: Path) -> None:
    notes, videos = tmp_path / "ucfTrainTestlist", tmp_path / "UCF-101"
    notes.mkdir()
    (notes / "classInd.txt").write_text("1 ApplyEyeMakeup\n2 Archery\n")
    (notes / "trainlist02.txt").write_text(
        "ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi 1\nArchery/v_Archery_g08_c01.avi 2\n"
    )
    (notes / "testlist02.txt").write_text("Archery/v_Archery_g01_c01.avi\n")
    for name in ("ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi", "Archery/v_Archery_g01_c01.avi"):
        (videos / name).parent.mkdir(parents=True)
        shutil.copy(video, videos / name)
    rows = index(notes, tmp_path / "out", videos=videos, official_split=2)
    assert classes(tmp_path / "out") == ["ApplyEyeMakeup", "Archery"]
    assert {id: (r.label, r.split, r.state) for id, r in rows.items()} == {
        "ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi": (0, "train", "ready"),
        "Archery/v_Archery_g08_c01.avi": (1, "train", "missing"),
        "Archery/v_Archery_g01_c01.avi": (1, "test", "ready"),
    }
    scene = "v_ApplyEyeMakeup_g08"  # clips of one scene belong together
    assert rows["ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi"].group == scene
    with pytest.raises(ValueError, match=r"trainlist01\.txt: cannot be read"):
        index(notes, tmp_path / "out", videos=videos)


def test_hmdb51(video: Path, tmp_path: Path) -> None:
    notes, videos = tmp_path / "splits", tmp_path / "hmdb51"
    notes.mkdir()
    (notes / "brush_hair_test_split1.txt").write_text("a b.avi 1 \nc.avi 2 \nnot_used.avi 0 \n")
    (notes / "wave_test_split1.txt").write_text("A_Film_wave_u_nm_np1_fr_med_1.avi 1 \n")
    wave = "wave/A_Film_wave_u_nm_np1_fr_med_1.avi"
    for name in ("brush_hair/a b.avi", "brush_hair/c.avi", wave, "brush_hair/not_used.avi"):
        (videos / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(video, videos / name)
    rows = index(notes, tmp_path / "out", videos=videos)
    assert {id: (r.label, r.split, r.state) for id, r in rows.items()} == {
        "brush_hair/a b.avi": (0, "train", "ready"),
        "brush_hair/c.avi": (0, "test", "ready"),
        wave: (1, "train", "ready"),
    }
    assert {id: row.group for id, row in rows.items() if row.group} == {wave: "A_Film"}


def test_something_something(video: Path, tmp_path: Path) -> None:
    notes, videos = tmp_path / "labels", tmp_path / "20bn-something-something-v2"
    notes.mkdir()
    videos.mkdir()
    names = {"Holding something": "1", "Moving something up": "0"}
    (notes / "something-something-v2-labels.json").write_text(json.dumps(names))
    lists = {
        "train": [
            {"id": "7", "label": "holding potato", "template": "Holding [something]", "placeholders": ["potato"]}
        ],
        "validation": [{"id": "8", "label": "moving cup up", "template": "Moving [something] up"}],
        "test": [{"id": "9"}],
    }
    for name, items in lists.items():
        (notes / f"something-something-v2-{name}.json").write_text(json.dumps(items))
    for number in (7, 9):
        shutil.copy(video, videos / f"{number}.webm")
    rows = index(notes, tmp_path / "out", videos=videos)
    assert classes(tmp_path / "out") == ["Moving something up", "Holding something"]
    assert {id: (r.label, r.split, r.state) for id, r in rows.items()} == {
        "7": (1, "train", "ready"),
        "8": (0, "val", "missing"),
        "9": (-1, "test", "ready"),
    }


class Canary:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (Path(self.path),)


def tar_with(path: Path, files: dict[str, bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


@pytest.mark.parametrize("in_place", [True, False])
def test_webdatasets_of_others_and_the_pickles_in_them(video: Path, tmp_path: Path, in_place: bool) -> None:
    data, canary = video.read_bytes(), tmp_path / "canary"
    bomb = pickle.dumps(Canary(str(canary)))
    source = tmp_path / "theirs"
    tar_with(
        source / "train" / "000.tar",
        {"a.mp4": data, "a.cls": b"2", "a.pyd": bomb, "a.pickle": bomb, "b.mp4": data, "b.json": b'{"label": 0}'},
    )
    tar_with(source / "val-000.tar", {"x/c.webm": data, "x/c.txt": b"1", "x/c.pth": bomb, "note.txt": b"hello"})
    out = tmp_path / "out"
    manifest = prepare(source, out, index_only=in_place, copy=not in_place, workers=1)
    assert manifest.classes == ["0", "1", "2"]
    rows = [manifest[n] for n in range(3)]
    assert [(r.id, r.label, r.split) for r in rows] == [
        ("train/000/a", 2, "train"),
        ("train/000/b", 0, "train"),
        ("val-000/x/c", 1, "val"),
    ]
    for n in range(3):
        with manifest.open(n) as reader:
            assert len(reader) == 4
    assert not canary.exists()
    names = tmp_path / "names.txt"
    names.write_text("run\nwalk\njump\n")
    assert prepare(source, tmp_path / "named", classes=str(names), index_only=True).classes == ["run", "walk", "jump"]
    names.write_text("run\nwalk\n")
    with pytest.raises(ValueError, match="label 2, but there are 2 classes"):
        prepare(source, tmp_path / "named", classes=str(names), index_only=True)


def test_tars_that_lie_are_refused(video: Path, tmp_path: Path) -> None:
    source = tmp_path / "theirs"
    tar_with(source / "0.tar", {"../a.mp4": video.read_bytes(), "../a.cls": b"0"})
    with pytest.raises(ValueError, match=r"'\.\./a\.mp4' leads outside"):
        prepare(source, tmp_path / "out", index_only=True)
    tar_with(source / "0.tar", {"a.mp4": video.read_bytes(), "a.cls": b"0"})
    whole = (source / "0.tar").read_bytes()
    (source / "0.tar").write_bytes(whole[:2048])
    with pytest.raises(ValueError, match=r"0\.tar: "):
        prepare(source, tmp_path / "out", index_only=True)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"v1.0_b.mp4": b"video", "v1.0_b.cls": b"0"}, r"0\.tar: v1\.0_b\.mp4: a WebDataset key ends at its first dot"),
        ({"a.mp4": b"one", "a.cls": b"0", "a.webm": b"two"}, r"0\.tar: a\.webm: a second video of the key 'a'"),
        ({"a.mp4": b"one", "b.mp4": b"two", "./a.mp4": b"three"}, r"0\.tar: a\.mp4: a second video of the key 'a'"),
        (
            {"a.mp4": b"one", "a.json": b'{"label": {"x": 1}}'},
            r"0\.tar: a: its label is neither text nor a whole number",
        ),
        ({"a.mp4": b"one", "a.cls": b"99999999999"}, r"0\.tar: a: label 99999999999: above 100,000"),
        ({"a.mp4": b"one", "a.cls": b"9" * 9999}, r"0\.tar: a: label 9{20}: above 100,000"),
        ({"a.mp4": b"one", "a.cls": b"-2"}, r"0\.tar: a: label -2: .* -1 is none"),
    ],
)
def test_what_a_tar_would_lose_is_refused(tmp_path: Path, files: dict[str, bytes], message: str) -> None:
    tar_with(tmp_path / "0.tar", files)
    with pytest.raises(ValueError, match=message):
        number_labels(list_source(tmp_path, None, {}, 1), None)


def test_numbers_in_a_tar(tmp_path: Path) -> None:
    marked = {
        "a.mp4": b"one",
        "a.cls": b"\xef\xbb\xbf1",
        "._a.mp4": b"macOS",
        "b.mp4": b"two",
        "b.json": b'{"label": -1}',
    }
    tar_with(tmp_path / "0.tar", marked)
    listing = list_source(tmp_path, None, {}, 1)
    assert [(entry.id, entry.label) for entry in listing.entries] == [("0/a", "1"), ("0/b", None)]
    assert number_labels(listing, None) == (["0", "1"], [1, -1])


def test_a_file_in_two_classes(tmp_path: Path) -> None:
    notes, videos = tmp_path / "notes", tmp_path / "v"
    for name in ("walk/clip_1.avi", "run/clip_1.avi", "walk/clip_2.avi", "run/clip_3.avi", "clip_4.avi"):
        (videos / name).parent.mkdir(parents=True, exist_ok=True)
        (videos / name).touch()
    notes.mkdir()
    for label in ("walk", "run"):
        (notes / f"{label}_test_split1.txt").write_text("".join(f"clip_{n}.avi\t1\n" for n in range(1, 6)))
    rows = {entry.id: entry.path or entry.why for entry in list_source(notes, videos, {}, 1).entries}
    assert rows == {
        "walk/clip_1.avi": "walk/clip_1.avi", "run/clip_1.avi": "run/clip_1.avi",
        "walk/clip_2.avi": "walk/clip_2.avi", "run/clip_2.avi": "walk/clip_2.avi is in another class's folder",
        "walk/clip_3.avi": "run/clip_3.avi is in another class's folder", "run/clip_3.avi": "run/clip_3.avi",
        "walk/clip_4.avi": "clip_4.avi would serve 2 rows", "run/clip_4.avi": "clip_4.avi would serve 2 rows",
        "walk/clip_5.avi": "no file clip_5.*", "run/clip_5.avi": "no file clip_5.*",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("classInd.txt", "1 Walk\n\nRun\n", r"classInd\.txt:3: 'Run': it is a number and a class"),
        ("walk_test_split1.txt", "a.avi 1\nb.avi\n", r"split1\.txt:2: 'b\.avi': it is a file's name and 0, 1 or 2"),
        ("labels.json", '{"Holding": ["0"]}', r"labels\.json: 'Holding': \['0'\] is not the number of a class"),
        ("labels.json", '{"Holding": "x"}', r"labels\.json: 'Holding': 'x' is not the number of a class"),
        ("labels.json", '{"Holding": "0"}', r"train\.json: entry 2: its template is not text"),
    ],
)
def test_damaged_lists_are_refused_by_line(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    (tmp_path / "train.json").write_text('[{"id": 1, "template": "Holding"}, {"id": 2, "template": ["Holding"]}]')
    with pytest.raises(ValueError, match=message):
        list_source(tmp_path, None, {}, 1)


@pytest.mark.parametrize("source", ["pipe:touch canary", "pipe:touch canary |", "http://host/a.csv", "-x"])
def test_a_source_is_a_file_and_nothing_else(tmp_path: Path, source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="no such file or folder"):
        prepare(Path(source), tmp_path / "out")
    assert not (tmp_path / "canary").exists()


def test_labels_are_found_however_copies_write_them() -> None:
    names = known_lists()["kinetics400"]
    assert len(names) == 400
    assert (len(known_lists()["kinetics600"]), len(known_lists()["kinetics700"])) == (600, 700)
    find = ClassFinder(names)
    for written in ("air drumming", "air_drumming", "Air Drumming", '"air drumming"', " air  drumming "):
        assert find(written, "x") == 1
    assert canonical("catching or throwing baseball") == "catching or throwing baseball"
    with pytest.raises(ValueError, match=r"x:1: label 'air druming' .* did you mean 'air drumming'"):
        find("air druming", "x:1")
