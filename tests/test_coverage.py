"""Counting what is there, and the page on it."""

from pathlib import Path

import numpy as np

from besnet.data.coverage import coverage, difference, remarks, summary
from besnet.data.manifest import Row
from besnet.data.manifest_writing import write_manifest
from besnet.report.coverage_page import coverage_page

ROWS = [
    Row("a", 0, "train", "ready"),
    Row("b", 1, "train", "missing", "no file b"),
    Row("c<&>", 1, "val", "broken", "c: damaged: Invalid data"),
    Row("d", -1, "test", "ready"),
]


def test_counts_by_split_class_and_state(tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path, "x", ["run", "walk"], ".", ROWS)
    counts = coverage(manifest).counts
    assert counts.sum() == 4
    assert counts[0].tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 0]]
    assert np.argwhere(counts[1]).tolist() == [[1, 2]]
    assert coverage(manifest).of_split("test") == {"ready": 1, "missing": 0, "broken": 0}
    text = summary(manifest)
    assert "train 1 ready, 1 missing, 0 broken" in text
    assert "lacks 2 of 2 walk" in text
    assert "broken c<&>: c: damaged" in text
    assert "1 of train and 1 of val cannot be used" in difference(manifest)
    assert "Every video" in difference(write_manifest(tmp_path, "x", ["run"], ".", ROWS[:1]))


def test_the_same_bytes_in_two_splits_or_classes_are_said(tmp_path: Path) -> None:
    rows = [
        Row("a", 0, "train", "ready", hash="1"),
        Row("b", 0, "train", "ready", hash="2", why="2 pictures at the start left out"),
        Row("c", 1, "train", "ready", hash="1"),
        Row("d", 0, "test", "ready", hash="1"),
        Row("e", 0, "test", "ready", hash="3"),
        Row("f", 1, "val", "broken", "damaged", hash="3"),
    ]
    manifest = write_manifest(tmp_path, "x", ["run", "walk"], ".", rows)
    page = coverage_page(tmp_path).read_text()
    for expected in (
        "1 times the same bytes in train and test: a and d",
        "1 times the same bytes in train with two labels: a and c",
        "1 videos not whole, such as b: 2 pictures at the start left out",
    ):
        assert expected in summary(manifest)
        assert expected in page
    assert remarks(write_manifest(tmp_path, "x", ["run"], ".", ROWS[:1])) == []


def test_the_page_names_what_lacks_and_fetches_nothing(tmp_path: Path) -> None:
    write_manifest(tmp_path, "x", ["run", "walk"], ".", ROWS)
    text = coverage_page(tmp_path).read_text()
    for expected in ("50.0%", "walk", "c&lt;&amp;&gt;", "no file b", "Invalid data"):
        assert expected in text, expected
    assert "http" not in text.replace("http-equiv", "")
