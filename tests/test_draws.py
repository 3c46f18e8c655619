"""What an epoch shows is a function of the seed: the same videos, clips and dilations on any ranks and workers."""

import hashlib
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from besnet.data.crop import RandomCrop
from besnet.data.failures import FailureLog
from besnet.data.order import DILATION, generator
from besnet.data.prepare import prepare
from besnet.training.data import VideoData
from besnet.video.sampling import ClipShape

GLOBAL_BATCH = 6
EPOCHS = 3
Seen = dict[tuple[int, int, int], str]  # (epoch, place in the epoch's order, row) → hash of what was drawn


@pytest.fixture(scope="module")
def shards(squares: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The squares as shards that keep the original streams: the same pictures from other places."""
    out = tmp_path_factory.mktemp("shards")
    prepare(squares.parent / "index.csv", out, copy=True, videos_per_shard=7, workers=1)
    return out


def three_epochs(
    folder: Path,
    out: Path,
    ranks: int,
    workers: int,
    shuffle: Literal["videos", "shards"] | None = None,
    window: int = 16,
) -> Seen:
    """What all ranks together see in three epochs."""
    seen: Seen = {}
    for rank in range(ranks):
        per_rank = GLOBAL_BATCH // ranks
        data = VideoData(folder, ClipShape(4, 2), RandomCrop(), crop_size=32, batch_size=per_rank, workers=workers,
                         shuffle=shuffle, shuffle_window=window)  # fmt: skip
        data.arrange(7, rank, ranks, FailureLog(out, rank, len(data.train_rows)))
        data.order.epoch, data.order.samples = 0, 0
        loader = data.train_dataloader()
        for epoch in range(EPOCHS):
            data.order.epoch = epoch
            for number, batch in enumerate(loader):
                for place, (row, frames, flip) in enumerate(zip(batch.rows, batch.frames, batch.flips, strict=True)):
                    drawn = hashlib.sha256(frames.numpy().tobytes() + bytes([flip])).hexdigest()
                    seen[epoch, number * GLOBAL_BATCH + place * ranks + rank, row] = drawn
    return seen


@pytest.fixture(scope="module")
def expected(squares: Path, tmp_path_factory: pytest.TempPathFactory) -> Seen:
    """One rank, no workers, files."""
    return three_epochs(squares, tmp_path_factory.mktemp("expected"), ranks=1, workers=0)


def check(expected: Seen, squares: Path, shards: Path, out: Path, ranks: int, workers: int) -> None:
    for folder in (squares, shards):
        assert three_epochs(folder, out, ranks, workers) == expected


def test_epochs_differ_and_hold_every_video_once(expected: Seen) -> None:
    for epoch in range(EPOCHS):
        assert sorted(row for other, _, row in expected if other == epoch) == list(range(24))
    orders = [[row for other, _, row in sorted(expected) if other == epoch] for epoch in range(EPOCHS)]
    assert orders[0] != orders[1] != orders[2]
    clips = [{row: drawn for (other, _, row), drawn in expected.items() if other == epoch} for epoch in range(EPOCHS)]
    assert sum(clips[0][row] == clips[1][row] for row in range(24)) < 6


@pytest.mark.parametrize(("ranks", "workers"), [(2, 0), (3, 1)])
def test_any_ranks_and_workers(
    expected: Seen, squares: Path, shards: Path, tmp_path: Path, ranks: int, workers: int
) -> None:
    check(expected, squares, shards, tmp_path, ranks, workers)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize("workers", [0, 1, 4])
@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_one_two_and_three_ranks_by_none_one_and_four_workers(
    expected: Seen, squares: Path, shards: Path, tmp_path: Path, ranks: int, workers: int
) -> None:
    check(expected, squares, shards, tmp_path, ranks, workers)


def test_dilations_do_not_know_the_rank() -> None:
    """They are drawn from the seed and the micro-batch's number alone, evenly and independently for each layer."""
    draws = np.stack([generator(7, DILATION, step).integers(2, size=32) for step in range(400)])
    assert abs(draws.mean() - 0.5) < 0.02
    assert np.abs(np.corrcoef(draws.T) - np.eye(32)).max() < 0.25
