"""`besnet bench budget`: GPU hours of a config, from what is counted and what is assumed."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
import yaml
from torch.utils.flop_counter import FlopCounterMode

from besnet.data.manifest import Manifest
from besnet.models.besnet import BesNet


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
        gpus: devices that share the work.
    """
    if not 0 < mfu <= 1 or peak_tflops <= 0 or gpus < 1:
        raise ValueError("--mfu must be in 0..1, --peak_tflops positive and --gpus at least 1")
    settings = yaml.safe_load(config.read_text())
    if videos is None:
        videos = len(Manifest.load(Path(settings["data"]["folder"])).select("train"))
    epochs = settings["trainer"]["max_epochs"] * settings["data"].get("repeats", 1)
    clip, crop_size = settings["data"].get("clip", {}), settings["data"].get("crop_size", 224)
    num_frames = clip.get("num_frames", 16)
    budget = Budget(
        videos * epochs, training_gflops(settings.get("model", {}), num_frames, crop_size), mfu, peak_tflops
    )
    print(
        f"{config}: {videos} videos x {epochs} epochs = {budget.clips / 1e6:.2f} million clips of {num_frames} x "
        f"{crop_size} x {crop_size}, {budget.gflops:.1f} GFLOP each (forward and backward, 400 classes)\n"
        f"at {mfu:.0%} of {peak_tflops:g} TFLOP/s (assumed): {budget.gpu_hours:.1f} GPU hours, "
        f"{budget.gpu_hours / gpus:.1f} hours on {gpus}; validation, evaluation and waiting for videos left out"
    )


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
