"""Wrong labels are found, groups stay together, and what cannot be judged is said."""

import csv
from pathlib import Path

import numpy as np
import pytest

from besnet import cli
from besnet.data.manifest import Manifest
from besnet.data.prepare import prepare
from besnet.evaluation import label_doubts
from besnet.evaluation.label_doubts import doubts, fold_numbers, judged, out_of_fold
from besnet.evaluation.linear_heads import Videos
from tests import command

CLASSES = 6


def clouds(seed: int, spread: float = 1.3, videos: int = 300) -> tuple[Videos, np.ndarray, list[str]]:
    """Features in a cloud for each class, 5 % of the labels wrong; which are; and groups of five videos."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(CLASSES, size=videos)
    features = rng.normal(size=(CLASSES, 20))[truth] + spread * rng.normal(size=(videos, 20))
    wrong = np.zeros(videos, dtype=bool)
    wrong[rng.permutation(videos)[: videos // 20]] = True
    labels = np.where(wrong, (truth + rng.integers(1, CLASSES, size=videos)) % CLASSES, truth)
    groups = [f"group {number // 5}" for number in rng.permutation(videos)]
    return Videos(features[:, None].astype(np.float32), labels), wrong, groups


@pytest.mark.parametrize("seed", range(3))
def test_most_wrong_labels_are_among_the_first_tenth(seed: int) -> None:
    videos, wrong, groups = clouds(seed)
    folds = fold_numbers(videos.labels, groups)
    found = doubts(out_of_fold(videos, folds, CLASSES, (0.01, 0.1)), videos.labels, judged(videos.labels, folds))
    assert wrong[found.places[:30]].sum() >= 0.8 * wrong.sum()
    assert (np.diff(found.scores) >= 0).all()
    assert found.scores.min() >= 0
    assert found.scores.max() <= 1
    assert wrong[found.places[: found.likely]].mean() > 0.5, "likely is more often right than not"
    assert all(found.suggested != videos.labels[found.places])


def test_a_group_is_in_one_fold_and_a_class_of_one_group_is_not_judged() -> None:
    _, _, groups = clouds(0)
    labels = np.arange(300) % CLASSES
    lonely = np.flatnonzero(labels == 5)
    for place in range(300):
        if groups[place] == groups[lonely[0]]:
            labels[place] = 5
        elif labels[place] == 5:
            labels[place] = 0
    folds = fold_numbers(labels, groups)
    for group in set(groups):
        assert len({fold for fold, own in zip(folds, groups, strict=True) if own == group}) == 1
    assert (judged(labels, folds) == (labels != 5)).all()
    with pytest.raises(ValueError, match="all videos are of one group"):
        fold_numbers(labels, ["one"] * 300)


def test_a_shy_class_is_not_one_of_wrong_labels() -> None:
    """Videos of class 1 get 0.45 as a rule, those of class 0 get 0.9: one of 0.45 is usual there and odd here."""
    labels = np.array([0] * 20 + [1] * 20)
    probabilities = np.array([[0.9, 0.1]] * 19 + [[0.45, 0.55]] + [[0.55, 0.45]] * 20)
    found = doubts(probabilities, labels, np.ones(40, dtype=bool))
    assert found.places[0] == 19


@pytest.fixture(scope="module")
def judged_run(squares: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run from noise on the squares with a validation split, and the doubts about it."""
    folder = tmp_path_factory.mktemp("doubts")
    lines = (squares.parent / "index.csv").read_text().splitlines()
    lines = [line.replace(",train", ",val") if number % 5 == 0 else line for number, line in enumerate(lines)]
    (folder / "index.csv").write_text("\n".join(lines) + "\n")
    data = prepare(folder / "index.csv", folder / "data", squares.parent, index_only=True, workers=1).folder
    assert command.train(data, folder / "run", "--trainer.max_epochs=1") == 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(label_doubts, "FOLDS", 2)
        assert cli.run("doubts", [str(folder / "run"), "--workers=0"]) == 0
    return folder


def test_a_run_from_noise_is_judged_by_trainings_without_each_fold(judged_run: Path) -> None:
    manifest = Manifest.load(judged_run / "data")
    with open(judged_run / "run" / "doubts" / "doubts.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    own = {manifest[int(row)].path for split in ("train", "val") for row in manifest.select(split)}
    assert {row["path"] for row in rows} == own, "all training and validation videos, and no test video"
    assert len(rows) == len(own)
    assert all(row["given"] != row["suggested"] for row in rows)
    held_out = []
    for number in range(2):
        part = Manifest.load(judged_run / "run" / "doubts" / f"fold_{number}" / "data")
        assert part.select("test").tolist() == manifest.select("test").tolist()
        held_out += [part[int(row)].path for row in part.select("val")]
    assert sorted(held_out) == sorted(own), "each video is judged once, without it"
    assert "labels are likely wrong" in (judged_run / "run" / "doubts" / "doubts.html").read_text()


def test_a_run_from_weights_is_judged_by_their_features(
    judged_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = judged_run / "run", tmp_path / "run"
    words = [f"--pretrained={first}", "--trainer.max_epochs=1"]
    assert command.train(judged_run / "data", second, *words) == 0
    capsys.readouterr()
    assert cli.run("doubts", [str(second), "--workers=0"]) == 0
    said = capsys.readouterr().out
    assert f"on the features of {first}" in said
    assert "was trained on" in said, "the weights before have seen these labels"
    assert not list((second / "doubts").glob("fold_*"))
    features = sorted((second / "doubts" / "features").rglob("*.npz"))
    assert cli.run("doubts", [str(second), "--workers=0"]) == 0
    assert sorted((second / "doubts" / "features").rglob("*.npz")) == features, "they are computed once"
    capsys.readouterr()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(label_doubts, "FOLDS", 2)
        assert cli.run("doubts", [str(second), "--workers=0", "--retrain", f"--out={tmp_path / 'again'}"]) == 0
    assert "with their labels: fewer wrong ones are found" in capsys.readouterr().out, "each start has seen the fold"
