"""Spans of long videos: tables, exact cuts, background; what is found along a video; mAP against two oracles."""

import csv
import itertools
import json
from pathlib import Path

import numpy as np
import pytest

from besnet import cli
from besnet.data.coverage import summary
from besnet.data.manifest import Manifest
from besnet.data.prepare import prepare
from besnet.data.prepare.sources import list_source
from besnet.data.prepare.sources.spans import gaps
from besnet.data.prepare.sources.table import TableRules
from besnet.evaluation.spans import THRESHOLDS, Span, average_precision, mean_average_precision, tiou
from besnet.learn.split import all_for_training, split_videos, write_index
from besnet.predict.model import Prediction
from besnet.predict.spans import moments, spans_of
from besnet.video.durations import duration_sec
from besnet.video.opening import open_video
from tests import command
from tests.drawn import draw
from tests.moving_squares import DIRECTIONS, FRAMES
from tests.moving_squares import draw as draw_square
from tests.test_listing import write

HEAD = "label,path,start,end"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a,v.mp4,x,2", r"t\.csv:2: start 'x' is no number of seconds"),
        ("a,v.mp4,1,", r"t\.csv:2: end '' is no number of seconds"),
        ("a,v.mp4,nan,2", r"t\.csv:2: start nan, end 2: a span has a beginning"),
        ("a,v.mp4,1,inf", r"t\.csv:2: start 1, end inf: a span has a beginning"),
        ("a,v.mp4,-1,2", r"t\.csv:2: start -1, end 2: 0 <= start < end"),
        ("a,v.mp4,2,2", r"t\.csv:2: start 2, end 2: 0 <= start < end"),
        ("a,v.mp4,3,2", r"t\.csv:2: start 3, end 2: 0 <= start < end"),
        ("a,v.mp4,1,2\na,./v.mp4,1.0,2.00", r"t\.csv:3: .* is listed twice, first in .*t\.csv:2"),
        (",v.mp4,1,2", r"t\.csv:2: label is empty"),
        ("a,,1,2", r"t\.csv:2: path is empty"),
    ],
)
def test_rows_that_are_no_spans_are_named(row: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        list_source(write(tmp_path / "t.csv", f"{HEAD}\n{row}\n"), None, {}, 1)


def test_parts_of_one_file_stay_together(tmp_path: Path) -> None:
    text = "Label,PATH,Start,END,split\r\na,v.mp4,0,2,train\r\nb,./v.mp4,1,3,test\r\nb,w.mp4,1,3,test\r\n"
    table = write(tmp_path / "t.csv", text)
    (tmp_path / "v.mp4").touch()
    with pytest.raises(ValueError, match=r"t\.csv:3: v\.mp4 has the split 'test', but 'train' in .*--split_within"):
        list_source(table, None, {}, 1)
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "v.mp4").touch()
    same = write(tmp_path / "w.csv", f"{HEAD}\na,sub\\v.mp4,0,2\nb,{tmp_path}/sub/v.mp4,1,3\nb,sub/v.mp4,4,5\n")
    assert len({e.group for e in list_source(same, None, {}, 1).entries}) == 1, "three ways to name one file"
    write(same, f"{HEAD},group\na,v.mp4,0,2,x\nb,v.mp4,1,3,y\n")
    with pytest.raises(ValueError, match=r"w\.csv:3: v\.mp4 has the group 'y', but 'x' in"):
        list_source(same, None, {}, 1)
    (tmp_path / "v.mp4").unlink()  # missing files are no excuse
    with pytest.raises(ValueError, match=r"t\.csv:3: v\.mp4 has the split"):
        list_source(table, None, {}, 1)
    found = list_source(table, None, {}, 1, rules=TableRules(split_within_files=True)).entries
    assert [(e.id, e.group, e.split) for e in found] == [
        ("v.mp4@0-2", "v.mp4", "train"), ("./v.mp4@1-3", "v.mp4", "test"), ("w.mp4@1-3", "w.mp4", "test")
    ]  # fmt: skip
    with pytest.raises(ValueError, match="no columns start and end"):
        list_source(write(table, "label,path\na,v.mp4\n"), None, {}, 1, rules=TableRules(background="rest"))
    for one, other in (("start", "end"), ("end", "start")):
        with pytest.raises(ValueError, match=f"has the column '{one}' and no column '{other}'"):
            list_source(write(table, f"label,path,{one}\na,v.mp4,1\n"), None, {}, 1)
    with pytest.raises(ValueError, match="with --multi_label its labels are those of all its rows"):
        list_source(write(table, f"{HEAD}\na,v.mp4,1,2\nb,v.mp4,1,2\n"), None, {}, 1)


@pytest.mark.parametrize("later_ms", [0, 4000])
@pytest.mark.parametrize("variable", [False, True])
def test_cuts_are_exact_to_the_frame(variable: bool, later_ms: int, tmp_path: Path) -> None:
    """A frame belongs to a span if start <= its time < end, at any rate, counted from the first frame."""
    rng = np.random.default_rng(0)
    steps = rng.integers(20, 90, 59) if variable else np.full(59, 40)
    ticks = np.concatenate([[0], np.cumsum(steps)])
    draw(tmp_path / "v.mkv", ticks=(ticks + later_ms).tolist())
    with open_video(tmp_path / "v.mkv") as reader:
        times, whole = reader.times_sec.copy(), reader.read(np.arange(60))
    assert np.allclose(times, ticks / 1000, atol=0.0015)
    spans = [(0, times[10]), (times[10], times[25]), (times[3] - 0.004, times[7] + 0.004), (times[40], 99.0)]
    rows = [f"a,v.mkv,{start!r},{end!r}" for start, end in np.array(spans).tolist()]
    write(tmp_path / "t.csv", "\n".join([HEAD, *rows, "a,v.mkv,50,60"]) + "\n")
    manifest = prepare(tmp_path / "t.csv", tmp_path / "out", workers=1, short_side=96)
    for number, (start, end) in enumerate(spans):
        inside = np.flatnonzero((times >= start) & (times < end))
        with manifest.open(number) as reader:
            assert len(reader) == len(inside)
            assert np.allclose(reader.times_sec, times[inside] - times[inside[0]], atol=0.002)
            error = np.abs(reader.read(np.arange(len(inside))).astype(int) - whole[inside])
        assert error.mean() < 12, "these are the frames of the span"
        assert manifest[number].group == "v.mkv"
    assert "is clipped to that of the file" in manifest[3].why
    assert not manifest[2].why
    assert manifest[4].state == "broken"
    assert "no frame between 50 s and 60 s" in manifest[4].why
    assert "1 videos not whole" in summary(manifest)
    with pytest.raises(ValueError, match="spans are cut out and encoded: leave --index_only and --copy out"):
        prepare(tmp_path / "t.csv", tmp_path / "other", workers=1, copy=True)


def test_background_is_what_no_span_covers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    draw(tmp_path / "v.mp4", count=150)  # 6 s
    draw(tmp_path / "w.mp4", count=50)
    rows = ["a,v.mp4,1,2", "b,v.mp4,1.5,3", "a,v.mp4,3.2,4", "a,w.mp4,0,2", "a,gone.mp4,0,1"]
    table = write(tmp_path / "t.csv", "\n".join([HEAD, *rows]) + "\n")
    found = list_source(table, None, {}, 1, rules=TableRules(background="rest")).entries
    assert [(e.label, e.path, e.start_sec, e.end_sec, e.group) for e in found[5:]] == [
        ("rest", "v.mp4", 0.0, 1.0, "v.mp4"), ("rest", "v.mp4", 4.0, 6.0, "v.mp4")
    ]  # fmt: skip
    said = capsys.readouterr().out
    assert "background: 2 parts without a span, 3 s in all, are of class 'rest'; 1 shorter than 0.5 s" in said
    assert [(start, end) for _, start, end in gaps(found[:3], 3.5)] == [(0.0, 1.0), (3.0, 3.2)]
    several = TableRules(multi_label=True, background="rest")
    assert list_source(table, None, {}, 1, rules=several).entries[5].labels == ("rest",)


def test_learn_splits_spans_by_file(tmp_path: Path) -> None:
    names = list(DIRECTIONS)
    rows = [HEAD]
    for film in range(6):
        draw_square(tmp_path / f"{film}.mp4", DIRECTIONS[names[film % 2]], film, frames=30)
        rows += [f"{names[film % 2]},{film}.mp4,0.1,0.5", f"{names[2 + film % 2]},{film}.mp4,0.5,1.0"]
    table = write(tmp_path / "t.csv", "\n".join(rows) + "\n")
    listing = split_videos(table, None, {}, TableRules(), tmp_path / "x", 0)
    sides: dict[str, set[str]] = {}
    for entry in listing.entries:
        sides.setdefault(entry.split, set()).add(entry.path or "")
    assert sides["train"].isdisjoint(sides["val"])
    assert sides["val"]
    write_index(tmp_path / "index.csv", listing.entries)
    all_for_training(tmp_path / "index.csv", tmp_path / "all.csv")
    for index in ("index.csv", "all.csv"):
        again = list_source(tmp_path / index, tmp_path, {}, 1).entries
        assert [(e.path, e.start_sec, e.end_sec, e.group) for e in again] == [
            (e.path, e.start_sec, e.end_sec, e.group) for e in listing.entries
        ]
    assert {e.split for e in again} == {"train"}


# Worked out by hand. Video v has the true spans [0, 10) and [20, 30), video w has [0, 10).
TRUTH = [Span("v", "a", 0, 10), Span("v", "a", 20, 30), Span("w", "a", 0, 10)]
FOUND = [
    Span("v", "a", 0, 8, 0.9),  # tIoU 0.8: right
    Span("v", "a", 1, 9, 0.8),  # tIoU 0.8 with a span that is taken: a duplicate, wrong
    Span("w", "a", 0, 20, 0.7),  # tIoU 0.5: right up to 0.5
    Span("v", "a", 24, 34, 0.6),  # tIoU 6 / 14: right up to 0.4
    Span("x", "a", 0, 10, 0.5),  # no such video: wrong
]


@pytest.mark.parametrize(
    ("threshold", "wanted"),
    # precision at the hits 1/1, 2/3, 3/4; the second is raised to 3/4 by interpolation
    [(0.3, 2.5 / 3), (0.4, 2.5 / 3), (0.5, (1 + 2 / 3) / 3), (0.6, 1 / 3), (0.7, 1 / 3)],
)
def test_average_precision_is_that_computed_by_hand(threshold: float, wanted: float) -> None:
    assert average_precision(TRUTH, FOUND, threshold) == pytest.approx(wanted)
    assert average_precision(TRUTH, FOUND[::-1], threshold) == pytest.approx(wanted)


def test_overlaps_ties_and_thresholds_that_are_met_exactly() -> None:
    assert tiou(Span("v", "a", 0, 2), [Span("v", "a", 2, 4), Span("v", "a", 1, 3), Span("v", "a", 0, 2)]).tolist() == [
        0, 1 / 3, 1
    ]  # fmt: skip
    thirds = Span("v", "a", 0.1, 0.4), Span("v", "a", 0.1, 0.4 + 0.7)
    assert average_precision([thirds[1]], [thirds[0]], 0.3) == 1.0, "0.3 / 1.0"
    # of two true spans the better one is taken, so that the second prediction has the other
    truth = [Span("v", "a", 0, 10), Span("v", "a", 2, 12)]
    assert average_precision(truth, [Span("v", "a", 2, 11, 0.9), Span("v", "a", 0, 10, 0.8)], 0.7) == 1.0
    same = [Span("v", "a", 50, 60, 0.5), Span("v", "a", 0, 10, 0.5)]
    assert average_precision([Span("v", "a", 0, 10)], same, 0.5) == 1.0, "equal probabilities go by start"
    assert average_precision([], same, 0.5) is None
    assert average_precision(truth, [], 0.5) == 0.0


def brute_force(truth: list[Span], found: list[Span], threshold: float) -> float:
    """The same, written as the protocol is told: walk down the ranking, and integrate over recall."""
    free, hits, points = list(truth), 0, []
    for rank, span in enumerate(sorted(found, key=lambda s: (-s.probability, s.video, s.start_sec, s.end_sec)), 1):
        best, chosen = -1.0, None
        for true in free:
            if true.video == span.video:
                common = max(0.0, min(true.end_sec, span.end_sec) - max(true.start_sec, span.start_sec))
                both = (true.end_sec - true.start_sec) + (span.end_sec - span.start_sec) - common
                if common / both > best:
                    best, chosen = common / both, true
        if chosen is not None and best >= threshold - 1e-9:
            free.remove(chosen)
            hits += 1
        points.append((hits / len(truth), hits / rank))
    area, before = 0.0, 0.0
    for recall in sorted({recall for recall, _ in points if recall > 0}):
        area += (recall - before) * max(precision for other, precision in points if other >= recall)
        before = recall
    return area


def drawn(rng: np.random.Generator, count: int) -> list[Span]:
    """Spans of two classes in three videos, many of equal probability."""
    starts, lengths = rng.integers(0, 20, count).tolist(), rng.integers(1, 9, count).tolist()
    videos, labels, shares = rng.integers(3, size=count), rng.integers(2, size=count), rng.integers(1, 6, count) / 5
    return [
        Span(str(videos[n]), "ab"[labels[n]], starts[n], starts[n] + lengths[n], float(shares[n])) for n in range(count)
    ]


def test_average_precision_is_that_of_brute_force() -> None:
    for seed in range(60):
        rng = np.random.default_rng(seed)
        truth, found = drawn(rng, 8), drawn(rng, 15)
        truth = list({(s.video, s.label, s.start_sec, s.end_sec): s for s in truth}.values())
        results = mean_average_precision(truth, found)
        for row, level in itertools.product(results["per_class"], range(5)):
            own = [[s for s in some if s.label == row["class"]] for some in (truth, found)]
            assert row["ap"][level] == pytest.approx(brute_force(own[0], own[1], THRESHOLDS[level]))
        assert results["mean"] == pytest.approx(np.mean([row["ap"] for row in results["per_class"]]))


def test_labels_without_a_true_span_are_left_out_and_counted() -> None:
    found = mean_average_precision(TRUTH, [*FOUND, Span("v", "rest", 0, 5, 0.9)])
    assert (found["other_labels"], [row["class"] for row in found["per_class"]]) == (1, ["a"])
    assert mean_average_precision([], FOUND)["mean"] is None


def prediction(
    times: list[tuple[float, float]], clips: list[list[float]], thresholds: list[float] | None = None
) -> Prediction:
    shares = np.array(clips)
    cuts = None if thresholds is None else np.array(thresholds)
    numbers = np.zeros((len(times), 2), dtype=np.int64)
    return Prediction("v", list("ab"), shares.mean(axis=0), shares, numbers, np.array(times), False, cuts, 10.0, 0.5)


def test_spans_are_stretches_of_the_mean_over_the_clips_that_show_a_moment() -> None:
    along = prediction([(0, 3.5), (2, 5.5), (8, 9.5)], [[0.9, 0.1], [0.2, 0.8], [0.3, 0.7]])
    edges, shares = moments(along)
    # nothing shows 6 to 8: each half has what is nearer
    assert edges.tolist() == [0, 2, 4, 6, 7, 8, 10]
    assert shares[:, 0] == pytest.approx([0.9, 0.55, 0.2, 0.2, 0.3, 0.3])
    assert spans_of(along, "v") == [
        Span("v", "a", 0, 4, pytest.approx((2 * 0.9 + 2 * 0.55) / 4)),
        Span("v", "b", 4, 10, pytest.approx((3 * 0.8 + 3 * 0.7) / 6)),
    ]
    assert [span.label for span in spans_of(along, "v", "b")] == ["a"]
    several = prediction([(0, 4.5), (5, 9.5)], [[0.9, 0.6], [0.2, 0.7]], [0.5, 0.6])
    assert [(s.label, s.start_sec, s.end_sec) for s in spans_of(several, "v")] == [("a", 0, 5), ("b", 0, 10)]
    assert spans_of(prediction([(0, 9.5)], [[0.1, 0.2]], [0.5, 0.5]), "v") == []


def test_moments_are_the_mean_of_the_clips_at_every_time() -> None:
    rng = np.random.default_rng(1)
    starts = np.sort(rng.uniform(0, 8, 12))
    along = prediction([(s, s + rng.uniform(0, 3)) for s in starts.tolist()], rng.random((12, 2)).tolist())
    edges, shares = moments(along)
    assert (edges[0], edges[-1]) == (0, 10)
    ends = np.minimum(along.times_sec[:, 1] + 0.5, 10)
    for time in rng.uniform(0, 10, 200):
        showing = (along.times_sec[:, 0] <= time) & (time < ends)
        if showing.any():
            cell = np.searchsorted(edges, time, side="right") - 1
            assert np.allclose(shares[cell], along.clips[showing].mean(axis=0))


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four long videos, a direction for a second and another for a second, and a table of their spans."""
    folder = tmp_path_factory.mktemp("films")
    rows, names = [HEAD + ",split"], list(DIRECTIONS)
    for film in range(4):
        split, other = ("train", "test")[film == 3], names[(film + 1) % 4]
        draw_square(folder / f"{film}.mp4", DIRECTIONS[names[film]], film, frames=3 * FRAMES)
        rows += [f"{names[film]},{film}.mp4,0,0.8,{split}", f"{other},{film}.mp4,0.8,9,{split}"]
    write(folder / "t.csv", "\n".join(rows) + "\n")
    prepare(folder / "t.csv", folder / "prepared", workers=1, short_side=56, background="rest")
    return folder


def test_spans_are_evaluated_and_written_beside_the_timeline(
    films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "rest" not in Manifest.load(films / "prepared").classes, "no part is without a span"
    assert command.train(films / "prepared", tmp_path / "run", "--trainer.max_steps=1") == 0
    capsys.readouterr()
    words = [f"--spans={films / 't.csv'}", f"--ckpt_path={tmp_path / 'run'}", f"--out={tmp_path / 'e'}"]
    words.append("--every_sec=0.1")
    assert cli.run("evaluate", words) == 0
    said = capsys.readouterr().out
    assert "videos 1  spans 2  clipped 1  beyond the end 0" in said
    assert "mAP at tIoU 0.3:" in said
    about = json.loads((tmp_path / "e" / "results.json").read_text())["spans"]
    with open(tmp_path / "e" / "found.spans.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert about["predicted"] == len(rows)
    length = duration_sec(np.arange(3 * FRAMES) / 30)
    truth = [Span("3.mp4", "down", 0, 0.8), Span("3.mp4", "left", 0.8, length)]
    listed = json.loads((tmp_path / "e" / "found.spans.json").read_text())["spans"]
    found = [Span(**span) for span in listed]
    assert about["map"] == pytest.approx(mean_average_precision(truth, found)["map"])
    page = (tmp_path / "e" / "report.html").read_text()
    for word in ("interpolation at all points", "duplicates", "equal probability", "tIoU 0.3", "tIoU 0.7"):
        assert word in page
    assert about["trained_on"] == 0
    # two rows of each film were trained on, and a table of other cuts is of the same films
    other = write(films / "other.csv", f"{HEAD}\nup,0.mp4,0.2,0.9\nup,3.mp4,0.2,0.9\n")
    for table, count in ((films / "t.csv", "3 of these 3"), (other, "1 of these 2")):
        again = [f"--spans={table}", *words[1:2], f"--out={tmp_path / 'seen'}", "--every_sec=0.1"]
        again += ["--split=train"] if table != other else []
        with pytest.raises(SystemExit, match="2"):
            cli.run("evaluate", again)
        refused = capsys.readouterr().err
        assert f"was trained on {count} videos, or on parts of them (the first: 0.mp4)" in refused
        assert not (tmp_path / "seen").exists()
    assert cli.run("evaluate", [*again, "--allow_training_videos"]) == 0
    assert "WARNING: The network was trained on 1 of these 2 videos" in capsys.readouterr().out
    assert "trained on 1 of these 2 videos" in (tmp_path / "seen" / "report.html").read_text()
    predicted = ["--timeline", str(tmp_path / "t"), "--every_sec", "0.1"]
    assert cli.run("predict", [str(films / "3.mp4"), "--ckpt_path", str(tmp_path / "run"), *predicted]) == 0
    beside = json.loads((tmp_path / "t" / "3.spans.json").read_text())["spans"]
    assert [{**span, "video": "3.mp4"} for span in beside] == listed
    assert (tmp_path / "t" / "3.spans.csv").is_file()
    for wrong, message in (("--background=res", "no such class"), ("--split=val", "no row in the split val")):
        with pytest.raises(SystemExit, match="2"):
            cli.run("evaluate", [*words, wrong])
        assert message in capsys.readouterr().err
