"""The range of every number in configs and on command lines."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Range:
    """Numbers from `least` to `most`, inclusive unless `open_below` or `open_above`.

    whole: whole numbers only. items: the field is a list of such numbers; fewest and most items. besides: single values
    with a meaning of their own.
    """

    least: float
    most: float
    whole: bool = False
    open_below: bool = False
    open_above: bool = False
    items: tuple[int, int] | None = None
    besides: tuple[int | str, ...] = ()

    def fault(self, value: object) -> str:
        """What a wrong value must be, to follow `must `; empty for a right one."""
        if self.items is None:
            return self.fault_of_one(value)
        fewest, most = self.items
        if not isinstance(value, list | tuple) or not fewest <= len(value) <= most:
            return f"be a list of {fewest} to {most} numbers, not {shown(value)}"
        return next(filter(None, map(self.fault_of_one, value)), "")

    def fault_of_one(self, value: object) -> str:
        """The same for a single value; nan, text and booleans are not numbers."""
        also = f", or {' or '.join(map(str, self.besides))}" if self.besides else ""
        if any(type(value) is type(one) and value == one for one in self.besides):
            return ""
        if isinstance(value, bool) or not isinstance(value, int if self.whole else int | float) or value != value:
            return f"be a {'whole ' if self.whole else ''}number{also}, not {shown(value)}"
        if value < self.least or (self.open_below and value == self.least):
            return f"be {'above' if self.open_below else 'at least'} {self.least:.10g}{also}, not {shown(value)}"
        if value > self.most or (self.open_above and value == self.most):
            return f"be {'below' if self.open_above else 'at most'} {self.most:.10g}{also}, not {shown(value)}"
        return ""


def shown(value: object) -> str:
    """A value, short enough for one line."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10**15:
        return f"{math.copysign(1, value) * 10 ** min(300, len(str(abs(value))[:400]) - 1):.0e}"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def count(most: float, least: float = 1, **more: Any) -> Range:
    """Whole numbers up to `most`."""
    return Range(least, most, whole=True, **more)


SHARE = Range(0, 1)
OPEN_SHARE = Range(0, 1, open_above=True)
SEED = count(2**32 - 1, least=0)
FRAMES, INTERVAL = count(4096), count(10_000)
SIDE = count(8192)
BATCH = count(65_536)
CLASSES = count(1_000_000)
CLIPS, CROPS = count(1000), count(100)
VIDEOS = count(10**9)
PROCESSES = count(1024)
WORKERS = count(1024, least=0)
SECONDS = Range(1, 10**7)
DILATIONS = count(1024, items=(0, 64))
BLOCKS = count(100, items=(1, 8))
WIDTH = count(512)
ALPHA = Range(0.001, 100)
POWER = Range(0, 1, open_below=True)
WATCHDOG = Range(0.05, 20_000)  # minutes
CLIP = {"num_frames": FRAMES, "frame_interval": INTERVAL, "target_fps": Range(0.01, 1000), "grid": INTERVAL,
        "speed": Range(0.01, 100, items=(2, 2))}  # fmt: skip
CROP = {"short_side": Range(1, 100, items=(2, 2)), "area": Range(1e-4, 1, items=(2, 2)),
        "aspect": Range(0.01, 100, items=(2, 2)), "flip": SHARE}  # fmt: skip
AUGMENTATION = {"colour": SHARE, "hue": Range(0, 0.5), "rand_augment": count(100, least=0), "magnitude": Range(0, 10),
                "erase": SHARE}  # fmt: skip

# Of a config, by section; null is allowed where the field allows it.
RANGES: dict[str, Any] = {
    "seed": SEED,
    "model": {
        "num_classes": CLASSES, "dilations": DILATIONS, "blocks": BLOCKS, "width": WIDTH, "dropout": OPEN_SHARE,
        "activation_checkpointing": count(8, items=(0, 8)), "mean": Range(0, 1, items=(3, 3)),
        "std": Range(0, 1, open_below=True, items=(3, 3)), "taps_after": count(1000, least=0),
    },
    "data": {
        "clip": CLIP, "crop": CROP, "augmentation": AUGMENTATION, "crop_size": SIDE, "batch_size": BATCH,
        "workers": WORKERS, "val_videos": count(10**9, least=0), "repeats": PROCESSES,
        "intervals": Range(0.01, 100, items=(0, 100)), "balance": POWER,
        "shuffle_window": count(10**6), "shuffle_groups": count(10_000),
    },
    "recipe": {
        "lr": Range(0, 10_000, open_below=True), "momentum": OPEN_SHARE, "weight_decay": Range(0, 10),
        "warmup_epochs": Range(0, 10**6), "final_lr": SHARE, "label_smoothing": OPEN_SHARE, "mixup": ALPHA,
        "cutmix": ALPHA, "ohem": BATCH, "ema": Range(0, 1, open_below=True, open_above=True), "precise_bn": VIDEOS,
        "lr_batch": VIDEOS, "freeze": count(1000, least=0, besides=("backbone",)),
        "class_weights": Range(0, 1, open_below=True, besides=("balanced",)),
        "layer_decay": Range(0, 1, open_below=True), "head_lr": Range(0, 10_000, open_below=True),
    },
    "saving": {
        "every_steps": count(10**9), "every_minutes": Range(0.001, 10**6), "keep": count(10_000),
        "keep_best": count(1000, least=0), "patience": count(10**6),
        "watchdog_minutes": WATCHDOG,
    },
    "evaluation": {"num_clips": CLIPS, "num_crops": CROPS, "crop_size": SIDE, "short_side": SIDE},
    "trainer": {
        "num_nodes": count(10_000), "max_epochs": count(10**6), "max_steps": count(10**9, besides=(-1,)),
        "check_val_every_n_epoch": count(10**6), "log_every_n_steps": count(10**9),
        "accumulate_grad_batches": count(10**5), "gradient_clip_val": Range(0, 10**6, open_below=True),
        "limit_train_batches": count(10**9),
    },
}  # fmt: skip

# How a network with published weights takes videos.
INPUT = {
    "num_frames": FRAMES, "frame_interval": INTERVAL, "target_fps": CLIP["target_fps"], "crop_size": SIDE,
    "mean": Range(0, 1, items=(3, 3)), "std": Range(0, 1, open_below=True, items=(3, 3)),
}  # fmt: skip

OF_INPUT = {f"input.{name}": allowed for name, allowed in INPUT.items()}

# Of each verb's arguments.
ARGUMENTS: dict[str, dict[str, Range]] = {
    "draw": {"seed": SEED, "train_videos": VIDEOS, "test_videos": VIDEOS, "workers": PROCESSES,
             "speeds": Range(0.1, 10, items=(1, 20))},
    "learn": {"minutes": Range(0, 10**5), "seed": SEED, "workers": WORKERS},
    "doubts": {"seed": SEED, "workers": WORKERS, "watchdog_minutes": WATCHDOG, **OF_INPUT},
    "prepare": {"official_split": count(3), "short_side": SIDE, "videos_per_shard": VIDEOS, "workers": PROCESSES,
                "timeout_sec": SECONDS},
    "maps": {"watchdog_minutes": WATCHDOG},
    "verify": {"decode": SHARE, "workers": PROCESSES, "timeout_sec": SECONDS},
    "evaluate": {"num_clips": CLIPS, "num_crops": CROPS, "dilations": DILATIONS, "workers": WORKERS,
                 "recalibrate": VIDEOS, "watchdog_minutes": WATCHDOG, **OF_INPUT},
    "evaluate --spans": {"every_sec": Range(0.001, 10**6), "watchdog_minutes": WATCHDOG},
    "export": OF_INPUT,
    "lab": {"seeds": PROCESSES, "primary_seeds": PROCESSES, "max_parallel": PROCESSES, "threads": PROCESSES,
            "num_clips": CLIPS, "frame_interval_scales": Range(0.01, 100, items=(1, 100)),
            "recalibration_videos": VIDEOS},
    "lab --power": {"effect": Range(0.01, 100), "videos": VIDEOS},
    "predict": {"num_clips": CLIPS, "num_crops": CROPS, "every_sec": Range(0.001, 10**6),
                "watchdog_minutes": WATCHDOG, **OF_INPUT},
    "probe": {"num_clips": CLIPS, "num_crops": CROPS, "workers": WORKERS, "watchdog_minutes": WATCHDOG,
              "strengths": Range(1e-9, 1e9, items=(1, 100)), **OF_INPUT},
    "features": {"num_clips": CLIPS, "num_crops": CROPS, "watchdog_minutes": WATCHDOG, **OF_INPUT},
    "launch": {"nproc_per_node": PROCESSES, "nnodes": count(10_000), "node_rank": count(10_000, least=0),
               "max_restarts": count(10**6, least=0), "warn_sec": count(10**6), "parts": count(100_000)},
    "bench model": {"num_frames": FRAMES, "crop_size": SIDE, "batch_size": BATCH, "num_classes": CLASSES,
                    "dilations": DILATIONS, "blocks": BLOCKS, "width": WIDTH, "rounds": count(10_000)},
    "bench budget": {"videos": count(10**12), "mfu": Range(0, 1, open_below=True),
                     "peak_tflops": Range(0, 10**6, open_below=True), "gpus": count(10**6)},
}  # fmt: skip


def check_section(name: str, values: Mapping[str, Any]) -> None:
    """ValueError that names the field of a config's section ("data.clip"; "" for all) whose number is out of range."""
    ranges = RANGES
    for part in name.split(".") if name else ():
        ranges = ranges[part]
    check_all(ranges, values, f"{name}." if name else "")


def check_arguments(verb: str, values: Mapping[str, Any]) -> None:
    """ValueError that names the argument of a verb whose number is out of range."""
    check_all(ARGUMENTS.get(verb, {}), values, "--")


def check_all(ranges: Mapping[str, Any], values: Mapping[str, Any], prefix: str) -> None:
    """ValueError for the first value out of its range; null, true and false are not checked here."""
    for field, allowed in ranges.items():
        value = values.get(field)
        if isinstance(allowed, Mapping):
            if isinstance(value, Mapping):
                check_all(allowed, value, f"{prefix}{field}.")
        elif value is not None and not isinstance(value, bool):
            fault = allowed.fault(value)
            if fault:
                raise ValueError(f"{prefix}{field} must {fault}")
