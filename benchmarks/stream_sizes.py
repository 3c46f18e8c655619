"""A Kinetics-sized training from shards, without its videos: the time of its order, and what its machines fetch.

    python -m benchmarks.stream_sizes      # the table of docs/training.md and LOG.md, in half a minute

240,000 rows in 470 shards of 140 GB in all. For each size of the job and each window: bytes that a machine fetches in
an epoch, its most open shards and the cache they need, and how well the videos are mixed: the share of neighbours from
one shard, how many shards a global batch of 64 clips has, and the rank correlation of the places in the epoch that two
videos of one shard have (0 in the order of all videos).
"""

import resource
import sys
import time

import numpy as np

from besnet.data.order import TrainingOrder
from besnet.data.window import ShardWindow, most_open, spans

ROWS, SHARDS, GIGABYTES = 240_000, 470, 140.0
RANKS_A_MACHINE, BATCH = 8, 8
CASES = [(8, 4, 1), (8, 16, 1), (8, 64, 1), (8, 470, 1), (64, 16, 1), (64, 16, 8), (64, 64, 8)]
BOUND_SEC, BOUND_MB = 3.0, 300


def main() -> int:
    rows = np.arange(ROWS)
    shards = np.random.default_rng(0).permutation(rows * SHARDS // ROWS)  # a list's order has nothing to do with them
    before_mb = peak_mb()
    began_sec = time.perf_counter()
    first = TrainingOrder(rows, BATCH, 0, 63, 64)
    first.mix_shards(ShardWindow(shards, 16, 8, 8))
    next(iter(first))
    took_sec, took_mb = time.perf_counter() - began_sec, peak_mb() - before_mb
    print(f"order drawn and first keys on rank 63 of 64: {took_sec:.2f} s, {took_mb:.0f} MB")
    each = GIGABYTES / SHARDS
    print(
        "ranks  machines  window  groups  GB per machine an epoch  most open  cache GB  neighbours  shards in 64 clips"
        "  correlation"
    )
    for ranks, window, groups in CASES:
        machines = ranks // RANKS_A_MACHINE
        order = TrainingOrder(rows, BATCH, 0, 0, ranks)
        order.mix_shards(ShardWindow(shards, window, groups, machines))
        drawn = shards[order.epoch_rows(0)]
        whole = drawn[: len(drawn) // ranks * ranks].reshape(-1, ranks)
        places = [order.window.place(rank, ranks) for rank in range(RANKS_A_MACHINE)] if order.window else []
        own = whole[:, sorted(places)].ravel()
        batches = drawn[: ROWS // 64 * 64].reshape(-1, 64)
        mixed = np.mean([len(np.unique(batch)) for batch in batches])
        print(
            f"{ranks:5}  {machines:8}  {window:6}  {groups:6}  {len(spans(own.reshape(-1, 1))) * each:21.1f}  "
            f"{most_open(own):9}  {most_open(own) * each:8.1f}  {np.mean(drawn[1:] == drawn[:-1]):10.4f}  {mixed:18.1f}"
            f"{correlation(drawn):13.3f}"
        )
    return 0 if took_sec < BOUND_SEC and took_mb < BOUND_MB else 1


def correlation(drawn: np.ndarray) -> float:
    """Rank correlation of the places of two videos of one shard; drawn: int, the shard at each place."""
    # the places of one shard, in random order, then those of the next
    places = np.lexsort((np.random.default_rng(0).random(len(drawn)), drawn))
    pairs = drawn[places[1:]] == drawn[places[:-1]]
    return float(np.corrcoef(places[1:][pairs], places[:-1][pairs])[0, 1])


def peak_mb() -> float:
    """The most memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    sys.exit(main())
