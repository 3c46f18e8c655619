"""Kinetics as copies of it come: which annotations are read, which file serves a row, and which part of it is meant."""

import json
from pathlib import Path

import pytest

from besnet.data.manifest import Row
from besnet.data.prepare import prepare
from besnet.data.prepare.sources import list_source
from tests.moving_squares import DIRECTIONS, draw
from tests.test_listing import listed, listing, touch, write

HEAD = "label,youtube_id,time_start,time_end,split\n"


def found(source: Path, videos: Path) -> dict[str, tuple[str | None, str]]:
    return {entry.id: (entry.path, entry.why) for entry in listing(source, videos).entries}


def test_annotations_of_cvdf_and_the_hold_out_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, id in (("train.txt", "a"), ("val.txt", "b"), ("test.csv", "c"), ("kinetics600_holdout_test.csv", "d")):
        split = name.partition(".")[0].rpartition("_")[2]
        write(tmp_path / name, HEAD + f"walk,{id},0,10,{split}\n")
    write(tmp_path / "README.txt", "annotations, as they were\n")
    assert listed(tmp_path) == {
        "a_000000_000010": ("walk", "train"), "b_000000_000010": ("walk", "val"), "c_000000_000010": ("walk", "test"),
    }  # fmt: skip
    assert capsys.readouterr().out == (
        "left out: kinetics600_holdout_test.csv: a hold-out set is read only if it is the source\n"
    )
    assert listed(tmp_path / "kinetics600_holdout_test.csv") == {"d_000000_000010": ("walk", "test")}
    write(tmp_path / "train.csv", HEAD + "walk,a,0,10,train\n")  # the same list under its usual name
    assert len(listed(tmp_path)) == 3


def test_the_file_name_says_the_split(tmp_path: Path) -> None:
    text = "label,youtube_id,time_start,time_end\nwalk,a,0,10\n"
    assert listed(write(tmp_path / "kinetics_400_train.csv", text)) == {"a_000000_000010": ("walk", "train")}
    with pytest.raises(ValueError, match=r"k400\.csv:2: no split, and no train, val or test in the file's name"):
        listed(write(tmp_path / "k400.csv", text))


def test_annotations_in_json(tmp_path: Path) -> None:
    items = {
        "a": {"annotations": {"label": "walk", "segment": [84.0, 94.0]}, "duration": 10.0, "subset": "training"},
        "b": {"annotations": {"label": "clap", "segment": [0.0, 10.0]}, "subset": "validate"},
        "c": {"annotations": {"segment": [1, 11]}, "subset": "test"},
    }
    file = write(tmp_path / "kinetics.json", json.dumps(items))
    assert listed(file) == {
        "a_000084_000094": ("walk", "train"), "b_000000_000010": ("clap", "val"), "c_000001_000011": (None, "test"),
    }  # fmt: skip
    for wrong in ([1], {"a": 3}, {"a": {"annotations": [{"segment": [0, 1]}]}}, {"a": {"annotations": {"segment": 1}}}):
        with pytest.raises(ValueError, match="not Kinetics' JSON") as caught:
            listed(write(tmp_path / "kinetics.json", json.dumps(wrong)))
        assert len(str(caught.value)) < 250
    with pytest.raises(ValueError, match="cannot be read"):
        listed(write(tmp_path / "kinetics.json", '{"a": '))


@pytest.mark.parametrize(("start", "end"), [("0", "inf"), ("nan", "10"), ("10", "0"), ("x", "10"), ("-1", "10")])
def test_times_that_are_none_are_refused_by_line(tmp_path: Path, start: str, end: str) -> None:
    with pytest.raises(ValueError, match=r"train\.csv:2: .*time_start"):
        listed(write(tmp_path / "train.csv", HEAD + f"walk,a,{start},{end},train\n"))


def test_a_file_in_another_class_s_folder_serves_no_row(tmp_path: Path) -> None:
    notes = write(tmp_path / "train.csv", HEAD + "zumba,abc,0,10,train\nabseiling,abc,20,30,train\n")
    videos = touch(tmp_path / "KW", "abseiling/abc.mp4")
    assert found(notes, videos) == {
        "abc_000000_000010": (None, "abseiling/abc.mp4 is in another class's folder"),
        "abc_000020_000030": ("abseiling/abc.mp4", ""),
    }
    touch(videos, "flat/abc.mkv", "zumba/abc_000000_000010.mp4")
    assert found(notes, videos) == {
        "abc_000000_000010": ("zumba/abc_000000_000010.mp4", ""),
        "abc_000020_000030": ("abseiling/abc.mp4", ""),
    }


def outcome(tmp_path: Path, seconds: int, times: list[tuple[int, int]]) -> list[Row]:
    """Rows of one whole video, two frames per second, of which these parts are meant."""
    draw(tmp_path / "videos" / "abc.mp4", DIRECTIONS["up"], seed=1, frames=2 * seconds + 1, fps=2)
    draw(tmp_path / "videos" / "good.mp4", DIRECTIONS["up"], seed=2)
    text = "".join(f"walk,abc,{start},{end},val\n" for start, end in times)
    notes = write(tmp_path / "val.csv", f"{HEAD}{text}walk,good,0,1,val\n")
    manifest = prepare(notes, tmp_path / "out", videos=tmp_path / "videos", workers=1)
    return [manifest[n] for n in range(len(times))]


@pytest.mark.parametrize(
    ("seconds", "start", "end", "frames"),
    [
        (60, 20, 30, 20),
        (60, 53, 63, 15),  # its end is missing
        (60, 55, 65, 11),
        (60, 57, 67, 0),
        (60, 400, 410, 0),
        (10, 400, 410, 21),  # already cut
        (18, 400, 410, 37),  # at key frames
        (21, 400, 410, 0),
    ],
)
def test_the_part_that_is_meant_is_cut_or_missed(
    tmp_path: Path, seconds: int, start: int, end: int, frames: int
) -> None:
    (row,) = outcome(tmp_path, seconds, [(start, end)])
    assert row.frames == frames
    if not frames:
        why = f"abc.mp4: lasts {seconds} s: less than half of {start} s to {end} s is there"
        assert (row.state, row.why) == ("broken", why)


def test_a_whole_video_serves_several_rows_and_a_piece_none(tmp_path: Path) -> None:
    assert [row.frames for row in outcome(tmp_path / "whole", 40, [(0, 10), (20, 30)])] == [20, 20]
    assert [row.frames for row in outcome(tmp_path / "piece", 10, [(0, 10)])] == [21]
    pieces = outcome(tmp_path / "piece", 10, [(0, 10), (20, 30)])
    assert {row.why for row in pieces} == {"abc.mp4: lasts 10 s, an already cut piece, but several rows name it"}


def test_annotations_have_nothing_to_hold_out_by(tmp_path: Path) -> None:
    notes = write(tmp_path / "train.csv", HEAD + "zumba,abc,0,10,train\n")
    for source in (notes, tmp_path):
        with pytest.raises(ValueError, match=r"--test: .* has no columns of its own"):
            list_source(source, None, {"test": "person=eli"}, 1)
