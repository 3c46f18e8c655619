"""How sure a figure is: intervals of shares, of means over seeds and videos, and of paired differences.

Two things make a mean uncertain: the videos, of which others could have been drawn, and the seeds, of which others
would have given other networks. Each has a standard error of its own: that of the mean over videos, where a video
counts by its mean over the seeds and videos of one group (a film, a person) count together; and that of the seeds'
means. Half the interval is

    sqrt((t(seeds - 1) * error_by_seeds)^2 + (t(groups - 1) * error_by_videos)^2),

each t being Student's quantile for its own degrees of freedom. The same rule gives the interval, the p-value, the
verdict and the minimum detectable difference. With one seed the interval covers the videos alone, and there is no
verdict. How often it is wrong is measured by benchmarks/lab_statistics.py.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from scipy import optimize, stats

LEVEL = 0.95
POWER = 0.8
FEWEST_SEEDS = 3  # with fewer, no network is called better


@dataclass(frozen=True)
class Estimate:
    """A mean of values (seeds, videos), with its standard errors.

    groups: the number of groups of videos that count as independent. seeds_error is None with a single seed.
    """

    mean: float
    videos_error: float
    groups: int
    seeds_error: float | None
    seeds: int

    def half(self, level: float = LEVEL) -> float:
        """Half the width of the interval that holds the true mean with probability `level`."""
        return math.hypot(
            quantile(level, self.seeds) * (self.seeds_error or 0.0), quantile(level, self.groups) * self.videos_error
        )

    def interval(self, level: float = LEVEL) -> tuple[float, float]:
        """The interval that holds the true mean with probability `level`."""
        half = self.half(level)
        return self.mean - half, self.mean + half

    def p_value(self) -> float:
        """The largest error rate at which an interval excludes 0: 1 for a mean of 0."""
        least = 1e-12
        if abs(self.mean) <= self.half(0.0):
            return 1.0
        if abs(self.mean) > self.half(1 - least):
            return least
        found = optimize.brentq(lambda log: self.half(-math.expm1(log)) - abs(self.mean), math.log(least), 0.0)
        return math.exp(found)

    def plain(self) -> dict[str, Any]:
        """The figures as plain values."""
        return {
            "mean": self.mean,
            "interval": list(self.interval()),
            "error_by_videos": self.videos_error,
            "groups": self.groups,
            "error_by_seeds": self.seeds_error,
        }


@lru_cache(maxsize=1024)
def quantile(level: float, count: int) -> float:
    """Student's quantile of both sides for the mean of so many values; 0 for one value, which has no spread."""
    return float(stats.t.ppf(0.5 + level / 2, count - 1)) if count > 1 else 0.0


def minimum_detectable(
    seeds_deviation: float, seeds: int, videos_error: float, groups: int, level: float = LEVEL
) -> float:
    """The smallest true difference that so many seeds and groups of videos show in 80 % of trials.

    seeds_deviation: standard deviation of the paired difference over seeds. videos_error: see Estimate.
    inf with one group.
    """
    if groups < 2:
        return math.inf
    shares = (np.arange(400) + 0.5) / 400
    # the seeds' spread is itself an estimate: chi-squared with seeds - 1 degrees of freedom
    spread = np.sqrt(stats.chi2.ppf(shares, seeds - 1) / (seeds - 1)) if seeds > 1 else np.zeros(1)
    seeds_error = seeds_deviation / math.sqrt(seeds)
    half = np.hypot(quantile(level, seeds) * seeds_error * spread, quantile(level, groups) * videos_error)
    error = math.hypot(seeds_error, videos_error)
    if not error:
        return 0.0

    def found(truth: float) -> float:
        return float((stats.norm.sf((half - truth) / error) + stats.norm.cdf((-half - truth) / error)).mean())

    return float(optimize.brentq(lambda truth: found(truth) - POWER, 0.0, half.max() + 10 * error))


def wilson(right: int, count: int) -> tuple[float, float]:
    """95 % interval of a share (Wilson, 1927); (0, 1) without any count."""
    if not count:
        return 0.0, 1.0
    low, high = stats.binomtest(right, count).proportion_ci(LEVEL, method="wilson")
    return float(low), float(high)


def wilson_of_groups(right: np.ndarray, groups: np.ndarray) -> tuple[float, float]:
    """95 % interval of a share of right videos, bool (videos,), where the videos of one group count together.

    It is Wilson's, for as many independent videos as would leave the share as uncertain, made fewer by the square of
    normal over Student's quantile for few groups (Korn and Graubard, 1998). With one video a group: Wilson's.
    """
    count, found = len(right), estimate(right[None].astype(float), groups) if len(right) else None
    if found is None or found.groups == count:
        return wilson(int(right.sum()), count)
    if found.groups == 1:
        return 0.0, 1.0
    mean, normal = found.mean, float(stats.norm.ppf(0.5 + LEVEL / 2))
    independent = mean * (1 - mean) / found.videos_error**2 if found.videos_error else found.groups
    size = min(count, independent) * (normal / quantile(LEVEL, found.groups)) ** 2
    centre = (mean + normal**2 / (2 * size)) / (1 + normal**2 / size)
    half = normal / (1 + normal**2 / size) * math.sqrt(mean * (1 - mean) / size + normal**2 / (4 * size**2))
    return max(0.0, centre - half), min(1.0, centre + half)


def share(values: np.ndarray, groups: np.ndarray | None = None) -> dict[str, Any]:
    """The figures of a share, from right or wrong (seeds, videos), with an interval between 0 and 1.

    Where all values are right, or all wrong, they have no spread: the interval is then Wilson's for so many groups.
    """
    found = estimate(values, groups)
    low, high = found.interval()
    if found.mean in (0, 1):
        low, high = wilson(round(found.mean * found.groups), found.groups)
    elif found.groups == 1:
        low, high = 0.0, 1.0
    return found.plain() | {"interval": [max(0.0, low), min(1.0, high)]}


def paired_difference(values: np.ndarray, groups: np.ndarray | None = None) -> dict[str, Any]:
    """The mean of paired differences (seeds, videos) of right and wrong, its interval and its p-value.

    groups: the group of each video, any values (videos,); None where each is a group of its own.
    """
    found = paired_estimate(values, groups)
    seeds_deviation = (found.seeds_error or 0.0) * math.sqrt(found.seeds)
    low, high = found.interval() if found.groups > 1 else (-1.0, 1.0)
    return found.plain() | {
        "interval": [max(-1.0, low), min(1.0, high)],
        "p": found.p_value() if found.groups > 1 else 1.0,
        "seeds_deviation": seeds_deviation,
        "minimum_detectable": finite(
            minimum_detectable(seeds_deviation, found.seeds, found.videos_error, found.groups)
        ),
        "minimum_detectable_by_videos": finite(minimum_detectable(0.0, 1, found.videos_error, found.groups)),
    }


def finite(difference: float) -> float:
    """A difference of shares is at most 1."""
    return min(1.0, difference)


def paired_estimate(values: np.ndarray, groups: np.ndarray | None = None) -> Estimate:
    """The mean of paired differences (seeds, videos); a few discordant videos do not look certain.

    To the videos' spread, half a discordant group is added each way and half a concordant one of each kind (Agresti and
    Min 2005, Simple improved confidence intervals for comparing matched proportions, for groups of one video). The
    added groups differ as much as the discordant ones do, and one more that differs as a whole: without any other the
    added groups differ as a whole, and among many discordant ones they weigh little.
    """
    plain = estimate(values, groups)
    by_video = values.mean(axis=0)
    size = len(by_video) / plain.groups
    count = len(by_video) + 2 * size
    centre = float(by_video.sum()) / count
    changes = group_sums(by_video, groups)
    typical = (float(changes @ changes) + size**2) / (np.count_nonzero(changes) + 1)
    added = typical * ((1 - centre) ** 2 + (1 + centre) ** 2 + 2 * centre**2) / 2
    sums = group_sums(by_video - centre, groups)
    error = math.sqrt(float(sums @ sums) + added) / count
    return Estimate(plain.mean, max(plain.videos_error, error), plain.groups, plain.seeds_error, plain.seeds)


def group_sums(values: np.ndarray, groups: np.ndarray | None) -> np.ndarray:
    """The sum of the values (videos,) of each group."""
    if groups is None:
        return values
    _, number = np.unique(groups, return_inverse=True)
    return np.bincount(number, values)


def estimate(values: np.ndarray, groups: np.ndarray | None = None) -> Estimate:
    """The mean of values (seeds, videos), such as right or wrong, or of paired differences of them.

    groups: the group of each video, any values (videos,); None where each is a group of its own.
    """
    seeds, videos = values.shape
    assert seeds
    assert videos
    by_video = values.mean(axis=0)
    mean = float(by_video.mean())
    sums = group_sums(by_video - mean, groups)
    count = len(sums)
    videos_error = math.sqrt(float(sums @ sums) * count / max(1, count - 1)) / videos
    seeds_error = float(values.mean(axis=1).std(ddof=1)) / math.sqrt(seeds) if seeds > 1 else None
    return Estimate(mean, videos_error, count, seeds_error, seeds)


def holm(p_values: list[float], error_rate: float = 1 - LEVEL) -> list[tuple[bool, float]]:
    """Holm's procedure (1979): for each comparison, whether it holds, and the level of its interval that says so.

    The probability that any of them is wrongly called a difference is at most `error_rate`.
    """
    found: list[tuple[bool, float]] = [(False, 1.0)] * len(p_values)
    holds, share = True, error_rate
    for place, number in enumerate(sorted(range(len(p_values)), key=lambda number: p_values[number])):
        if holds:
            share = error_rate / (len(p_values) - place)
            holds = p_values[number] < share
        found[number] = holds, 1 - share
    return found
