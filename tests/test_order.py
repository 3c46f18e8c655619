"""Order and chance belong to a position, not to a process."""

import itertools

import numpy as np
import pytest

from besnet.data.order import CLIP, DILATION, Key, TrainingOrder, generator

ROWS = np.arange(100, 147)


def all_ranks(world_size: int, epoch: int, samples: int = 0, repeats: int = 1) -> list[Key]:
    """What all ranks together train on, in the order of the global batches of 6."""
    orders = [TrainingOrder(ROWS, 6 // world_size, 3, rank, world_size, repeats) for rank in range(world_size)]
    for order in orders:
        order.epoch, order.samples = epoch, samples
    columns = [list(order) for order in orders]
    # rank r holds every world_size-th clip: weave them together again
    return [key for batches in zip(*columns, strict=True) for keys in zip(*batches, strict=True) for key in keys]


@pytest.mark.parametrize("world_size", [2, 3, 6])
def test_the_order_does_not_depend_on_the_number_of_ranks(world_size: int) -> None:
    for epoch in range(3):
        assert all_ranks(world_size, epoch) == all_ranks(1, epoch)


def test_an_epoch_holds_each_video_once_and_only_leaves_out_the_last_incomplete_batch() -> None:
    seen = all_ranks(1, epoch=0)
    assert len(set(seen)) == len(seen) == len(ROWS) // 6 * 6
    assert {row for _, row, _ in seen} <= set(ROWS.tolist())


def test_epochs_and_seeds_differ() -> None:
    orders = [[row for _, row, _ in all_ranks(1, epoch)] for epoch in range(3)]
    assert all(a != b for a, b in itertools.combinations(orders, 2))
    other = TrainingOrder(ROWS, 6, seed=4)
    assert [row for batch in other for _, row, _ in batch] != orders[0]


@pytest.mark.parametrize("done", range(0, 42, 6))
def test_a_resumed_epoch_is_the_rest_of_the_undisturbed_one(done: int) -> None:
    assert all_ranks(2, epoch=1, samples=done) == all_ranks(2, epoch=1)[done:]


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_repeated_videos_stay_in_one_batch_and_the_order_is_the_same(world_size: int) -> None:
    once, thrice = all_ranks(1, epoch=0), all_ranks(world_size, epoch=0, repeats=3)
    assert [key[1] for key in thrice[::3]][: len(once)] == [key[1] for key in once]
    assert len(thrice) == len(ROWS) * 3 // 6 * 6
    for start in range(0, len(thrice), 6):
        batch = thrice[start : start + 6]
        assert len({row for _, row, _ in batch}) == 2
        assert sorted(repeat for *_, repeat in batch) == [0, 0, 1, 1, 2, 2]
    order = TrainingOrder(ROWS, 6, seed=3, repeats=3)
    assert len(order) == 23
    assert order.after(0, 6 * 22) == (1, 0)
    assert all_ranks(world_size, epoch=0, samples=60, repeats=3) == thrice[60:]
    with pytest.raises(ValueError, match=r"global batch of 6 .* multiple of data.repeats"):
        TrainingOrder(ROWS, 6, seed=3, repeats=4)


def test_too_few_videos_are_refused_with_what_to_do() -> None:
    with pytest.raises(ValueError, match=r"47 training videos .* global batch of 64 .*lower data.batch_size"):
        TrainingOrder(ROWS, 32, seed=0, world_size=2)


def test_streams_of_different_purposes_and_positions_are_apart() -> None:
    positions = itertools.product((0, 1), (CLIP, DILATION), (0, 1), (0, 1))
    first = [generator(seed, purpose, a, b).integers(2**62) for seed, purpose, a, b in positions]
    assert len(set(first)) == len(first)
    assert generator(1, CLIP, 2, 3).integers(2**62) == generator(1, CLIP, 2, 3).integers(2**62)
