"""Whether the loaders keep up with the devices: clips per second that the cores decode and the network computes."""

import time
from dataclasses import dataclass
from itertools import islice
from typing import Any

import psutil

from besnet.bench.budget import training_gflops
from besnet.data.clips import ClipDraw, TrainingClips
from besnet.data.order import TrainingOrder
from besnet.training.data import VideoData
from besnet.training.machine_checks import Finding, Needs, gigabytes, usable_cores

WORKER_BYTES = 200e6  # what a loader worker has for itself; the manifest and the libraries are shared
SAMPLE_SEC, MOST_CLIPS = 2.0, 64
PEAK_TFLOPS, MFU = 989.0, 0.35  # an H100's for dense bf16, and the share of it that a good training step reaches


@dataclass(frozen=True)
class Loading:
    """What a training clip costs its loader: seconds of one core, and bytes that travel to the device."""

    core_sec: float
    clip_bytes: float


def measured(data: VideoData) -> Loading | None:
    """The cost of the first clips of a training, decoded here for a few seconds. None if none is readable."""
    draw = ClipDraw(data.clip, data.crop, data.augmentation, data.no_flip, data.intervals)
    clips = TrainingClips(data.manifest, data.train_rows, draw, seed=0, backend=data.backend)
    order = TrainingOrder(data.train_rows, 1, seed=0, repeats=data.repeats, balance=data.balance)
    begun_sec, spent_sec, sizes = time.monotonic(), 0.0, []
    for (key,) in islice(order, MOST_CLIPS):
        started_sec = time.process_time()
        try:
            sizes.append(clips[key].frames.nbytes)
        except (ValueError, OSError):
            continue
        if len(sizes) > 1:  # the first one loads the decoder
            spent_sec += time.process_time() - started_sec
        if time.monotonic() - begun_sec > SAMPLE_SEC and len(sizes) > 1:
            break
    return Loading(spent_sec / (len(sizes) - 1), sum(sizes) / len(sizes)) if len(sizes) > 1 else None


def pipeline(loading: Loading, needs: Needs, model: dict[str, Any], data: VideoData, on_gpu: bool) -> list[Finding]:
    """Loaded and computed clips per second of one machine, what travels to its devices, and what the workers take."""
    cores = usable_cores()
    busy = min(needs.local_ranks * max(1, needs.workers), max(1, cores - needs.local_ranks * (needs.workers > 0)))
    loaded = busy / loading.core_sec
    found = (
        f"{1e3 * loading.core_sec:.0f} ms of a core a clip: {busy} cores load at most {loaded:,.0f} clips/s, "
        f"{gigabytes(int(loading.clip_bytes * loaded))}/s"
    )
    if on_gpu:
        computed = (
            needs.local_ranks * PEAK_TFLOPS * MFU * 1e3 / training_gflops(model, data.clip.num_frames, data.crop_size)
        )
        found += f"; {needs.local_ranks} x H100 at {MFU:.0%} of the peak compute {computed:,.0f} (an estimate)"
        if loaded < computed:
            found += f" and would wait: {needs.local_ranks + computed * loading.core_sec:,.0f} cores keep up"
    workers = needs.local_ranks * needs.workers
    wanted, free = int(workers * WORKER_BYTES), psutil.virtual_memory().available
    memory = f"{gigabytes(free)} free, about {gigabytes(wanted)} needed for {workers} workers"
    fix = "" if wanted <= free else f"--data.workers={int(free / WORKER_BYTES / needs.local_ranks)}"
    return [Finding("loading", found), Finding("memory", memory, fix)]
