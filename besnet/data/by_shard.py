"""Rows of a manifest by the shards that hold them: what to fetch whole, what alone, and which rank reads which."""

import json

import numpy as np

from besnet.data.manifest import Manifest

SPARSE = 0.25  # of a shard's videos: with fewer that are wanted, each is fetched alone


def shards_of(manifest: Manifest, rows: np.ndarray) -> np.ndarray:
    """The number of the shard that holds each of these rows, int32; -1 without one. A second for 240,000 rows."""
    numbers = {shard.path: number for number, shard in enumerate(manifest.about.shards)}
    found = np.full(len(manifest), -1, dtype=np.int32)
    with open(manifest.folder / "manifest.jsonl", "rb") as file:
        for row, line in enumerate(file):
            found[row] = numbers.get(json.loads(line).get("path", ""), -1)
    return found[rows]


def wanted_alone(manifest: Manifest, rows: np.ndarray) -> frozenset[int]:
    """Those of these rows whose remote shards are not worth fetching whole."""
    if not manifest.is_remote or not len(rows):
        return frozenset()
    shards = shards_of(manifest, rows)
    held = np.array([shard.count for shard in manifest.about.shards])
    wanted = np.bincount(shards[shards >= 0], minlength=len(held))
    few = wanted < SPARSE * held
    return frozenset(rows[(shards >= 0) & few[shards]].tolist())


def rows_of_rank(manifest: Manifest, rows: np.ndarray, rank: int, world_size: int) -> np.ndarray:
    """A rank's share of rows that are read once: every world_size-th, or of remote shards a run of whole ones."""
    if not manifest.is_remote:
        return rows[rank::world_size]
    by_shard = rows[np.argsort(shards_of(manifest, rows), kind="stable")]
    return np.array_split(by_shard, world_size)[rank]
