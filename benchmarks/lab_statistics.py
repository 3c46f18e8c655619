"""How often a lab's statistics are wrong, on drawn labs whose truth is known.

    python -m benchmarks.lab_statistics [--labs 2000] [--out benchmarks/results/lab_statistics.json]

Five controls, ten comparisons: one primary, nine secondary ones. In a lab without any effect networks differ by their
seeds, videos by their difficulty, and videos of a group share a part of it. Printed: how often the primary comparison's
95 % interval excludes 0 (at most 6 % wanted), how often any secondary one is called a difference by Holm's procedure
(at most 6 %), and how often an effect is found that is as large as the minimum detectable difference, which `besnet lab
--power` prints (75 to 85 %).
"""

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

from besnet.evaluation.statistics import LEVEL, Estimate, holm, minimum_detectable, paired_estimate
from besnet.files import write_json

CONTROLS = 5
PILOTS, PILOT_SEEDS = 300, 12


@dataclass(frozen=True)
class Setting:
    """A kind of lab.

    groups: of each video, int (videos,). shared: share of a video's difficulty, and of what a control changes about it,
    that its group shares. spread: standard deviation of a paired difference over seeds.
    """

    name: str
    groups: np.ndarray
    shared: float
    seeds: int
    spread: float

    def labs(self, count: int, seed: int, seeds: int | None = None, effect: float = 0.0) -> Iterator[np.ndarray]:
        """Labs, each right or wrong, float (controls, seeds, videos); `effect` is added to the second control's
        chance."""
        rng = np.random.default_rng(seed)
        shape = (CONTROLS, seeds or self.seeds, len(self.groups))
        for _ in range(count):
            # the first row is a video's difficulty, the others what each control changes about it
            own = rng.normal(size=(1 + CONTROLS, len(self.groups)))
            together = rng.normal(size=(1 + CONTROLS, self.groups.max() + 1))[:, self.groups]
            of_videos = np.sqrt(1 - self.shared) * own + np.sqrt(self.shared) * together
            quality = rng.normal(0, self.spread / np.sqrt(2), size=(*shape[:2], 1))
            chance = 0.5 + 0.12 * of_videos[0] + 0.08 * of_videos[1:, None] + quality
            chance[1] += effect
            yield (rng.random(shape) < np.clip(chance, 0.02, 0.98)).astype(float)

    def primary(self, right: np.ndarray) -> Estimate:
        """A lab's primary comparison: the second control minus the first."""
        return paired_estimate(right[1] - right[0], self.groups)

    def errors(self, labs: int) -> tuple[float, float, float]:
        """Of labs without effect: the shares with a wrong primary and a wrong secondary verdict, and the primary's mean
        half width."""
        primary = family = 0
        halves = []
        for right in self.labs(labs, 0):
            found = [paired_estimate(right[b] - right[a], self.groups) for a, b in combinations(range(CONTROLS), 2)]
            # what its own 95 % interval does not show, no procedure shows
            p_values = [one.p_value() if abs(one.mean) > one.half() else 1.0 for one in found]
            halves.append(found[0].half())
            primary += p_values[0] < 1 - LEVEL
            family += any(holds for holds, _ in holm(p_values[1:]))
        return primary / labs, family / labs, float(np.mean(halves))

    def power(self, labs: int) -> tuple[float, float]:
        """The minimum detectable difference from the mean of many pilots, and how often it is found."""
        pilots = [self.primary(right) for right in self.labs(PILOTS, 1, PILOT_SEEDS)]
        deviation = np.sqrt(np.mean([PILOT_SEEDS * (one.seeds_error or 0.0) ** 2 for one in pilots]))
        # the videos' error at this number of seeds, which the mean over many seeds would make smaller
        errors = [self.primary(right).videos_error for right in self.labs(PILOTS, 2)]
        groups = int(self.groups.max()) + 1
        effect = minimum_detectable(float(deviation), self.seeds, float(np.sqrt(np.mean(np.square(errors)))), groups)
        found = [self.primary(right) for right in self.labs(labs, 3, effect=effect)]
        return effect, sum(one.mean > one.half() for one in found) / labs


def films(count: int, clips: int) -> np.ndarray:
    """The film of each clip: each film has one clip or more, a few have many."""
    rng = np.random.default_rng(0)
    more = rng.choice(count, clips - count, p=rng.dirichlet(np.ones(count)))
    return np.sort(np.concatenate([np.arange(count), more]))


def settings() -> Iterator[Setting]:
    """Labs like the pilot on hard stick figures, on nine people, and on the clips of films."""
    kinds = {
        "85 persons x 12": np.repeat(np.arange(85), 12),
        "9 people x 10": np.repeat(np.arange(9), 10),
        "126 films, 268 clips": films(126, 268),
    }
    for name, groups in kinds.items():
        for seeds in (3, 5, 10):
            for spread in (0.01, 0.04, 0.09):
                yield Setting(name, groups, 0.5, seeds, spread)


def main() -> None:
    """Print a line for each setting; write them all."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--labs", type=int, default=2000)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    began, rows = time.monotonic(), []
    print("groups                  seeds  spread   primary  family  half width   effect  found")
    for one in settings():
        primary, family, half = one.errors(asked.labs)
        effect, found = one.power(asked.labs)
        print(
            f"{one.name:23} {one.seeds:5} {100 * one.spread:5.0f} %   {primary:7.3f} {family:7.3f} "
            f"{100 * half:9.1f} pt {100 * effect:5.1f} pt {found:6.3f}",
            flush=True,
        )
        rows.append({"groups": one.name, "seeds": one.seeds, "spread": one.spread, "primary": primary,
                     "family": family, "half": half, "effect": effect, "found": found})  # fmt: skip
    print(f"{asked.labs} labs a line, {time.monotonic() - began:.0f} s")
    if asked.out is not None:
        write_json(asked.out, {"labs": asked.labs, "rows": rows})


if __name__ == "__main__":
    main()
