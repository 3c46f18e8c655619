"""Ids and draws of an epoch are the same on any number of ranks and workers, from files and from shards."""

import hashlib
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader

from besnet.data.augment import Augmentation
from besnet.data.clips import ClipDraw, TrainingClips, collate
from besnet.data.crop import RandomCrop
from besnet.data.loading import loader_settings
from besnet.data.manifest import Manifest
from besnet.data.order import TrainingOrder
from besnet.data.prepare import prepare
from besnet.video.sampling import ClipShape

EPOCHS, GLOBAL_BATCH = 3, 6
Drawn = tuple[int, str, bool, str, str]


def drawn(manifest: Manifest, world_size: int, workers: int) -> list[Drawn]:
    """(epoch, id, flip, changes, hash of the frames) of every clip of three epochs, global batch by global batch."""
    rows = manifest.select("train")
    shape, crop = ClipShape(num_frames=4, frame_interval=2, speed=(0.8, 1.25)), RandomCrop(short_side=(1.0, 1.5))
    augmentation = Augmentation(colour=0.4, rand_augment=2, erase=0.25)
    columns: list[list[list[Drawn]]] = []
    for rank in range(world_size):
        order = TrainingOrder(rows, GLOBAL_BATCH // world_size, seed=5, rank=rank, world_size=world_size)
        clips = TrainingClips(manifest, rows, ClipDraw(shape, crop, augmentation), seed=5)
        settings = loader_settings(workers, torch.device("cpu"), collate)
        loader = DataLoader(clips, batch_sampler=order, **settings)
        batches = []
        for epoch in range(EPOCHS):
            order.epoch = epoch
            for batch in loader:
                hashes = [hashlib.sha256(frames.numpy().tobytes()).hexdigest() for frames in batch.frames]
                ids = [manifest[row].id for row in batch.rows]
                changes = [repr(drawn) for drawn in batch.changes]
                batches.append([(epoch, *facts) for facts in zip(ids, batch.flips, changes, hashes, strict=True)])
        columns.append(batches)
    # rank r holds every world_size-th clip: weave them together again
    return [clip for batches in zip(*columns, strict=True) for clips in zip(*batches, strict=True) for clip in clips]


@pytest.fixture(scope="module")
def alone(squares: Path) -> list[Drawn]:
    """What one rank without workers draws from files."""
    return drawn(Manifest.load(squares), 1, 0)


@pytest.fixture(scope="module")
def sources(squares: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Manifest]:
    """The same bytes as files and in shards."""
    out = tmp_path_factory.mktemp("shards") / "prepared"
    prepare(squares.parent / "index.csv", out, copy=True, workers=1, videos_per_shard=10)
    return {"files": Manifest.load(squares), "shards": Manifest.load(out)}


def test_three_epochs_hold_every_video_three_times_never_drawn_alike(alone: list[Drawn]) -> None:
    ids = [video for _, video, *_ in alone]
    assert all(ids.count(video) == EPOCHS for video in set(ids))
    assert len(set(ids)) == 24
    assert len({frames for *_, frames in alone}) == len(alone)
    assert len({changes for *_, changes, _ in alone}) == len(alone)


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize("workers", [0, 1, 4])
@pytest.mark.parametrize("world_size", [1, 2, 3])
@pytest.mark.parametrize("source", ["files", "shards"])
def test_ranks_workers_and_shards_change_nothing(
    sources: dict[str, Manifest], alone: list[Drawn], source: str, world_size: int, workers: int
) -> None:
    torch.multiprocessing.set_forkserver_preload(["besnet.data.clips"])
    assert drawn(sources[source], world_size, workers) == alone
