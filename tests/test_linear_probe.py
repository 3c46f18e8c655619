"""A linear head on features that are computed once: scikit-learn's, chosen without the test split."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from besnet import cli
from besnet.data.evaluation_clips import EvaluationClips
from besnet.data.manifest import Manifest
from besnet.data.prepare import prepare
from besnet.evaluation.linear_heads import Score, Videos, best, fit_heads, folds, scores
from besnet.evaluation.stored import read_evaluation
from besnet.predict.model import load
from tests import untrained

STRENGTHS = [0.01, 1.0]


def some_videos(labels: list[int], views: int = 1, seed: int = 0) -> Videos:
    """Features of unequal scale that tell the labels."""
    rng = np.random.default_rng(seed)
    numbers = np.array(labels).repeat(12)
    features = rng.normal(size=(len(numbers), views, 9)) * np.logspace(-2, 1, 9) + 3
    features[..., 2] += 0.1 * numbers[:, None]
    return Videos(features.astype(np.float32), numbers)


@pytest.mark.parametrize("labels", [[0, 1, 2], [0, 1], [1, 3]])
def test_heads_predict_what_scikit_learn_predicts(labels: list[int]) -> None:
    videos, fresh = some_videos(labels), some_videos(labels, seed=1)
    for strength, head in fit_heads(videos, 4, STRENGTHS):
        pipeline = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=2000))
        pipeline.fit(videos.features[:, 0].astype(np.float64), videos.labels)
        expected = pipeline.predict_proba(fresh.features[:, 0].astype(np.float64))
        shares = head.probabilities(fresh.features)[:, 0]
        np.testing.assert_allclose(shares[:, labels], expected, atol=2e-3)
        assert shares.sum() == pytest.approx(len(shares), rel=1e-5)
        assert (shares.argmax(1) == np.array(labels)[expected.argmax(1)]).all()


def test_the_same_view_twice_weighs_as_once() -> None:
    videos = some_videos([0, 1, 2])
    twice = Videos(videos.features.repeat(2, axis=1), videos.labels)
    for (_, once), (_, both) in zip(fit_heads(videos, 3, [0.1]), fit_heads(twice, 3, [0.1]), strict=True):
        np.testing.assert_allclose(once.weight, both.weight, rtol=0.02, atol=1e-3)


def test_a_group_is_never_on_both_sides_and_the_choice_is_the_surest() -> None:
    videos = some_videos([0, 1, 2])
    groups = [f"film {number % 7}" for number in range(len(videos.labels))]
    marked = Videos(np.arange(len(groups), dtype=np.float32).reshape(-1, 1, 1), videos.labels)
    tested = []
    for learned, held_out in folds(marked, groups):
        mine, theirs = ({groups[int(n)] for n in part.features.ravel()} for part in (learned, held_out))
        assert not mine & theirs
        tested += held_out.features.ravel().tolist()
    assert sorted(tested) == list(range(len(groups)))
    with pytest.raises(ValueError, match="a validation split is needed"):
        folds(videos, ["one"] * len(videos.labels))
    assert best([Score(1.0, 0.9, 0.5), Score(0.1, 0.8, 0.4), Score(0.01, 0.8, 0.4)]).strength == 0.01
    (score,) = scores([(videos, some_videos([0, 1, 2], seed=1))], 3, [1.0])
    assert score.top1 > 0.5


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return untrained.checkpoint(tmp_path_factory.mktemp("network"), ["a", "b", "c", "d", "e"])


def probe(data: Path, out: Path, network: Path, *words: str, code: int = 0) -> None:
    words = (f"--data={data}", f"--out={out}", f"--ckpt_path={network}", "--workers=0", *words)
    assert cli.run("probe", list(words)) == code


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The rows whose videos are decoded."""
    rows: list[int] = []
    read = EvaluationClips.__getitem__

    def record(self: EvaluationClips, position: int) -> object:
        rows.append(int(self.rows[position]))
        return read(self, position)

    monkeypatch.setattr(EvaluationClips, "__getitem__", record)
    return rows


def test_a_probe_is_evaluated_once_and_predicts_what_it_was_evaluated_with(
    squares: Path, network: Path, tmp_path: Path, decoded: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    probe(squares, tmp_path, network, "--strengths=[0.01,1]", "--num_clips=2")
    said = capsys.readouterr().out
    assert "the data names no groups" in said
    assert "top-1" in said
    assert sorted(decoded) == list(range(33)), "each video once"
    evaluation = read_evaluation(tmp_path)
    assert evaluation.probabilities.shape == (9, 2, 4)
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["trained_on"] == 0
    assert [score["strength"] for score in results["probe"]["scores"]] == STRENGTHS
    manifest = Manifest.load(squares)
    model = load(tmp_path / "model", "cpu")
    assert model.classes == manifest.classes == evaluation.about["classes"]
    for row in manifest.select("test")[:3].tolist():
        shares = model.predict(Path(manifest.root) / manifest[row].path).probabilities
        place = evaluation.ids.tolist().index(manifest[row].id)
        np.testing.assert_allclose(shares, evaluation.probabilities[place].mean(0), atol=1e-5)
    decoded.clear()
    again = tmp_path / "again"
    probe(squares, again, network, "--strengths=[0.1]", "--num_clips=2", f"--cache={tmp_path / 'features'}")
    assert decoded == [], "features of the same data, weights and views are kept"
    probe(squares, again, network, "--strengths=[0.1]", "--mirror=true", f"--cache={tmp_path / 'features'}")
    assert len(decoded) == 24 * 2 + 9, "other views; the test split is not mirrored"


def test_a_stopped_probe_goes_on_where_it_was(
    squares: Path, network: Path, tmp_path: Path, decoded: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    read = EvaluationClips.__getitem__

    def fail(self: EvaluationClips, position: int) -> object:
        if len(decoded) == 10:
            raise KeyboardInterrupt
        return read(self, position)

    with monkeypatch.context() as patch:
        patch.setattr(EvaluationClips, "__getitem__", fail)
        probe(squares, tmp_path, network, code=130)
    (part,) = (tmp_path / "features").glob("*/part-*.npz")
    probe(squares, tmp_path, network)
    assert sorted(decoded) == list(range(33))
    before = read_evaluation(tmp_path).probabilities
    part.write_bytes(part.read_bytes()[:100])
    decoded.clear()
    probe(squares, tmp_path, network)
    assert len(decoded) == 10, "a damaged file is computed again"
    assert np.array_equal(before, read_evaluation(tmp_path).probabilities)


def test_the_validation_split_chooses_where_there_is_one_and_groups_where_there_is_none(
    squares: Path, network: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with open(squares.parent / "index.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    for number, row in enumerate(rows):
        row["group"] = f"film {number % 5}"
        row["path"] = str(squares.parent / row["path"])
        if row["split"] == "train" and number >= 16:
            row["split"] = "val"
    for name, kept in (("val", rows), ("groups", [row for row in rows if row["split"] != "val"])):
        with open(tmp_path / f"{name}.csv", "w", newline="") as file:
            writer = csv.DictWriter(file, list(kept[0]))
            writer.writeheader()
            writer.writerows(kept)
        prepare(tmp_path / f"{name}.csv", tmp_path / name, index_only=True, workers=1)
        probe(tmp_path / name, tmp_path / f"of {name}", network)
    said = capsys.readouterr().out
    assert "over the 8 validation videos" in said
    assert "folds of the training videos, by group (5 groups)" in said
    # once the validation videos have chosen, they may be learned from, too
    data = tmp_path / "val"
    probe(data, tmp_path / "refit", network, "--refit", f"--cache={tmp_path / 'of val' / 'features'}")
    before, after = (read_evaluation(tmp_path / name) for name in ("of val", "refit"))
    of_both = [json.loads((tmp_path / name / "results.json").read_text())["probe"] for name in ("of val", "refit")]
    assert of_both[0] == of_both[1]
    assert not np.array_equal(before.probabilities, after.probabilities)
    with pytest.raises(SystemExit):
        probe(data, tmp_path / "again", network, "--refit", "--split=val")
    assert "evaluate on another split" in capsys.readouterr().err


def test_a_2d_network_with_weights_from_its_package_is_probed_frame_by_frame(
    squares: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--network=tf_efficientnet_lite0", "--weights=lite", "--input.num_frames=3", "--input.crop_size=32",
             "--input.sampling=uniform", f"--data={squares}", f"--out={tmp_path}", "--workers=0"]  # fmt: skip
    assert cli.run("probe", words) == 0
    assert "3 frames spread over the video, 32 pixels, mean 0.498" in capsys.readouterr().out
    parts = list((tmp_path / "features").glob("*/part-*.npz"))
    with np.load(parts[0]) as kept:
        assert kept["features"].shape[1:] == (1, 1280)
    clip = json.loads((tmp_path / "results.json").read_text())["clip"]
    assert (clip["num_frames"], clip["sampling"]) == (3, "uniform")
    manifest, model = Manifest.load(squares), load(tmp_path / "model", "cpu")
    evaluation = read_evaluation(tmp_path)
    row = int(manifest.select("test")[0])
    shares = model.predict(Path(manifest.root) / manifest[row].path).probabilities
    place = evaluation.ids.tolist().index(manifest[row].id)
    np.testing.assert_allclose(shares, evaluation.probabilities[place].mean(0), atol=1e-5)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--split=val"], "no video in the split val"),
        (["--strengths=[]"], "--strengths must be a list of 1 to 100 numbers"),
        (["--strengths=[0]"], "--strengths must be at least 1e-09"),
        (["--network=r3d_18"], "r3d_18"),
    ],
)
def test_what_cannot_be_probed_is_refused_in_one_line(
    squares: Path, network: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    with pytest.raises(SystemExit, match="2"):
        probe(squares, tmp_path, network, *words)
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert message in line
