"""The intervals cover the truth as often as they should, on data whose truth is known."""

import numpy as np
import pytest
from scipy.stats import multinomial

from besnet.evaluation.statistics import estimate, least_error, paired_difference, share


@pytest.mark.parametrize("between_seeds", [0.0, 0.03, 0.1])
def test_the_interval_holds_the_truth_as_often_as_it_says(between_seeds: float) -> None:
    rng = np.random.default_rng(0)
    # a video has a difficulty, a network a quality; the truth is the mean over all videos and all networks
    everything = rng.beta(2, 1.2, size=400_000) + rng.normal(0, between_seeds, size=400_000)
    truth = np.clip(everything, 0, 1).mean()
    held = []
    for _ in range(400):
        difficulty = rng.beta(2, 1.2, size=300)
        quality = rng.normal(0, between_seeds, size=3)
        right = rng.random((3, 300)) < np.clip(difficulty + quality[:, None], 0, 1)
        low, high = estimate(right.astype(float)).interval()
        held.append(low <= truth <= high)
    # a twentieth may miss, and 400 trials have a standard error of 1.1 points
    assert 0.925 <= np.mean(held) <= 1


def test_pairing_sees_a_difference_that_unpaired_intervals_hide() -> None:
    rng = np.random.default_rng(1)
    draws = rng.random((3, 500))
    difficulty = rng.beta(1, 1, size=500)
    first, second = (draws < difficulty).astype(float), (draws < difficulty + 0.06).astype(float)
    assert estimate(second).interval()[0] < estimate(first).interval()[1]
    assert estimate(second - first).interval()[0] > 0


def paired(seeds: int, videos: int, lost: float, won: float, rng: np.random.Generator) -> np.ndarray:
    """Differences of right and wrong, -1, 0 or 1: such shares of all videos are lost and won, by every seed."""
    drawn = rng.random(videos)
    return np.tile((drawn < won).astype(float) - (drawn > 1 - lost), (seeds, 1))


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize("videos", [20, 300])
@pytest.mark.parametrize(("lost", "won"), [(0, 0.01), (0.005, 0.01), (0.02, 0.02), (0.1, 0.3)])
def test_a_difference_holds_the_truth_with_few_discordant_videos(
    seeds: int, videos: int, lost: float, won: float
) -> None:
    rng = np.random.default_rng(0)
    held = []
    for _ in range(300):
        values = paired(seeds, videos, lost, won, rng)
        low, high = estimate(values, least_error(values)).interval()
        held.append(low <= won - lost <= high)
    # 300 trials have a standard error of 1.3 points; without a floor 17 % held the truth in the worst case
    assert np.mean(held) >= 0.92


def test_a_paired_difference_covers_the_truth_on_few_videos() -> None:
    """The worst case is 40 videos of which a twentieth is gained: in 13 % of all draws none is."""
    shares = [(0, 0), (0, 0.05), (0, 0.3), (0.1, 0.1), (0.05, 0.5), (0.3, 0.4)]
    found = [coverage(videos, lost, won) for videos in (6, 10, 15, 40) for lost, won in shares]
    assert min(found) >= 0.86
    assert np.mean(found) >= 0.94


def coverage(videos: int, lost: float, won: float) -> float:
    """How often the interval holds the truth: every outcome (gained, lost) weighted by its probability."""
    held = 0.0
    for gained in range(videos + 1):
        for losses in range(videos + 1 - gained):
            chance = multinomial.pmf([gained, losses, videos - gained - losses], videos, [won, lost, 1 - won - lost])
            if chance > 1e-6:
                values = np.array([[1.0] * gained + [-1.0] * losses + [0.0] * (videos - gained - losses)])
                low, high = paired_difference(values)["interval"]
                held += chance * (low <= won - lost <= high)
    return held


def test_equal_answers_do_not_prove_equal_networks() -> None:
    found = paired_difference(np.zeros((3, 20)), 1)
    assert found["mean"] == 0
    # one discordant video more would have moved the mean by a twentieth
    assert found["interval"][0] < -0.05
    assert found["interval"][1] > 0.05
    assert found["minimum_detectable"] > found["minimum_detectable_by_videos"] > 0.1
    assert not found["differs"]


def test_few_videos_are_not_certain() -> None:
    low, high = paired_difference(np.ones((3, 5)), 1)["interval"]
    assert low < 0.5
    assert high == 1


def test_the_floor_is_agresti_and_mins() -> None:
    """Their variance of c - b over n, with b and c discordant videos and half a video more in each of four cells."""
    b, c, n = 3 + 0.5, 9 + 0.5, 40 + 2
    values = np.array([[-1.0] * 3 + [1.0] * 9 + [0.0] * 28])
    assert least_error(values) ** 2 == pytest.approx(((b + c) - (c - b) ** 2 / n) / n**2)


def test_many_discordant_videos_leave_the_floor_below() -> None:
    values = paired(1, 1000, 0.15, 0.2, np.random.default_rng(4))
    assert paired_difference(values, 1)["error_by_videos"] == pytest.approx(estimate(values).videos_error, rel=0.01)


def test_the_minimum_detectable_difference_is_found_four_times_out_of_five() -> None:
    rng = np.random.default_rng(2)
    truth = estimate(rng.normal(0, 0.5, size=(1, 1000))).minimum_detectable_by_videos()
    shown = []
    for _ in range(500):
        low, _ = estimate(rng.normal(truth, 0.5, size=(1, 1000))).interval()
        shown.append(low > 0)
    assert np.mean(shown) == pytest.approx(0.8, abs=0.06)


def test_one_seed_says_nothing_about_seeds() -> None:
    found = estimate(np.random.default_rng(3).random((1, 100)))
    assert found.seeds_error is None
    assert found.plain()["error_by_seeds"] is None


def test_all_right_is_not_certain() -> None:
    low, high = share(np.ones((3, 30)))["interval"]
    assert (low, high) == pytest.approx((0.886, 1), abs=0.001)
    low, high = share(np.array([[1.0] * 9 + [0.0]] * 2))["interval"]
    assert 0.5 < low < 0.9 < high <= 1
