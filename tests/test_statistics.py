"""The intervals cover the truth as often as they should, on data whose truth is known."""

import numpy as np
import pytest
from scipy.stats import multinomial

from benchmarks.lab_statistics import Setting
from besnet.evaluation.statistics import (
    Estimate,
    estimate,
    holm,
    minimum_detectable,
    paired_difference,
    paired_estimate,
    share,
    wilson,
    wilson_of_groups,
)


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
        low, high = paired_estimate(values).interval()
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
                low, high = paired_estimate(values).interval()
                held += chance * (low <= won - lost <= high)
    return held


def test_equal_answers_do_not_prove_equal_networks() -> None:
    found = paired_difference(np.zeros((3, 20)))
    assert found["mean"] == 0
    # one discordant video more would have moved the mean by a twentieth
    assert found["interval"][0] < -0.05
    assert found["interval"][1] > 0.05
    assert found["minimum_detectable"] >= found["minimum_detectable_by_videos"] > 0.1
    assert found["p"] == 1


def test_few_videos_are_not_certain() -> None:
    low, high = paired_difference(np.ones((3, 5)))["interval"]
    assert low < 0.5
    assert high == 1


def test_the_floor_is_agresti_and_mins() -> None:
    """Their variance of c - b over n, with b and c discordant videos and half a video more in each of four cells."""
    b, c, n = 1 + 0.5, 2 + 0.5, 40 + 2
    values = np.array([[-1.0] + [1.0] * 2 + [0.0] * 37])
    assert paired_estimate(values).videos_error ** 2 == pytest.approx(((b + c) - (c - b) ** 2 / n) / n**2)


def test_many_discordant_videos_leave_the_floor_below() -> None:
    values = paired(1, 1000, 0.15, 0.2, np.random.default_rng(4))
    assert paired_difference(values)["error_by_videos"] == pytest.approx(estimate(values).videos_error, rel=0.01)


@pytest.mark.parametrize(("seeds", "spread"), [(1, 0.0), (3, 0.02), (3, 0.1), (8, 0.04)])
def test_the_minimum_detectable_difference_is_found_four_times_out_of_five(seeds: int, spread: float) -> None:
    rng = np.random.default_rng(2)
    truth = minimum_detectable(spread, seeds, 0.5 / np.sqrt(1000), 1000)
    found = []
    for _ in range(600):
        # a video is changed alike for every seed
        values = rng.normal(truth, 0.5, size=1000) + rng.normal(0, spread, size=(seeds, 1))
        found.append(estimate(values).interval()[0] > 0)
    assert np.mean(found) == pytest.approx(0.8, abs=0.06)


def test_more_seeds_and_more_groups_find_smaller_differences() -> None:
    effects = [minimum_detectable(0.05, seeds, 0.01, 200) for seeds in (3, 5, 10, 100)]
    assert effects == sorted(effects, reverse=True)
    assert minimum_detectable(0.05, 5, 0.01, 5) > minimum_detectable(0.05, 5, 0.01, 50)
    assert minimum_detectable(0.05, 5, 0.01, 1) == np.inf


def test_a_p_value_is_the_level_at_which_the_interval_meets_zero() -> None:
    found = estimate(np.random.default_rng(5).normal(0.05, 0.4, size=(4, 300)))
    level = 1 - found.p_value()
    assert min(map(abs, found.interval(level))) == pytest.approx(0, abs=1e-9)
    assert Estimate(0.0, 0.1, 10, 0.1, 3).p_value() == 1
    assert Estimate(1.0, 0.0, 10, 0.0, 3).p_value() == pytest.approx(0, abs=1e-11)


def test_videos_of_a_group_count_together() -> None:
    """Ten copies of each video say nothing more than the videos themselves."""
    values = np.random.default_rng(6).normal(size=(1, 40))
    copies, groups = np.repeat(values, 10, axis=1), np.repeat(np.arange(40), 10)
    single, together = estimate(values), estimate(copies, groups)
    assert together.interval() == pytest.approx(single.interval())
    assert estimate(copies).videos_error < 0.5 * single.videos_error
    one, many = np.sign(values), np.sign(copies)
    assert paired_estimate(many, groups).videos_error == pytest.approx(paired_estimate(one).videos_error)
    # any values may name a group
    names = np.array([f"film {number}" for number in groups])
    assert estimate(copies, names) == together


def test_groups_without_effect_are_rarely_called_a_difference() -> None:
    rng, wrong = np.random.default_rng(7), []
    groups = np.repeat(np.arange(40), 5)
    for _ in range(400):
        shift = rng.normal(0, 0.3, size=40)[groups]  # a film is changed as a whole
        values = (rng.random((4, 200)) < 0.5 + shift / 2).astype(float) - (rng.random((4, 200)) < 0.5 - shift / 2)
        found = [paired_estimate(values, of) for of in (groups, None)]
        wrong.append([abs(one.mean) > one.half() for one in found])
    with_groups, without = np.mean(wrong, axis=0)
    assert with_groups <= 0.06
    assert without > 2 * with_groups


def test_holms_procedure_is_that_of_the_paper() -> None:
    found = holm([0.01, 0.04, 0.03, 0.005])
    assert [holds for holds, _ in found] == [True, False, False, True]
    assert [1 - level for _, level in found] == pytest.approx([0.05 / 3, 0.05 / 2, 0.05 / 2, 0.05 / 4])
    assert holm([]) == []


def test_labs_without_effect_rarely_have_a_verdict() -> None:
    for seeds in (3, 5):
        primary, family, _ = Setting("60 x 3", np.repeat(np.arange(60), 3), 0.5, seeds, 0.09).errors(150)
        # 150 labs have a standard error of 1.8 points
        assert primary <= 0.09
        assert family <= 0.09


def test_a_few_people_with_many_videos_each_find_what_they_can() -> None:
    """Nine people: one more whose videos all change would drown what the nine say."""
    nine = Setting("9 x 10", np.repeat(np.arange(9), 10), 0.5, 5, 0.04)
    primary, _, half = nine.errors(100)
    assert primary <= 0.06
    spread = np.std([nine.primary(lab).mean for lab in nine.labs(300, 4)])
    # Student's quantile of nine people is 2.3; the seeds and the added people take the rest
    assert half < 3.7 * spread
    _, found = nine.power(200)
    assert 0.72 <= found <= 0.92


def test_one_seed_says_nothing_about_seeds() -> None:
    found = estimate(np.random.default_rng(3).random((1, 100)))
    assert found.seeds_error is None
    assert found.plain()["error_by_seeds"] is None


def test_all_right_is_not_certain() -> None:
    low, high = share(np.ones((3, 30)))["interval"]
    assert (low, high) == pytest.approx((0.886, 1), abs=0.001)
    low, high = share(np.array([[1.0] * 9 + [0.0]] * 2))["interval"]
    assert 0.5 < low < 0.9 < high <= 1


def test_the_accuracys_interval_is_wilsons_where_each_video_is_a_group() -> None:
    right = np.arange(40) < 37
    assert wilson_of_groups(right, np.arange(40)) == wilson(37, 40)
    assert wilson_of_groups(right[:0], np.arange(0)) == (0, 1)
    assert wilson_of_groups(right, np.zeros(40)) == (0, 1), "one group says nothing of others"


@pytest.mark.parametrize("count", [9, 60])
def test_the_accuracys_interval_counts_groups(count: int) -> None:
    rng = np.random.default_rng(count)
    groups = np.repeat(np.arange(count), 6)
    held, alone = [], []
    for _ in range(600):
        easy = rng.beta(1.6, 0.4, size=count)  # of a group's videos, 0.8 in the mean
        right = rng.random(len(groups)) < easy[groups]
        low, high = wilson_of_groups(right, groups)
        assert 0 <= low <= right.mean() <= high <= 1
        held.append(low <= 0.8 <= high)
        low, high = wilson(int(right.sum()), len(right))
        alone.append(low <= 0.8 <= high)
    assert np.mean(held) >= 0.925
    assert np.mean(alone) < 0.9, "without groups it would miss too often"
