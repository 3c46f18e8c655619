"""An order of videos that has few shards open at a time: a function of its random numbers, never of workers or ranks.

The shards come in a drawn order. Each video is placed at random within half a window before and half a window behind
its shard, and the videos are taken from left to right; what would lie beyond an end is reflected there. So at most
`window` shards are open at any position, all videos of a shard are mixed with those of the shards around it, and no
position knows anything of those before it. (mosaicml/streaming's py1e spreads shards in the same way.)
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class ShardWindow:
    """How videos are mixed over shards.

    shards: int (rows,), the shard of each training row. window: shards that are open at a time. groups: the shards of
    an epoch are dealt into so many groups of equally many videos, each with a window of its own, and position p of the
    order belongs to group p mod groups. machines: that the ranks run on, as many on each; where they divide the groups,
    each reads only the shards of its own groups.
    """

    shards: np.ndarray
    window: int
    groups: int = 1
    machines: int = 1

    def place(self, rank: int, world_size: int) -> int:
        """Which of world_size neighbours in the order are a rank's."""
        if self.groups % self.machines or world_size % self.machines:
            return rank
        on_each = world_size // self.machines
        return rank % on_each * self.machines + rank // on_each

    def permutation(self, rng: np.random.Generator, taken: np.ndarray) -> np.ndarray:
        """An order of the places of `taken`, int64 like it; taken: the indices of `shards` that an epoch takes."""
        _, shard = np.unique(self.shards[taken], return_inverse=True)
        place = rng.permutation(shard.max() + 1)[shard]
        by_shard = np.lexsort((rng.random(len(place)), place))
        order = np.empty(len(place), dtype=np.int64)
        groups = min(self.groups, len(by_shard))
        for group, own in enumerate(np.array_split(by_shard, groups)):
            order[group::groups] = own[self._mixed(place[own], rng)]
        return order

    def _mixed(self, place: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """The order of one group's videos; place: those of their shards, ascending."""
        first, beyond = place[0], place[-1] + 1
        if self.window >= beyond - first:
            return rng.permutation(len(place))
        where = np.abs(place - first + 0.5 + self.window * (rng.random(len(place)) - 0.5))
        end = float(beyond - first)
        return np.argsort(np.where(where > end, 2 * end - where, where), kind="stable")


def spans(shards: np.ndarray) -> dict[int, tuple[int, int]]:
    """{shard: (its first batch, its last)} in the order of the first; shards: int (batches, videos of each)."""
    flat = shards.ravel()
    numbers, first = np.unique(flat, return_index=True)
    last = len(flat) - 1 - np.unique(flat[::-1], return_index=True)[1]
    size = shards.shape[1]
    order = np.argsort(first, kind="stable")
    return {int(numbers[n]): (int(first[n]) // size, int(last[n]) // size) for n in order}


def most_open(shards: np.ndarray) -> int:
    """The largest number of shards that are begun and not ended at one position of an order of shards."""
    change = np.zeros(len(shards) + 1, dtype=np.int64)
    for first, last in spans(shards.reshape(-1, 1)).values():
        change[first] += 1
        change[last + 1] -= 1
    return int(np.cumsum(change).max())
