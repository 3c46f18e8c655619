"""`besnet bench budget`: the GPU hours of a config, from counted clips and FLOP and an assumed MFU."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from besnet.bench.flops import counted
from besnet.data.manifest import Manifest
from besnet.models.build import build_shapes
from besnet.settings import data_folder, read_settings
from besnet.training.length import Length


@dataclass(frozen=True)
class Budget:
    """clips: clips of the whole training; gflops: multiplications and additions of one clip, forward and backward."""

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
    """Estimate the GPU hours of a training: clips x FLOP per clip / (MFU x peak).

    Clips and FLOP are counted. The MFU is an assumption: `besnet bench model` measures it. Validation, evaluation,
    saving and waiting for videos are not included.

    Args:
        config: YAML file of the training.
        videos: training videos; by default those of the config's prepared data set.
        mfu: model FLOP utilisation: share of the peak that a training step reaches, 0 to 1.
        peak_tflops: the device's peak in TFLOP/s; 989 is an H100's for dense bf16.
        gpus: devices that share the work, each with data.batch_size clips at a time.
    """
    _, settings = read_settings(config)
    if videos is None:
        videos = len(Manifest.load(data_folder(config, settings)).select("train"))
    if videos < 1:
        raise ValueError(f"{videos} training videos: at least 1 is needed")
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
        f"{budget.gpu_hours / gpus:.1f} hours on {gpus}; without validation, evaluation and waiting for videos"
    )


def training_clips(videos: int, gpus: int, count: Callable[..., int]) -> tuple[int, str]:
    """The clips of a training on all devices, and the calculation in words.

    count: gives a whole number of the config by its name, and its default.
    """
    clips = videos * count("data.repeats", 1)
    clips_per_batch = min(count("data.batch_size", 8) * gpus, clips)
    batches = clips // clips_per_batch
    limit, accumulate = count("trainer.limit_train_batches", batches), count("trainer.accumulate_grad_batches", 1)
    length = Length(
        min(batches, limit), accumulate, count("trainer.max_epochs"), count("trainer.max_steps", sys.maxsize)
    )
    how = f"{length.epochs} epochs x {length.batches} micro-batches of {clips_per_batch} clips"
    if length.steps < length.epochs * length.steps_per_epoch:
        how = f"{length.steps} steps of {clips_per_batch * min(accumulate, length.batches)} clips"
    return length.micro_batches * clips_per_batch, how


def whole_number(config: Path, settings: dict[str, Any], name: str, otherwise: int | None = None) -> int:
    """A count of a config, such as trainer.max_epochs. ValueError if it is no count, or missing without a default."""
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

    model: a config's section `model`. The last layer's size hardly matters: 400 classes are counted.
    """
    network = build_shapes(model | {"num_classes": 400})
    network.check_clip(num_frames, crop_size)
    clips = torch.empty(1, 3, num_frames, crop_size, crop_size, device="meta")
    labels = torch.zeros(1, dtype=torch.int64, device="meta")
    draws = torch.zeros(network.num_temporal_layers, dtype=torch.int64)
    return counted(lambda: F.cross_entropy(network(clips, draws), labels).backward()) / 1e9
