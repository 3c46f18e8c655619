"""The data of a training run: manifest → loaders in an order that only the seed decides."""

import difflib
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from besnet.data.ahead import ShardsAhead
from besnet.data.augment import Augmentation
from besnet.data.balance import Balance
from besnet.data.clips import Clip, ClipBatch, ClipDraw, TrainingClips, collate
from besnet.data.crop import RandomCrop
from besnet.data.evaluation_clips import EvaluationClips, VideoClips
from besnet.data.failures import FailureLog
from besnet.data.loading import PREFETCHED, loader_settings
from besnet.data.manifest import Manifest
from besnet.data.manifest_writing import load_checked
from besnet.data.order import TrainingOrder, sample
from besnet.data.streaming import Streaming
from besnet.ranges import check_section
from besnet.video.reader import Backend
from besnet.video.sampling import ClipShape


class VideoData(pl.LightningDataModule):
    """Training clips and validation views of a prepared data set.

    Args:
        folder: prepared data set (what `besnet prepare` wrote).
        clip: how a clip is picked from a video.
        crop: how a rectangle is picked from its frames in training.
        crop_size: side of the network's square input, pixels.
        batch_size: clips in a micro-batch of each rank.
        workers: decoding processes of each rank; 0 decodes in the training process.
        backend: video decoder.
        val_videos: validation videos after each epoch, drawn once for the whole run; 0 for no validation.
        val_split: the validation split.
        augmentation: further changes of training clips; null for none.
        no_flip: names of classes whose clips are never mirrored, because left and right matter.
        intervals: factors on clip.frame_interval, such as [1, 2], of which each training clip draws one; null for
            none.
        repeats: clips of each video in a training batch, each drawn by itself (repeated augmentation); an epoch is that
            many times longer.
        balance: takes rare classes more often: a class of n videos comes in proportion to n ** (1 - balance), in epochs
            of the same length. 0.5 is usual, 1 makes all classes equal; null takes each video once.
        shuffle: `videos` draws the order of an epoch from all videos; `shards` mixes the videos of few shards at a
            time, so that each shard is fetched once per epoch; null for `shards` where the data is remote.
        shuffle_window: with `shards`: how many shards are mixed at a time.
        shuffle_groups: with `shards`: groups of shards, each with a window of its own; with as many groups as machines
            (or a multiple), each machine fetches only its own shards.
    """

    def __init__(
        self,
        folder: Path,
        clip: ClipShape,
        crop: RandomCrop,
        crop_size: int = 224,
        batch_size: int = 8,
        workers: int = 4,
        backend: Backend = "pyav",
        val_videos: int = 0,
        val_split: str = "val",
        augmentation: Augmentation | None = None,
        no_flip: list[str] | None = None,
        intervals: list[float] | None = None,
        repeats: int = 1,
        balance: float | None = None,
        shuffle: Literal["videos", "shards"] | None = None,
        shuffle_window: int = 16,
        shuffle_groups: int = 1,
    ) -> None:
        super().__init__()
        counts = {"crop_size": crop_size, "batch_size": batch_size, "workers": workers}
        counts |= {"val_videos": val_videos, "repeats": repeats}
        counts |= {"shuffle_window": shuffle_window, "shuffle_groups": shuffle_groups}
        check_section("data", counts | {"intervals": intervals, "balance": balance})
        self.folder = folder
        self.clip = clip
        self.crop = crop
        self.crop_size = crop_size
        self.batch_size = batch_size
        self.workers = workers
        self.backend: Backend = backend
        self.manifest = load_checked(folder)
        self.train_rows = self.manifest.select("train")
        if not len(self.train_rows):
            raise ValueError(f"{folder}: no readable video in the train split")
        labelled = self.manifest.select(val_split)
        if not self.manifest.multi_label:
            labelled = labelled[self.manifest.labels[labelled] >= 0]
        self.val_rows = sample(labelled, val_videos)
        if val_videos and not len(self.val_rows):
            raise ValueError(
                f"{folder}: no readable video with a label in the split {val_split}: set data.val_videos to 0"
            )
        self.augmentation = augmentation
        self.no_flip = class_numbers(self.manifest, no_flip or [])
        self.intervals = tuple(intervals or ())
        for factor in self.intervals:
            if why := clip.cannot_space(factor):
                raise ValueError(f"data.intervals {factor:g}: {why}")
        self.repeats = repeats
        if balance is not None and self.manifest.multi_label:
            raise ValueError(f"data.balance: {folder} has several labels per video: leave it out")
        self.balance = Balance(self.manifest.labels[self.train_rows], balance) if balance is not None else None
        self.shuffle = shuffle or ("shards" if self.manifest.is_remote else "videos")
        self.streaming = Streaming(self.manifest, self.train_rows, shuffle_window, shuffle_groups)
        self.order: TrainingOrder
        self.seed = 0
        self.failures: FailureLog | None = None

    def arrange(
        self, seed: int, rank: int, world_size: int, failures: FailureLog, limit: int | None = None, machines: int = 1
    ) -> None:
        """Fix the order of the clips for this rank; limit: micro-batches of an epoch, where it is to be shorter."""
        if 0 < len(self.val_rows) < world_size:
            raise ValueError(
                f"{self.folder}: {len(self.val_rows)} validation videos for {world_size} ranks: raise data.val_videos, "
                "or set it to 0"
            )
        self.seed = seed
        self.failures = failures
        self.order = TrainingOrder(
            self.train_rows, self.batch_size, seed, rank, world_size, self.repeats, limit, self.balance
        )
        if self.shuffle == "shards":
            self.streaming.check_cache(machines, self.batch_size * (world_size // machines))
            self.order.mix_shards(self.streaming.window(machines))

    def train_dataloader(self) -> DataLoader[Clip]:
        """Micro-batches of drawn clips, from the position of `order` on."""
        assert self.failures is not None
        substitutes = self.failures.substitutes()
        clips = TrainingClips(
            self.manifest,
            self.train_rows,
            ClipDraw(self.clip, self.crop, self.augmentation, self.no_flip, self.intervals),
            self.seed,
            self.backend,
            substitutes,
        )
        settings = loader_settings(self.workers, self._device(), collate)
        window = self.order.window
        if self.manifest.is_remote and window is not None:
            first_here = self.order.rank % (self.order.world_size // window.machines) == 0
            ahead = ShardsAhead(self.order, self.manifest, self.streaming.shards, self.in_flight, first_here)
            return DataLoader(clips, batch_sampler=ahead, **settings)
        return DataLoader(clips, batch_sampler=self.order, **settings)

    @property
    def in_flight(self) -> int:
        """Micro-batches of a rank that its workers have begun and the training has not yet had."""
        return self.workers * PREFETCHED + 1

    @property
    def own_val_rows(self) -> np.ndarray:
        """This rank's share of the validation videos."""
        return self.val_rows[self.order.rank :: self.order.world_size]

    def val_dataloader(self) -> DataLoader[VideoClips]:
        """One centre clip of this rank's share of the validation videos."""
        views = EvaluationClips(self.manifest, self.own_val_rows, self.clip, num_clips=1, backend=self.backend)
        return DataLoader(views, batch_size=self.batch_size, **loader_settings(self.workers, self._device(), list))

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Training clips travel as uint8; validation views are moved one video at a time."""
        return batch.to(device) if isinstance(batch, ClipBatch) else batch

    def _device(self) -> torch.device:
        return self.trainer.strategy.root_device if self.trainer is not None else torch.device("cpu")


def class_numbers(manifest: Manifest, names: list[str]) -> frozenset[int]:
    """The labels of named classes. ValueError with the nearest name for one that the data does not have."""
    for name in names:
        if name not in manifest.classes:
            near = difflib.get_close_matches(name, manifest.classes, n=1)
            hint = f": did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"data.no_flip: {manifest.folder} has no class {name!r}{hint}")
    return frozenset(manifest.classes.index(name) for name in names)
