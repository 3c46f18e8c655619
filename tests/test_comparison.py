"""Evaluations side by side: what is gained, what fewer clips give, and what may not be compared."""

import json
from pathlib import Path

import numpy as np
import pytest

from besnet import cli
from besnet.evaluation.comparison import check_comparable, compared, over_clips, siblings
from besnet.evaluation.statistics import paired_difference
from besnet.evaluation.stored import read_evaluation
from tests import command, evaluated


def stored(folder: Path, guesses: list[int], labels: list[int], classes: str = "abc", split: str = "test") -> Path:
    """An evaluation's folder with these answers."""
    return evaluated.write(folder, arrays(guesses, labels)["probabilities"], labels, list(classes), split=split)


OWN = {f"video{number}": f"video{number}" for number in range(10)}  # each is a group of its own


def arrays(guesses: list[int], labels: list[int]) -> dict[str, np.ndarray]:
    return {
        "ids": np.array([f"video{number}" for number in range(len(labels))]),
        "labels": np.array(labels),
        "probabilities": np.eye(3, dtype=np.float32)[np.array(guesses, dtype=int)][:, None],
    }


def test_gains_and_losses_are_counted_video_by_video(tmp_path: Path) -> None:
    before = stored(tmp_path / "before", guesses=[0, 0, 1, 2, 2, 0], labels=[0, 0, 1, 1, 2, -1])
    mine = arrays(guesses=[0, 1, 1, 1, 2, 0], labels=[0, 0, 1, 1, 2, -1])
    found = compared(read_evaluation(before), {"classes": list("abc"), "split": "test"}, mine, OWN)
    assert (found["videos"], found["gained"], found["lost"]) == (5, 1, 1)
    assert found["difference"] == 0
    assert {row["class"]: row["gained"] for row in found["per_class"]} == {"a": -0.5, "c": 0.0, "b": 0.5}
    assert [row["class"] for row in found["per_class"]] == ["a", "c", "b"]


def test_the_interval_of_a_difference_covers_the_truth() -> None:
    """Two networks right in 70 and 60 % of the videos, not independently: 95 % of the intervals hold the 10 points."""
    rng = np.random.default_rng(0)
    hits, rounds, truth = 0, 300, 0.1
    for _ in range(rounds):
        ease = rng.random(400)
        mine, theirs = ease < 0.7, ease < 0.6
        flip = rng.random(400) < 0.1
        mine, theirs = np.where(flip, rng.random(400) < 0.7, mine), np.where(flip, rng.random(400) < 0.6, theirs)
        low, high = paired_difference((mine.astype(float) - theirs)[None])["interval"]
        hits += low <= truth <= high
    assert 0.91 < hits / rounds < 0.985


def test_an_evaluation_compared_with_itself_is_not_certain_of_no_difference(tmp_path: Path) -> None:
    labels = [0, 0, 1, 1, 2, 2]
    own = stored(tmp_path / "own", guesses=labels, labels=labels)
    found = compared(read_evaluation(own), {"classes": list("abc"), "split": "test"}, arrays(labels, labels), OWN)
    assert (found["difference"], found["gained"], found["lost"]) == (0, 0, 0)
    assert found["interval"] == pytest.approx([-0.321, 0.321], abs=0.001)


def test_the_baselines_interval_counts_groups(tmp_path: Path) -> None:
    labels = [0] * 8
    before = read_evaluation(stored(tmp_path / "before", [0, 1] * 4, labels))
    mine, films = arrays([0] * 8, labels), {name: str(int(name[5:]) // 4) for name in OWN}
    about = {"classes": list("abc"), "split": "test"}
    alone, together = (compared(before, about, mine, groups) for groups in (OWN, films))
    assert (alone["groups"], together["groups"]) == (8, 2)
    assert alone["difference"] == together["difference"] == 0.5
    assert np.ptp(together["interval"]) > np.ptp(alone["interval"])


@pytest.mark.parametrize(
    ("changes", "why"),
    [({"classes": "abd"}, "class list"), ({"split": "val"}, "split val"), ({"labels": []}, "common")],
)
def test_what_does_not_fit_is_refused_by_name(tmp_path: Path, changes: dict[str, object], why: str) -> None:
    words = {"guesses": [0, 1], "labels": [0, 1]} | changes
    if not words["labels"]:
        words["guesses"] = []
    before = stored(tmp_path / "before", **words)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=why):
        check_comparable(read_evaluation(before), list("abc"), "test", ["video0", "video1"])


ALLOW = "--allow_training_videos=true"


@pytest.mark.parametrize("wrong", ["split", "ensemble", "itself"])
def test_what_does_not_fit_is_refused_before_any_video_is_decoded(
    squares: Path, tmp_path: Path, wrong: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert command.train(squares, run, "--trainer.max_epochs=1") == 0
    words = [f"--ckpt_path={run}", "--workers=0"]
    assert cli.run("evaluate", [*words, f"--out={tmp_path / 'one'}"]) == 0
    both = tmp_path / "both"
    assert cli.run("evaluate", ["--ensemble", str(tmp_path / "one"), str(tmp_path / "one"), f"--out={both}"]) == 0
    monkeypatch.setattr("besnet.evaluation.inference.predict_videos", None)
    other = {
        "split": [f"--baseline={tmp_path / 'one'}", "--split=train", ALLOW],
        "ensemble": [f"--against={both}"],
        "itself": [f"--baseline={tmp_path / 'one'}", f"--out={tmp_path / 'both' / '..' / 'one'}"],
    }[wrong]
    with pytest.raises(SystemExit) as ended:
        cli.run("evaluate", [*words, *other])
    assert ended.value.code == 2
    said = {"split": "of the split test, not of train", "ensemble": "an ensemble, not an evaluation",
            "itself": "this evaluation writes to it"}  # fmt: skip
    assert said[wrong] in capsys.readouterr().err


def test_fewer_clips_use_the_stored_views() -> None:
    right, wrong = np.eye(2, dtype=np.float32)[[0, 1]]
    views = np.stack([np.stack([wrong, right, right, wrong, right, wrong])])  # 3 clips x 2 crops of one video
    found = over_clips({"labels": np.array([0]), "probabilities": views * [1.0, 0.9]}, num_clips=3)
    assert [row["clips"] for row in found] == [1, 2, 3]
    assert found[0]["top1"] == 1.0, "the middle clip: one view right, one wrong and less sure"


def test_the_page_shows_gains_and_other_evaluations(squares: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert command.train(squares, run, "--trainer.max_epochs=1") == 0
    words = [f"--ckpt_path={run}", "--workers=0"]
    assert cli.run("evaluate", [*words, "--dilations=[1]"]) == 0
    (first,) = (run / "evaluations").iterdir()
    assert cli.run("evaluate", [*words, f"--baseline={first}"]) == 0
    (second,) = set((run / "evaluations").iterdir()) - {first}
    page = (second / "report.html").read_text()
    assert "Comparison" in page
    assert "Other evaluations of this checkpoint" in page
    results = json.loads((second / "results.json").read_text())
    assert results["baseline"]["videos"] == 9
    assert {row["dilations"] for row in siblings(second, results)} == {"[1]", "[1, 2]"}
