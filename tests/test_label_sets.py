"""Tables with several labels per video, the manifest that keeps them, and what is refused or left alone."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from besnet import cli
from besnet.data.coverage import coverage, summary
from besnet.data.manifest import Manifest
from besnet.data.manifest_writing import load_checked, write_manifest
from besnet.data.prepare import prepare
from besnet.data.prepare.listing import number_labels
from besnet.data.prepare.sources import list_source
from besnet.data.prepare.sources.table import TableRules
from besnet.data.row import Row
from besnet.data.targets import labels_of, named, targets
from besnet.learn.holding_out import held_out
from besnet.learn.split import split_videos
from tests.test_listing import touch, write


def sets(path: Path, multi_label: bool | None = None) -> dict[str, Any]:
    """{video: the names of its classes} of a table, whose videos need not be there; a text where it has one label."""
    found = list_source(path, None, {}, 1, rules=TableRules(multi_label=multi_label))
    names, numbers = number_labels(found, None)
    return {
        entry.id: names[own] if isinstance(own, int) else [names[number] for number in own]
        for entry, own in zip(found.entries, numbers, strict=True)
    }


@pytest.mark.parametrize(
    "text",
    [
        "label,path\nwave; clap,1.mp4\nclap,2.mp4\n,3.mp4\n",
        'path,LABEL\r\n1.mp4,"clap;wave"\r\n2.mp4,clap;\r\n3.mp4,\r\n',
        'label;path\n"clap;Wave";1.mp4\n"Clap;clap";2.mp4\n"";3.mp4\n"wave";1.mp4\n',
        "label\tpath\nclap\t2.mp4\nclap\t1.mp4\nwave;clap\t./1.mp4\n\t3.mp4\n",
    ],
)
def test_labels_stand_in_one_field_or_in_several_rows(text: str, tmp_path: Path) -> None:
    found = {Path(name).name: [n.lower() for n in own] for name, own in sets(write(tmp_path / "t.csv", text)).items()}
    assert found == {"1.mp4": ["clap", "wave"], "2.mp4": ["clap"], "3.mp4": []}


def test_rows_of_one_file_are_a_set_where_it_is_said(tmp_path: Path) -> None:
    table = write(tmp_path / "t.csv", "label,path\nwave,1.mp4\nclap,1.mp4\nclap,2.mp4\nclap,2.mp4\n,3.mp4\n")
    assert sets(table, True) == {"1.mp4": ["clap", "wave"], "2.mp4": ["clap"], "3.mp4": []}
    with pytest.raises(ValueError, match=r"t\.csv:6: label is empty \(with --multi_label"):
        sets(table)
    write(table, "label,path\nwave,1.mp4\nclap,1.mp4\n")
    with pytest.raises(ValueError, match="listed twice"):
        sets(table)


def test_a_mark_within_a_class_name_is_never_cut_on_a_guess(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = write(tmp_path / "t.csv", "label,path\npush; pull,1.mp4\nrun,2.mp4\npush; pull,3.mp4\n")
    with pytest.raises(ValueError, match=r"t\.csv:2: 'push; pull' may be one class or several .*--multi_label=false"):
        sets(table)
    assert sets(table, False)["1.mp4"] == "push; pull"
    assert sets(table, True)["1.mp4"] == ["pull", "push"]
    assert "several labels" not in capsys.readouterr().out
    write(table, "label,path\npush; pull,1.mp4\nrun,2.mp4\npull,3.mp4\n")
    assert sets(table)["1.mp4"] == ["pull", "push"]
    assert "several labels per video: 1 labels hold ';' (the first" in capsys.readouterr().out


def test_lists_without_a_line_of_names_and_numbers(tmp_path: Path) -> None:
    table = write(tmp_path / "train.txt", "1.mp4 3;0\n2.mp4 3\n")
    found = list_source(table, None, {}, 1)
    assert number_labels(found, list("abcd"))[1] == [(0, 3), (3,)]
    with pytest.raises(ValueError, match=r"train\.txt:1: label 3, but there are 3 classes"):
        number_labels(found, list("abc"))
    with pytest.raises(ValueError, match=r"label 'walk' is none of the 2 classes"):
        number_labels(list_source(write(table, "1.mp4 run;walk\n2.mp4 run\n"), None, {}, 1), ["run", "jump"])


@pytest.mark.parametrize("column", ["split", "group"])
def test_rows_of_one_file_agree(column: str, tmp_path: Path) -> None:
    table = write(tmp_path / "t.csv", f"label,path,{column}\na;b,1.mp4,train\na,1.mp4,test\n")
    with pytest.raises(ValueError, match=rf"t\.csv:3: '1\.mp4' has the {column} 'test', but 'train' in .*t\.csv:2"):
        sets(table, True)


def test_folders_and_annotations_have_one_label(tmp_path: Path) -> None:
    touch(tmp_path, "a;b/1.mp4", "a/2.mp4")
    assert sets(tmp_path) == {"a;b/1.mp4": "a;b", "a/2.mp4": "a"}
    with pytest.raises(ValueError, match=r"--multi_label: .* has no columns of its own"):
        sets(tmp_path, True)


ROWS = [
    Row("1", -1, "train", "ready", labels=(0, 2), hash="x"),
    Row("2", -1, "train", "ready", labels=()),
    Row("3", -1, "val", "missing", labels=(2,)),
]


def test_a_manifest_keeps_sets(tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path, "x", list("abc"), ".", ROWS, multi_label=True)
    assert load_checked(tmp_path).multi_label
    assert [manifest[n] for n in range(3)] == ROWS
    assert targets(manifest, np.arange(3)).tolist() == [[1, 0, 1], [0, 0, 0], [0, 0, 1]]
    assert [named(row, manifest.classes) for row in ROWS] == ["a; c", "none", "c"]
    assert coverage(manifest).counts.sum(axis=(0, 2)).tolist() == [1, 0, 2, 1]
    assert coverage(manifest).of_split("train") == {"ready": 2, "missing": 0, "broken": 0}
    assert "3 classes (several a video, 1 videos with none)" in summary(manifest)
    one = write_manifest(
        tmp_path / "one", "x", list("abc"), ".", [Row("1", 2, "train", "ready"), Row("2", -1, "test", "ready")]
    )
    assert targets(one, np.arange(2)).tolist() == [[0, 0, 1], [0, 0, 0]]
    assert "labels" not in (tmp_path / "one" / "manifest.jsonl").read_text()


def test_the_passport_follows_the_sets(tmp_path: Path) -> None:
    def passport(labels: Any) -> str:
        row = Row("1", -1, "train", "ready", labels=labels)
        return write_manifest(tmp_path, "x", list("abc"), ".", [row], multi_label=labels is not None).passport.source

    assert len({passport(labels) for labels in (None, (), (0,), (1,), (0, 1))}) == 5


@pytest.mark.parametrize("labels", ["[2, 0]", "[0, 0]", "[3]", "[-1]", '["a"]', "[true]", "{}", "0", "null"])
def test_damaged_sets_are_named(labels: str, tmp_path: Path) -> None:
    write_manifest(tmp_path, "x", list("abc"), ".", ROWS, multi_label=True)
    text = (tmp_path / "manifest.jsonl").read_text()
    (tmp_path / "manifest.jsonl").write_text(text.replace("[0, 2]", f"{labels:<6}", 1))
    with pytest.raises(ValueError, match=r"manifest\.jsonl: line 1"):
        Manifest.load(tmp_path)[0]


def test_one_label_and_sets_do_not_mix(tmp_path: Path) -> None:
    write_manifest(tmp_path, "x", list("abc"), ".", [Row("1", 0, "train", "ready")], multi_label=True)
    with pytest.raises(ValueError, match=r"line 1: one label, or a set of them: dataset\.json says the other"):
        Manifest.load(tmp_path)[0]


def test_prepared_sets_are_reused_and_read_from_shards(squares: Path, tmp_path: Path) -> None:
    index = write(tmp_path / "index.csv", "")
    files = sorted(squares.parent.glob("train/*.mp4"))[:3]
    rows = [
        ["label", "path", "split"],
        *([label, str(file), "train"] for label, file in zip(["b;a", "a", ""], files, strict=True)),
    ]
    with open(index, "w", newline="") as file:
        csv.writer(file).writerows(rows)
    manifest = prepare(index, tmp_path / "out", copy=True, workers=1)
    assert [labels_of(manifest[n]) for n in range(3)] == [(0, 1), (0,), ()]
    rows[2][0] = "b"
    with open(index, "w", newline="") as file:
        csv.writer(file).writerows(rows)
    again = prepare(index, tmp_path / "out", copy=True, workers=1)
    assert [labels_of(again[n]) for n in range(3)] == [(0, 1), (1,), ()]
    assert cli.run("verify", [str(tmp_path / "out")]) == 0


def test_whole_groups_validate_with_every_label_on_both_sides() -> None:
    rng = np.random.default_rng(0)
    labels: list[str | tuple[str, ...]] = [tuple(sorted(set(rng.choice(list("abcd"), 2)))) for _ in range(60)]
    groups = [str(number) for number in rng.integers(12, size=60)]
    held = held_out(labels, groups, 0)
    assert not {group for group, h in zip(groups, held, strict=True) if h} & {
        g for g, h in zip(groups, held, strict=True) if not h
    }
    for side in (held, ~held):
        assert {label for own, h in zip(labels, side, strict=True) if h for label in own} == set("abcd")
    assert 0.1 < held.mean() < 0.35


def test_learn_splits_a_table_of_sets(squares: Path, tmp_path: Path) -> None:
    files = sorted(squares.parent.glob("train/*.mp4"))[:12]
    lines = [f"{('a;b', 'a', 'b;c', 'c', '')[n % 5]},{file}" for n, file in enumerate(files)]
    table = write(tmp_path / "t.csv", "label,path\n" + "\n".join(lines) + "\n")
    listing = split_videos(table, None, {}, TableRules(), tmp_path / "out", 0)
    assert listing.multi_label
    assert {entry.split for entry in listing.entries} == {"train", "val"}
