"""Average precision against scikit-learn, its bootstrap, and thresholds by F1."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score

from besnet.evaluation.average_precision import (
    Ranking,
    average_precisions,
    bootstrap,
    interval,
    mean_of_known,
    summary,
)
from besnet.evaluation.thresholds import best_thresholds, mean_f1


def drawn(seed: int, videos: int, classes: int, values: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores of which many are equal, and targets."""
    rng = np.random.default_rng(seed)
    targets = rng.random((videos, classes)) < 0.3
    scores = rng.integers(values, size=(videos, classes)) / values + 0.3 * targets
    return scores.astype(np.float32), targets.astype(np.uint8)


@pytest.mark.parametrize("values", [1, 3, 1000])
@pytest.mark.parametrize("videos", [1, 2, 40])
def test_average_precision_is_scikit_learn_s(videos: int, values: int) -> None:
    for seed in range(20):
        scores, targets = drawn(seed, videos, 4, values)
        weights = np.random.default_rng(seed).integers(0, 3, videos)
        plain, weighted = average_precisions(scores, targets), Ranking(scores, targets).average_precisions(weights)
        for number in range(4):
            if not targets[:, number].any():
                assert np.isnan(plain[number])
                continue
            assert plain[number] == pytest.approx(average_precision_score(targets[:, number], scores[:, number]))
            if (weights * targets[:, number]).any():
                wanted = average_precision_score(targets[:, number], scores[:, number], sample_weight=weights)
                assert weighted[number] == pytest.approx(wanted)
            else:
                assert np.isnan(weighted[number])


def test_a_class_without_videos_is_left_out_and_counted() -> None:
    scores = np.array([[0.9, 0.1, 0.2], [0.8, 0.3, 0.1], [0.1, 0.2, 0.3]])
    targets = np.array([[0, 0, 1], [1, 0, 0], [1, 0, 0]])
    found = summary(scores, targets, np.array(["x", "y", "z"]), np.array([0, 4, 1]), list("abc"))
    ap = [(1 / 2 + 2 / 3) / 2, None, 1 / 2]
    assert [row["ap"] for row in found["per_class"]] == pytest.approx(ap)
    assert found["map"] == pytest.approx((ap[0] + ap[2]) / 2)
    assert (found["classes"], found["without_positives"]) == (2, ["b"])
    # b has missing videos only, c as many missing as found ones
    assert found["missing_counted_wrong"] == pytest.approx((ap[0] + 0 + ap[2] / 2) / 3)
    nothing = summary(np.zeros((0, 3)), np.zeros((0, 3)), np.zeros(0, dtype=str), np.zeros(3, dtype=int), list("abc"))
    assert nothing["map"] is None
    assert nothing["interval"] == [0.0, 1.0]
    assert mean_of_known(np.array([np.nan])) is None


def test_the_bootstrap_is_over_groups() -> None:
    scores, targets = drawn(0, 60, 3, 1000)
    each, pairs = np.arange(60), np.arange(60) // 20
    same = bootstrap([Ranking(scores, targets)] * 2, each)
    assert np.array_equal(same[:, 0], same[:, 1]), "the same resamples for both"
    low, high = interval(same[:, 0], each, 0.0)
    assert low < mean_of_known(average_precisions(scores, targets)) < high
    assert interval(same[:, 0] - same[:, 1], each, -1.0) == [0.0, 0.0]
    assert interval(bootstrap([Ranking(scores, targets)], np.zeros(60))[:, 0], np.zeros(60), 0.0) == [0.0, 1.0]
    means = bootstrap([Ranking(scores, targets)], pairs)[:, 0]
    assert len(np.unique(means.round(9))) <= 10, "three groups have ten resamples"


def test_thresholds_have_the_best_f1_of_all() -> None:
    for seed in range(3):
        shares, targets = drawn(seed, 30, 5, 12)
        shares /= 2
        targets[:, 4] = 0
        thresholds, unknown = best_thresholds(shares, targets)
        assert unknown == [4]
        assert thresholds[4] == 0.5
        for number in range(4):
            wanted = targets[:, number]
            every = [f1_score(wanted, shares[:, number] >= cut, zero_division=0.0) for cut in np.linspace(0, 1, 241)]
            assert f1_score(wanted, shares[:, number] >= thresholds[number]) == pytest.approx(max(every))
        assert mean_f1(shares, targets, thresholds) >= mean_f1(shares, targets, [0.5] * 5)


def test_a_threshold_lies_between_the_videos_that_it_divides() -> None:
    shares, targets = np.array([[0.9], [0.8], [0.2], [0.1]]), np.array([[1], [1], [0], [0]])
    assert best_thresholds(shares, targets)[0] == [0.5]
