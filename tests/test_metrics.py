"""Accuracies against counting by hand and against scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, top_k_accuracy_score

from besnet.evaluation import metrics
from besnet.evaluation.statistics import wilson
from besnet.report.confusion import square


def test_top_k_agrees_with_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    probabilities, labels = rng.dirichlet(np.ones(12), 300), rng.integers(12, size=300)
    for k in (1, 2, 5):
        theirs = top_k_accuracy_score(labels, probabilities, k=k, labels=range(12))
        assert metrics.top_k(probabilities, labels, k).mean() == pytest.approx(theirs)
    guesses = probabilities.argmax(axis=1)
    ours = square(metrics.confusion(guesses, labels, 12), np.arange(12))
    assert (ours == confusion_matrix(labels, guesses, labels=range(12))).all()
    assert metrics.confusion(np.zeros(0, dtype=int), np.zeros(0, dtype=int), 12).shape == (0, 3)


def test_what_is_not_a_number_is_never_right() -> None:
    spoilt = np.full((4, 3), np.nan)
    spoilt[1], spoilt[2], spoilt[3] = [0.8, np.nan, 0.2], [np.inf, 0, 0], [0.8, 0.1, 0.1]
    assert metrics.top_k(spoilt, np.zeros(4, dtype=int), 1).tolist() == [False, False, False, True]
    assert metrics.top_k(spoilt, np.zeros(4, dtype=int), 3).tolist() == [False, False, False, True]


def test_a_constant_answer_is_right_for_one_class_only() -> None:
    labels = np.arange(10).repeat(3)
    assert metrics.top_k(np.full((30, 10), 0.1), labels, 1).mean() == pytest.approx(0.1)
    assert metrics.top_k(np.full((30, 10), 0.1), labels, 5).mean() == pytest.approx(0.5)


def test_missing_videos_count_as_wrong() -> None:
    probabilities = np.eye(4)[[0, 1, 2, 2]]
    shares = metrics.accuracies(probabilities, np.array([0, 1, 2, 3]), expected=8)
    assert shares["over_evaluated"]["top1"] == 0.75
    assert shares["missing_counted_wrong"]["top1"] == 0.375
    assert metrics.accuracies(np.zeros((0, 4)), np.zeros(0, dtype=int), 5)["over_evaluated"]["top1"] is None


@pytest.mark.parametrize(("right", "count"), [(0, 10), (9, 10), (480, 500), (1, 1)])
def test_the_interval_covers_as_often_as_it_says(right: int, count: int) -> None:
    low, high = wilson(right, count)
    assert 0 <= low <= right / count <= high <= 1


def test_wilson_covers_95_percent() -> None:
    rng = np.random.default_rng(1)
    draws = rng.binomial(50, 0.8, size=4000)
    covered = np.mean([low <= 0.8 <= high for low, high in (wilson(int(right), 50) for right in draws)])
    assert 0.93 <= covered <= 0.97


def test_pairs_are_told_apart_by_their_own_two_classes_only() -> None:
    classes = ["sit", "stand", "wave"]
    probabilities = np.array([[0.1, 0.2, 0.7], [0.3, 0.1, 0.6], [0.2, 0.3, 0.5], [0.4, 0.4, 0.2]])
    labels = np.array([0, 0, 1, 2])
    (pair,) = metrics.pairwise_accuracy(probabilities, labels, classes, [("sit", "stand")])
    assert (pair["videos"], pair["share"]) == (3, pytest.approx(2 / 3))
