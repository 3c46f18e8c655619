"""Lists of videos as other projects write them, labels that are numbers, and what cannot be listed or read."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from besnet.data.labels import canonical
from besnet.data.prepare.files import Folder
from besnet.data.prepare.listing import number_labels
from besnet.data.prepare.sources import list_source
from besnet.predict.verbs import each, listed
from tests.test_listing import listing, touch, write
from tests.test_sources import tar_with


@pytest.mark.parametrize("mark", [" ", ",", "\t", ";"])
def test_lists_without_a_line_of_names(mark: str, tmp_path: Path) -> None:
    touch(tmp_path, "walk/a b.mp4", "run/b.avi", "run/c.webm")
    text = "".join(
        f"{path}{mark}{label}\n" for path, label in [("walk/a b.mp4", 10), ("run/b.avi", 2), ("gone.mkv", 2)]
    )
    found = listing(write(tmp_path / "my_val_list.txt", text))
    assert [(e.path, e.label, e.split) for e in found.entries] == [
        ("walk/a b.mp4", "10", "val"),
        ("run/b.avi", "2", "val"),
        (None, "2", "val"),
    ]
    assert found.entries[2].why == "no file gone.mkv"
    names, numbers = number_labels(found, None)
    assert names == [str(n) for n in range(11)]
    assert numbers == [10, 2, 2]
    assert number_labels(found, [f"class {n}" for n in range(11)]) == ([f"class {n}" for n in range(11)], [10, 2, 2])
    with pytest.raises(ValueError, match=r"my_val_list\.txt:1: label 10, but there are 10 classes, counted from 0"):
        number_labels(found, [f"class {n}" for n in range(10)])


def test_a_folder_of_such_lists_has_their_splits(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4", "b.mp4")
    write(tmp_path / "train.csv", "a.mp4 walk fast\n".replace(" fast", "ing"))
    write(tmp_path / "val.csv", "b.mp4,walking\n")
    found = listing(tmp_path)
    assert [(e.path, e.label, e.split) for e in found.entries] == [
        ("a.mp4", "walking", "train"),
        ("b.mp4", "walking", "val"),
    ]
    write(tmp_path / "more.txt", "b.mp4 walking\n")
    with pytest.raises(ValueError, match=r"more\.txt: one of several lists, and its name has no train"):
        listing(tmp_path)


@pytest.mark.parametrize("line", ["b.mp4 120 3", "b.mp4", "b 3", "b.mp4,"])
def test_a_line_of_another_kind_is_named(line: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"train\.txt:2: b.*: not a video's path and its label"):
        listing(write(tmp_path / "train.txt", f"a.mp4 3\n{line}\n"))


def test_numbers_in_a_table_count_into_the_classes(tmp_path: Path) -> None:
    table = write(tmp_path / "t.csv", "label,path\n10,a.mp4\n2,b.mp4\n1,c.mp4\n")
    assert number_labels(listing(table), None) == (["1", "2", "10"], [2, 1, 0])
    names = [f"class {n}" for n in range(11)]
    assert number_labels(listing(table), names) == (names, [10, 2, 1])
    assert number_labels(listing(table), ["10", "1", "2"])[1] == [0, 2, 1]
    folders = touch(tmp_path / "by number", "10/a.mp4", "9/a.mp4", "1/a.mp4")
    assert number_labels(listing(folders), None)[0] == ["1", "9", "10"]


def test_labels_that_are_taken_for_one_class_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = write(tmp_path / "t.csv", "label,path\ndon't,a.mp4\nDont,b.mp4\nrun,c.mp4\n")
    assert len(number_labels(listing(table), None)[0]) == 2
    assert capsys.readouterr().out == "different spellings of one class: 'Dont' = \"don't\"\n"
    assert canonical("don't") == canonical("Dont")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("label,path,label\na,1.mp4,b\n", r"t\.csv: has the column 'label' twice"),
        ("label,path,Split,split\na,1.mp4,train,test\n", r"t\.csv: has the column 'split' twice"),
    ],
)
def test_two_columns_of_one_name_are_refused(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        listing(write(tmp_path / "t.csv", text))


def test_a_split_does_not_disappear(tmp_path: Path) -> None:
    rows = "label,path,split,who\na,1.mp4,train,x\na,2.mp4,train,y\na,3.mp4,val,z\n"
    table = write(tmp_path / "t.csv", rows)
    with pytest.raises(ValueError, match="--test who=z: takes every row of the split val"):
        list_source(table, None, {"test": "who=z"}, 1)
    assert {e.split for e in list_source(table, None, {"test": "who=y"}, 1).entries} == {"train", "val", "test"}


@pytest.mark.parametrize("path", ["kim/monday/train/walk/a.mp4", "walk/kim/test/a.mp4", "train/val/a.mp4"])
def test_splits_deep_in_folders_are_refused(path: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is named like a split, but splits lie right above or below the classes"):
        listing(touch(tmp_path, "run/a.mp4", path))


def test_labels_in_dotted_members_and_in_nested_objects(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    members: dict[str, Any] = {
        "a.info.json": {"label": "walk"},
        "b.json": {"clip": {"fps": 30, "annotation": {"class": "run"}}},
        "c.json": {"label": {"id": 3, "name": "walk"}},
        "d.json": {"width": 3},
        "e.json": {"label": -1},
    }
    files = {f"{name[0]}.mp4": name.encode() for name in members}
    tar_with(tmp_path / "0.tar", files | {name: json.dumps(value).encode() for name, value in members.items()})
    found = {entry.id: entry.label for entry in listing(tmp_path).entries}
    assert found == {"0/a": "walk", "0/b": "run", "0/c": "walk", "0/d": None, "0/e": None}
    assert "2 of 5 videos have no label (the first: " in capsys.readouterr().out


@pytest.fixture
def closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which one class cannot be listed, for root neither."""
    touch(tmp_path, "walk/a.mp4", "run/a.mp4", "run/note.pdf")
    scan = os.scandir

    def scandir(path: Any) -> Any:
        if os.fspath(path).endswith("walk"):
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", scandir)
    return tmp_path


def test_a_folder_that_cannot_be_listed_is_named(closed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = write(closed / "run" / "t.csv", "label,path\na,run/a.mp4\n")
    with pytest.raises(ValueError, match=r"cannot be listed: .*/walk \(Permission denied\): make them readable"):
        listing(closed)
    assert [e.why for e in list_source(table, closed, {}, 1).entries] == [""]
    assert Folder(closed).walked().videos == ["run/a.mp4"]

    def look(file: Path) -> str:
        if not file.is_file():
            raise ValueError(f"{file}: not a regular file")
        return file.name

    found, failed = each(listed([closed]), look, 10.0)
    assert list(found.values()) == ["a.mp4"]
    assert {file.name for file in failed} == {"walk"}
    assert "left out: 2 files not named like videos (.csv 1, .pdf 1)" in capsys.readouterr().out


def test_a_list_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "walk/a.mp4")
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(ValueError, match=r"pipe\.csv: not a regular file"):
        listing(tmp_path)
    with pytest.raises(ValueError, match=r"pipe\.csv: not a regular file"):
        listing(tmp_path / "pipe.csv")
    (tmp_path / "pipe.csv").unlink()
    table, opened = write(tmp_path / "t.csv", "label,path\na,walk/a.mp4\n"), os.open

    def failing(path: Any, *more: Any, **options: Any) -> int:
        if os.fspath(path).endswith("t.csv"):
            raise OSError(5, "Input/output error", os.fspath(path))
        return opened(path, *more, **options)

    monkeypatch.setattr(os, "open", failing)
    for source in (table, tmp_path):
        with pytest.raises(ValueError, match=r"t\.csv: cannot be read: Input/output error"):
            listing(source)
