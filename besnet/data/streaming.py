"""What a training needs of the cache when it mixes few shards at a time."""

from functools import cached_property

import numpy as np

from besnet.data.by_shard import shards_of
from besnet.data.cache_room import cache_bytes
from besnet.data.dataset import Shard
from besnet.data.manifest import Manifest
from besnet.data.window import ShardWindow

AHEAD = 2  # shards that are fetched before their first video is asked for, where the cache has room


class Streaming:
    """The shards of the training rows of a manifest, and a window over them."""

    def __init__(self, manifest: Manifest, rows: np.ndarray, window: int, groups: int) -> None:
        self.manifest, self.rows = manifest, rows
        self.size, self.groups = window, groups

    @cached_property
    def shards(self) -> np.ndarray:
        """int32 (rows of the manifest,): the shard of each. ValueError for a training row without one."""
        found = shards_of(self.manifest, np.arange(len(self.manifest)))
        if (found[self.rows] < 0).any():
            raise ValueError(
                f"data.shuffle shards: {self.manifest.folder} has training videos outside shards: leave it out"
            )
        return found

    @cached_property
    def training_shards(self) -> list[Shard]:
        """Those that hold training videos."""
        return [self.manifest.about.shards[number] for number in np.unique(self.shards[self.rows])]

    def window(self, machines: int) -> ShardWindow:
        """The order's window, for ranks on so many machines."""
        return ShardWindow(self.shards[self.rows], self.size, self.groups, machines)

    def open(self, machines: int) -> int:
        """Shards that are open on a machine at a time, at most."""
        return min(self.size * self.groups_on(machines), len(self.training_shards))

    def groups_on(self, machines: int) -> int:
        """Groups whose shards a machine reads."""
        return self.groups if self.groups % machines else self.groups // machines

    def bytes_open(self, machines: int, batch: int) -> int:
        """Bytes of the shards that a machine reads for a micro-batch of all its ranks, at most: the open ones, and
        those that end or begin within the `batch` videos, and one. What is fetched ahead takes what else there is."""
        shards = self.training_shards
        changing = 2 + batch * len(shards) // max(1, sum(shard.count for shard in shards))
        return sum(sorted((shard.size for shard in shards), reverse=True)[: self.open(machines) + changing])

    def bytes_an_epoch(self, machines: int) -> int:
        """Bytes that a machine with room for the open shards fetches in an epoch."""
        share = self.groups_on(machines) / self.groups
        return round(share * sum(shard.size for shard in self.training_shards))

    def check_cache(self, machines: int, batch: int) -> None:
        """ValueError where the cache has no room for the shards that are held at once."""
        wanted, bound = self.bytes_open(machines, batch), cache_bytes()
        if self.manifest.is_remote and wanted > bound:
            raise ValueError(
                f"data.shuffle_window {self.size}: the shards that are open at a time need up to {wanted / 1e9:.3g} GB "
                f"of cache, and BESNET_CACHE_GB allows {bound / 1e9:.3g}: raise it, or lower data.shuffle_window"
            )
