"""Rare classes more often: which videos an epoch takes, and how often each, when classes are balanced."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Balance:
    """Takes a class of n videos in proportion to n ** (1 - power): 0 leaves classes as they are, 1 makes all equal.

    labels: the class of each training video, int64 (N,).
    """

    labels: np.ndarray
    power: float

    @property
    def expected(self) -> np.ndarray:
        """How often an epoch of N takes each video, on average: float64 (N,), with the sum N."""
        share = np.bincount(self.labels)[self.labels] ** -self.power
        found: np.ndarray = share * (len(share) / share.sum())
        return found

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        """The N places in `labels` that an epoch takes, in its order: int64 (N,).

        Systematic sampling over the videos sorted by class: each video comes as often as expected, and each class in
        all as often as expected, rounded down or up.
        """
        videos = len(self.labels)
        shuffled = rng.permutation(videos)
        place_of_class = rng.permutation(self.labels.max() + 1)
        order = shuffled[np.argsort(place_of_class[self.labels[shuffled]], kind="stable")]
        ends = np.cumsum(self.expected[order])
        ends[-1] = videos  # whatever the sum has been rounded to
        counts = np.diff(np.floor(ends + rng.random()), prepend=0.0).astype(np.int64)
        return rng.permutation(np.repeat(order, counts))

    def described(self, classes: list[str]) -> str:
        """What it does to the rarest class and to the commonest one: a line for the start of a training."""
        videos = np.bincount(self.labels)
        clips = np.bincount(self.labels, self.expected)
        there = np.flatnonzero(videos)
        ends = there[videos[there].argmin()], there[videos[there].argmax()]
        told = " and ".join(f"{clips[one]:.0f} clips of {classes[one]} ({videos[one]} videos)" for one in ends)
        return f"data.balance {self.power:g}: an epoch takes {told}"
