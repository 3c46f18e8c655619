"""`besnet bench budget`: GPU hours of a config, from what is counted and what is assumed."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from besnet.data.manifest import Manifest
from besnet.models.besnet import BesNet
from besnet.settings import data_folder, read_settings
from besnet.training.length import Length


@dataclass(frozen=True)
class Budget:
    """clips: what a training consumes; gflops: multiplications and additions of one clip, forward and backward."""

    clips: int
    gflops: float
    mfu: float
    peak_tflops: float

    @property
    def gpu_hours(self) -> float:
        return self.clips * self.gflops * 1e9 / (self.mfu * self.peak_tflops * 1e12) / 3600


def bench_budget(
    config: Path, videos: int | None = None, mfu: float = 0.2, peak_tflops: float = 989.0, gpus: int = 8
) -> None:
    """Say how many GPU hours a training takes: clips x FLOP a clip / (MFU x peak).

    Clips and FLOP are counted; the share of the peak (MFU) is assumed unless it is what `besnet bench model` measured
    there. Left out: validation, evaluation, saving, and waiting for videos.

    Args:
        config: YAML file of the training.
        videos: training videos; by default those of the config's prepared data set.
        mfu: share of the peak that a training step reaches, 0..1.
        peak_tflops: the device's peak in TFLOP/s; 989 is an H100's for dense bf16.
        gpus: devices that share the work, each with data.batch_size clips at a time.
    """
    _, settings = read_settings(config)
    if videos is None:
        videos = len(Manifest.load(data_folder(config, settings)).select("train"))
    if videos < 1:
        raise ValueError(f"{videos} training videos: there is nothing to count")
    count = partial(whole_number, config, settings)
    clips, how = training_clips(videos, gpus, count)
    num_frames, crop_size = count("data.clip.num_frames", 16), count("data.crop_size", 224)
    try:
        gflops = training_gflops(settings.get("model", {}), num_frames, crop_size)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{config}: model: {error}") from error
    budget = Budget(clips, gflops, mfu, peak_tflops)
    print(
        f"{config}: {how} = {budget.clips / 1e6:.2f} million clips of {num_frames} x "
        f"{crop_size} x {crop_size}, {budget.gflops:.1f} GFLOP each (forward and backward, 400 classes)\n"
        f"at {mfu:.0%} of {peak_tflops:g} TFLOP/s (assumed): {budget.gpu_hours:.1f} GPU hours, "
        f"{budget.gpu_hours / gpus:.1f} hours on {gpus}; validation, evaluation and waiting for videos left out"
    )


def training_clips(videos: int, gpus: int, count: Callable[..., int]) -> tuple[int, str]:
    """The clips that all devices of a training consume together, and how that number comes about in words.

    count: a whole number of the config by its name, and what it is where the config has none.
    """
    clips = videos * count("data.repeats", 1)
    at_once = min(count("data.batch_size", 8) * gpus, clips)
    batches = clips // at_once
    limit, accumulate = count("trainer.limit_train_batches", batches), count("trainer.accumulate_grad_batches", 1)
    length = Length(
        min(batches, limit), accumulate, count("trainer.max_epochs"), count("trainer.max_steps", sys.maxsize)
    )
    how = f"{length.epochs} epochs x {length.batches} micro-batches of {at_once} clips"
    if length.steps < length.epochs * length.steps_per_epoch:
        how = f"{length.steps} steps of {at_once * min(accumulate, length.batches)} clips"
    return length.micro_batches * at_once, how


def whole_number(config: Path, settings: dict[str, Any], name: str, otherwise: int | None = None) -> int:
    """A count of a config, such as trainer.max_epochs. ValueError if it is none, or not there with nothing to take."""
    value: Any = settings
    for part in name.split("."):
        value = (value or {}).get(part)
    if otherwise is not None and (value is None or (name, value) == ("trainer.max_steps", -1)):  # -1: no limit
        return otherwise
    if not isinstance(value, int) or value < 1:
        raise ValueError(f"{config}: {name} must be a whole number of at least 1, not {value}")
    return value


def training_gflops(model: dict[str, Any], num_frames: int, crop_size: int) -> float:
    """GFLOP of a training step with one clip, counted by torch without computing anything.

    model: arguments of BesNet as a config has them. The last layer's size hardly matters: 400 classes are counted.
    """
    with torch.device("meta"):
        network = BesNet(400, **model)
        clips = torch.empty(1, 3, num_frames, crop_size, crop_size)
        labels = torch.zeros(1, dtype=torch.int64)
    draws = torch.zeros(network.num_temporal_layers, dtype=torch.int64)
    with FlopCounterMode(display=False) as counter:
        F.cross_entropy(network(clips, draws), labels).backward()
    return counter.get_total_flops() / 1e9
