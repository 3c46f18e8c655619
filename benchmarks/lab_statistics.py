"""How often a lab's statistics are wrong, on drawn labs whose truth is known.

    python -m benchmarks.lab_statistics [--labs 2000]

Five controls, ten comparisons. A lab without any effect: networks differ by their seeds (standard deviation of a paired
difference: 1 to 13 points), videos by their difficulty, and videos of a group share a part of it. Printed: how often
the primary comparison's 95 % interval excludes 0, how often any of nine secondary ones is called a difference by
Holm's procedure, and how often an effect as large as the minimum detectable difference is found.
"""

import argparse
from itertools import combinations

import numpy as np

from besnet.evaluation.statistics import FEWEST_SEEDS, LEVEL, estimate, holm, minimum_detectable, paired_estimate

CONTROLS = 5


def drawn(
    rng: np.random.Generator, seeds: int, groups: np.ndarray, spread: float, shared: float, effect: float = 0.0
) -> np.ndarray:
    """Right or wrong, float (controls, seeds, videos); `effect` is added to the second control's chance.

    spread: standard deviation of a paired difference over seeds. shared: share of a video's difficulty, and of what a
    control changes about it, that its group shares.
    """
    count = groups.max() + 1

    def of_videos() -> np.ndarray:
        own, together = rng.normal(size=len(groups)), rng.normal(size=count)[groups]
        return np.sqrt(1 - shared) * own + np.sqrt(shared) * together

    difficulty = 0.5 + 0.12 * of_videos()
    changed = 0.08 * np.stack([of_videos() for _ in range(CONTROLS)])  # what a control sees better and worse
    quality = rng.normal(0, spread / np.sqrt(2), size=(CONTROLS, seeds, 1))
    chance = difficulty + changed[:, None] + quality
    chance[1] += effect
    return (rng.random((CONTROLS, seeds, len(groups))) < np.clip(chance, 0.02, 0.98)).astype(float)


def errors(labs: int, seeds: int, groups: np.ndarray, spread: float, shared: float) -> tuple[float, float, float]:
    """Of labs without effect: the shares with a wrong primary and a wrong secondary verdict, and the mean half width of
    the primary's interval."""
    rng = np.random.default_rng(0)
    primary = family = 0
    halves = []
    for _ in range(labs):
        right = drawn(rng, seeds, groups, spread, shared)
        found = [paired_estimate(right[b] - right[a], groups) for a, b in combinations(range(CONTROLS), 2)]
        halves.append(found[0].half())
        p_values = [one.p_value() for one in found]
        primary += p_values[0] < 1 - LEVEL and seeds >= FEWEST_SEEDS
        family += any(holds for holds, _ in holm(p_values[1:])) and seeds >= FEWEST_SEEDS
    return primary / labs, family / labs, float(np.mean(halves))


def power(labs: int, seeds: int, groups: np.ndarray, spread: float, shared: float) -> tuple[float, float]:
    """The effect that is to be found in 80 % of trials, from one large pilot, and how often it is found."""
    rng = np.random.default_rng(1)
    pilots = [drawn(rng, 12, groups, spread, shared) for _ in range(20)]
    of_pilots = [estimate(pilot[1] - pilot[0], groups) for pilot in pilots]
    deviation = float(np.sqrt(np.mean([12 * (one.seeds_error or 0.0) ** 2 for one in of_pilots])))
    # the videos' error at this number of seeds, which the mean over many seeds would make smaller
    few = [estimate((pilot[1] - pilot[0])[:seeds], groups).videos_error for pilot in pilots]
    effect = minimum_detectable(deviation, seeds, float(np.sqrt(np.mean(np.square(few)))), int(groups.max()) + 1)
    found = 0
    for _ in range(labs):
        right = drawn(rng, seeds, groups, spread, shared, effect)
        one = paired_estimate(right[1] - right[0], groups)
        found += one.mean > one.half()
    return effect, found / labs


def main() -> None:
    """Print a line for each setting."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--labs", type=int, default=2000)
    labs = parser.parse_args().labs
    print("groups x videos  shared  seeds  spread   primary  family  half width   effect  found")
    for count, size in ((1500, 1), (126, 2), (9, 10)):
        groups = np.repeat(np.arange(count), size)
        shared = 0.5 if size > 1 else 0.0
        for seeds in (3, 5, 10):
            for spread in (0.01, 0.04, 0.09, 0.13):
                primary, family, half = errors(labs, seeds, groups, spread, shared)
                effect, found = power(labs // 4, seeds, groups, spread, shared)
                print(
                    f"{count:6} x {size:<6} {shared:7} {seeds:6} {100 * spread:5.0f} %   {primary:7.3f} {family:7.3f} "
                    f"{100 * half:9.1f} pt  {100 * effect:5.1f} pt {found:6.3f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
