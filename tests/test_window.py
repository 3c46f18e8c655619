"""Few shards are open at a time, and the order is still a function of the seed and the epoch alone."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from besnet.data.balance import Balance
from besnet.data.order import TrainingOrder
from besnet.data.window import ShardWindow, most_open, spans

ROWS = np.arange(1000, 1480)
SHARDS = np.random.default_rng(0).permutation(np.repeat(np.arange(40), 12))  # of the rows


def order(rank: int = 0, world_size: int = 1, window: int = 6, groups: int = 1, machines: int = 1) -> TrainingOrder:
    found = TrainingOrder(ROWS, 12 // world_size, 3, rank, world_size)
    found.mix_shards(ShardWindow(SHARDS, window, groups, machines))
    return found


def woven(world_size: int, groups: int = 1) -> list[int]:
    columns = [
        [row for batch in order(rank, world_size, 6, groups) for _, row, _ in batch] for rank in range(world_size)
    ]
    return [row for rows in zip(*columns, strict=True) for row in rows]


@settings(deadline=None, max_examples=60)
@given(
    counts=st.lists(st.integers(1, 30), min_size=1, max_size=30),
    window=st.integers(1, 40),
    groups=st.integers(1, 5),
    seed=st.integers(0, 99),
)
def test_every_video_comes_once_and_no_group_opens_more_than_the_window(
    counts: list[int], window: int, groups: int, seed: int
) -> None:
    shards = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    drawn = ShardWindow(shards, window, groups).permutation(np.random.default_rng(seed), np.arange(len(shards)))
    assert sorted(drawn.tolist()) == list(range(len(shards)))
    for group in range(groups := min(groups, len(shards))):
        assert most_open(shards[drawn[group::groups]]) <= window


@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize("world_size", [2, 3, 4])
def test_any_ranks_have_the_same_order(world_size: int, groups: int) -> None:
    assert woven(world_size, groups) == woven(1, groups)


def test_epochs_seeds_and_windows_differ() -> None:
    first = order()
    orders = [first.epoch_rows(epoch).tolist() for epoch in range(3)] + [order(window=7).epoch_rows(0).tolist()]
    assert all(a != b for a, b in itertools.combinations(orders, 2))


def test_machines_that_divide_the_groups_read_their_own_shards_only() -> None:
    """Two machines of two ranks: the global batches hold the same videos as on one, each shard is read by one machine
    (but for the one where the groups are cut)."""
    ranks = [list(order(rank, 4, 6, 2, 2)) for rank in range(4)]
    for batches, one in zip(zip(*ranks, strict=True), order(groups=2), strict=True):
        assert {key for batch in batches for key in batch} == set(one)
    read = [
        {SHARDS[row - 1000] for rank in pair for batch in ranks[rank] for _, row, _ in batch}
        for pair in ((0, 1), (2, 3))
    ]
    assert len(read[0] & read[1]) <= 1
    assert len(read[0] | read[1]) == 40


@pytest.mark.parametrize(("world_size", "machines"), [(2, 1), (4, 2), (3, 3)])
def test_ranks_make_equal_numbers_of_steps_whatever_the_shards(world_size: int, machines: int) -> None:
    counts = np.random.default_rng(1).permutation([1, 1, 2, 3, 5, 8, 13, 40, 100, 307])
    shards = np.random.default_rng(2).permutation(np.repeat(np.arange(len(counts)), counts))
    ranks = [TrainingOrder(ROWS, 7, 3, rank, world_size) for rank in range(world_size)]
    for rank in ranks:
        rank.mix_shards(ShardWindow(shards, 3, machines, machines))
    assert {len(batch) for rank in ranks for batch in rank} == {7}
    assert {len(list(rank)) for rank in ranks} == {480 // (7 * world_size)}


def test_no_worker_and_no_machine_keeps_one_subset_of_the_shards() -> None:
    """Batch n is worker n mod 3's; two machines divide the shards, each epoch anew."""
    workers: list[set[int]] = [set(), set(), set()]
    machines: list[list[set[int]]] = [[], []]
    for epoch in range(16):
        whole = order()
        whole.epoch = epoch
        for number, batch in enumerate(whole):
            workers[number % 3] |= {SHARDS[row - 1000] for _, row, _ in batch}
        for machine, found in enumerate(machines):
            own = order(machine, 2, 6, 2, 2)
            own.epoch = epoch
            found.append({SHARDS[row - 1000] for batch in own for _, row, _ in batch})
    assert all(len(seen) == 40 for seen in workers)
    for found in machines:
        assert all(len(shards) <= 21 for shards in found)
        assert len(set.union(*found)) == 40


def test_a_resumed_epoch_is_the_rest_of_the_undisturbed_one() -> None:
    whole, rest = order(1, 2), order(1, 2)
    rest.samples = 12 * 7
    assert list(rest) == list(whole)[7:]


def test_classes_are_balanced_within_the_window() -> None:
    labels = np.where(np.arange(480) < 24, 1, 0)
    balanced = TrainingOrder(ROWS, 12, 3, balance=Balance(labels, 1.0))
    taken = sorted(balanced.epoch_rows(2).tolist())
    balanced.mix_shards(ShardWindow(SHARDS, 6))
    assert sorted(balanced.epoch_rows(2).tolist()) == taken
    assert most_open(SHARDS[balanced.epoch_rows(2) - 1000]) <= 6


def test_neighbours_are_of_one_shard_as_often_as_the_window_says() -> None:
    """240,000 videos in 470 shards."""
    shards = np.arange(240_000) // 511
    for window in (4, 16, 64):
        drawn = shards[ShardWindow(shards, window).permutation(np.random.default_rng(1), np.arange(240_000))]
        assert np.mean(drawn[1:] == drawn[:-1]) == pytest.approx(1 / window, rel=0.1)


def test_a_window_of_all_shards_is_the_order_of_all_videos() -> None:
    """Positions of a shard's videos are uniform: their mean over many draws is the middle, for each shard."""
    places = np.zeros(480)
    for seed in range(400):
        places[ShardWindow(SHARDS, 40).permutation(np.random.default_rng(seed), np.arange(480))] += np.arange(480)
    assert np.abs(places / 400 - 239.5).max() < 5 * 480 / np.sqrt(12 * 400)


def test_spans_are_the_first_and_the_last_batch_of_each_shard() -> None:
    assert list(spans(np.array([[3, 1], [1, 3], [2, 2], [1, 0]])).items()) == [
        (3, (0, 1)),
        (1, (0, 3)),
        (2, (2, 2)),
        (0, (3, 3)),
    ]
