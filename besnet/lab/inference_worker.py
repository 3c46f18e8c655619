"""The inference worker of a lab: `python -m besnet.lab.inference_worker STAGE WORKER WORKERS PLAN ...`, its share.

Every video is opened once for all networks, their inference variants and all frame intervals.
"""

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from besnet.data.evaluation_clips import read_clips
from besnet.data.fetching import Unreachable
from besnet.data.loading import loader_settings
from besnet.data.manifest import Manifest
from besnet.evaluation.forward import view_probabilities
from besnet.evaluation.ranks import choose_device
from besnet.evaluation.recalibration import drawn_rows, equal_batches
from besnet.files import write_arrays
from besnet.lab.inference_variants import (
    InferenceVariant,
    inference_variants,
    loaded,
    network_for,
    ready_network,
    seeing,
)
from besnet.lab.plan import CHUNK, Checkpoint, Plan, chunk_file, chunks
from besnet.models.network import Network, Normalisation
from besnet.models.recalibration import measure_batch
from besnet.supervision import end_with_launcher
from besnet.video.sampling import ClipShape, is_short, uniform_clips
from besnet.watchdog import Pulse, watched

WATCHDOG_MINUTES = 30.0
NETWORK_BYTES = 4e9  # of networks that are held at once


@dataclass(frozen=True)
class VideoIntervals:
    """One video's clips at every frame interval, uint8 (intervals, num_clips, T, H, W, 3), or the reason for None."""

    row: int
    clips: Tensor | None
    looped: tuple[bool, ...] = ()
    why: str = ""


class IntervalClips(Dataset[VideoIntervals]):
    """The test clips of videos for several clip shapes; each video is decoded once."""

    def __init__(
        self, manifest: Manifest, rows: np.ndarray, shapes: list[ClipShape], num_clips: int, plan: Plan
    ) -> None:
        self.manifest, self.rows, self.shapes, self.num_clips, self.plan = manifest, rows, shapes, num_clips, plan

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, position: int) -> VideoIntervals:
        row = int(self.rows[position])
        try:
            with self.manifest.open(row, self.plan.backend) as reader:
                numbers = np.stack([uniform_clips(reader.times_sec, shape, self.num_clips) for shape in self.shapes])
                clips = read_clips(reader, numbers.reshape(-1, numbers.shape[-1]))
                looped = tuple(is_short(reader.times_sec, shape) for shape in self.shapes)
        except Unreachable:
            raise
        except (ValueError, OSError) as error:
            return VideoIntervals(row, None, why=str(error))
        return VideoIntervals(row, clips.unflatten(0, numbers.shape[:2]), looped)


def videos(
    plan: Plan, manifest: Manifest, rows: np.ndarray, shapes: list[ClipShape], num_clips: int
) -> Iterator[VideoIntervals]:
    """Decode `rows` in order; with a GPU in processes of their own."""
    device = choose_device("auto")
    workers = 0 if device.type == "cpu" else min(8, max(1, len(os.sched_getaffinity(0)) - 1))
    settings = loader_settings(min(workers, len(rows)), device)
    yield from DataLoader(IntervalClips(manifest, rows, shapes, num_clips, plan), batch_size=None, **settings)


def recalibrate(plan: Plan, root: Path, worker: int, workers: int, pulse: Pulse) -> None:
    """Measure the BatchNorm statistics of this worker's share of the networks, for every padding of the plan."""
    todo = []
    for checkpoint in plan.checkpoints:
        wanted = {one.padding: one for one in chosen(plan, loaded(checkpoint)).values() if one.recalibrated}
        for variant in wanted.values():
            todo.append((checkpoint, variant, statistics_file(plan.place(root, checkpoint), variant)))
    # the share first: it must not depend on what other workers have written
    todo = [entry for entry in todo[worker::workers] if not entry[2].exists()]
    if not todo:
        return
    manifest = Manifest.load(Path(plan.folder))
    rows = drawn_rows(manifest, plan.recalibration_videos)
    device = choose_device("auto")
    clips = [video.clips[0] for video in videos(plan, manifest, rows, [plan.shape], 1) if video.clips is not None]
    if not clips:
        raise ValueError(f"{plan.folder}: none of {len(rows)} training videos could be read to recalibrate on")
    batches = [[clips[number] for number in batch] for batch in equal_batches(len(clips))]
    for checkpoint, variant, path in todo:
        pulse(f"recalibration of {checkpoint.run}")
        network = seeing(plan, network_for(loaded(checkpoint), variant, checkpoint.network)).to(device)
        own = network.normalisation
        measured = [
            measure_batch(
                network,
                torch.cat([plan.views(clip.to(device), 1, own) for clip in batch]),
            )
            for batch in batches
        ]
        write_arrays(path, measured=torch.stack(measured).numpy(), clips=np.array([len(batch) for batch in batches]))


def predict(plan: Plan, root: Path, worker: int, workers: int, pulse: Pulse) -> None:
    """Predict this worker's share of the videos with every network that has not predicted them yet."""
    manifest = Manifest.load(Path(plan.folder))
    rows = plan.rows(manifest)
    numbers = chunks(len(rows))[worker::workers]
    for group in groups(plan.checkpoints):
        todo = [(number, checkpoint) for number in numbers for checkpoint in group
                if not chunk_file(plan.place(root, checkpoint), number).exists()]  # fmt: skip
        if todo:
            predict_group(plan, root, manifest, rows, todo, pulse)


def predict_group(
    plan: Plan, root: Path, manifest: Manifest, rows: np.ndarray, todo: list[tuple[int, Checkpoint]], pulse: Pulse
) -> None:
    """Predict chunk by chunk; todo: (number of a chunk, checkpoint that lacks it), in the order of the chunks."""
    device = choose_device("auto")
    networks: dict[Checkpoint, dict[str, tuple[InferenceVariant, Network]]] = {}
    for checkpoint in dict.fromkeys(checkpoint for _, checkpoint in todo):
        networks[checkpoint] = built(plan, root, checkpoint, device)
    factors = sorted({one.factor for variants in networks.values() for one, _ in variants.values()})
    shapes = [plan.shape.spaced(factor) for factor in factors]
    numbers = list(dict.fromkeys(number for number, _ in todo))
    wanted = np.concatenate([rows[number * CHUNK : (number + 1) * CHUNK] for number in numbers])
    stream = videos(plan, manifest, wanted, shapes, plan.num_clips)
    for number in numbers:
        mine = [checkpoint for which, checkpoint in todo if which == number]
        kept: dict[Checkpoint, dict[InferenceVariant, list[np.ndarray]]] = {checkpoint: {} for checkpoint in mine}
        decoded = [next(stream) for _ in rows[number * CHUNK : (number + 1) * CHUNK]]
        read = [(video, video.clips) for video in decoded if video.clips is not None]
        for video, intervals in read:
            pulse(f"evaluation of chunk {number}")
            for clips, factor in zip(intervals, factors, strict=True):
                views: dict[Normalisation, Tensor] = {}
                for checkpoint in mine:
                    for variant, network in networks[checkpoint].values():
                        if variant.factor == factor:
                            own = network.normalisation
                            if own not in views:
                                views[own] = plan.views(clips.to(device), plan.num_crops, own)
                            what = f"{manifest[video.row].id}: {checkpoint.run}"
                            shares = view_probabilities(network, views[own], what)
                            kept[checkpoint].setdefault(variant, []).append(shares.mean(axis=0))
        facts = {
            "rows": np.array([video.row for video in decoded]),
            "why": np.array([video.why for video in decoded], dtype=np.str_),
            "read": np.array([video.row for video, _ in read], dtype=np.int64),
            "factors": np.array(factors),
            "looped": np.array([video.looped for video, _ in read], dtype=bool).reshape(len(read), len(factors)),
        }
        for checkpoint in mine:
            found = {
                name: np.stack(kept[checkpoint][variant]) if read else np.zeros((0, 0), dtype=np.float32)
                for name, (variant, _) in networks[checkpoint].items()
            }
            write_arrays(chunk_file(plan.place(root, checkpoint), number), **facts, **found)


def chosen(plan: Plan, content: dict[str, Any]) -> dict[str, InferenceVariant]:
    """The inference variants of a checkpoint in the plan."""
    return inference_variants(content, plan.fixed, plan.factors, plan.families)


def built(
    plan: Plan, root: Path, checkpoint: Checkpoint, device: torch.device
) -> dict[str, tuple[InferenceVariant, Network]]:
    """The inference variants of a checkpoint by name, with their networks; those that differ only in the frame interval
    share one."""
    content = loaded(checkpoint)
    place = plan.place(root, checkpoint)
    made: dict[InferenceVariant, Network] = {}
    found: dict[str, tuple[InferenceVariant, Network]] = {}
    first: dict[InferenceVariant, str] = {}
    for name, variant in chosen(plan, content).items():
        if variant in first:
            continue
        first[variant] = name
        at_one = InferenceVariant(variant.dilations, variant.padding, variant.recalibrated)
        if at_one not in made:
            file = statistics_file(place, variant)
            made[at_one] = ready_network(content, at_one, file, device, plan, checkpoint.network)
        found[name] = (variant, made[at_one])
    return found


def statistics_file(place: Path, variant: InferenceVariant) -> Path:
    """The file of the recalibrated statistics of a variant."""
    return place / f"statistics_{variant.padding or 'own'}.npz"


def groups(checkpoints: list[Checkpoint]) -> list[list[Checkpoint]]:
    """The checkpoints in groups that fit into memory; each network is held in about eight variants."""
    found: list[list[Checkpoint]] = [[]]
    held = 0.0
    for checkpoint in checkpoints:
        size = 8.0 * os.path.getsize(checkpoint.file) / 3  # two thirds of the file are the optimiser's
        if found[-1] and held + size > NETWORK_BYTES:
            found.append([])
            held = 0.0
        found[-1].append(checkpoint)
        held += size
    return found


if __name__ == "__main__":
    end_with_launcher()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", 1)))
    stage, worker, workers, *plans = sys.argv[1:]
    with watched(WATCHDOG_MINUTES, int(worker), "a bound of the lab") as pulse:
        for path in map(Path, plans):
            {"recalibrate": recalibrate, "predict": predict}[stage](
                Plan.read(path), path.parent, int(worker), int(workers), pulse
            )
