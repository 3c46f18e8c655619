"""Every video of a split through the network exactly once, on any number of ranks, resumable."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader

from besnet.checkpoints.arrays import read_arrays
from besnet.data.clips import EvaluationClips, loader_settings
from besnet.data.manifest import Manifest
from besnet.data.transforms import evaluation_views
from besnet.evaluation.probabilities import check_probabilities, softmax
from besnet.evaluation.ranks import Ranks
from besnet.evaluation.views import ViewPlan
from besnet.files import sync_folder, write_arrays
from besnet.progress import Meter
from besnet.reading import read_bytes
from besnet.video.reader import Backend
from besnet.video.sampling import ClipShape
from besnet.watchdog import Pulse

PART_SEC = 60.0
VIEWS_PER_BATCH = 10
LARGEST_PART = 4 * 2**30  # bytes that a rank leaves in a minute


@dataclass(frozen=True)
class RowPrediction:
    """What the network said about one video: probabilities float32 (num_views, C), or None and why."""

    row: int
    probabilities: np.ndarray | None
    looped: bool = False
    why: str = ""


@dataclass(frozen=True)
class InferenceSettings:
    """How every video is looked at: which clips and crops, at what size, read by how many workers with what decoder."""

    shape: ClipShape
    plan: ViewPlan
    crop_size: int
    workers: int
    backend: Backend


def answers(
    network: nn.Module,
    manifest: Manifest,
    rows: np.ndarray,
    looking: InferenceSettings,
    ranks: Ranks,
    parts: Path,
    pulse: Pulse,
) -> tuple[list[RowPrediction], int]:
    """The answers for `rows`, in their order, on rank 0 (elsewhere an empty list), and how many of them are new.

    Each rank takes rows[rank::world_size] of what is not yet in the folder `parts`, and leaves its answers there every
    minute, so that an evaluation that was killed goes on. No rank waits for another until the one gather at the end.
    """
    left = ranks.rank == 0 and list(read_parts(parts, rows, looking.plan.num_views))
    done: list[RowPrediction] = ranks.broadcast(left)
    known = {answer.row for answer in done}
    mine = np.array([row for row in rows if row not in known], dtype=np.int64)[ranks.rank :: ranks.world_size]
    fresh: list[RowPrediction] = []
    unsaved: list[RowPrediction] = []
    saved_sec = time.monotonic()
    meter = Meter(len(mine), "videos", quiet=ranks.rank > 0)
    for answer in stream(network, manifest, mine, looking, ranks.device):
        pulse("evaluation")
        fresh.append(answer)
        unsaved.append(answer)
        meter.add(1)
        if time.monotonic() - saved_sec > PART_SEC:
            write_part(parts, ranks.rank, unsaved)
            unsaved, saved_sec = [], time.monotonic()
    meter.close()
    pulse.wait_for_others()
    new = ranks.gather(fresh)
    pulse("writing the results")
    everything = {answer.row: answer for answer in [*new, *done]}
    if ranks.rank > 0:
        return [], 0
    assert everything.keys() == set(map(int, rows)), "each video exactly once"
    return [everything[int(row)] for row in rows], len(new)


def stream(
    network: nn.Module,
    manifest: Manifest,
    rows: np.ndarray,
    looking: InferenceSettings,
    device: torch.device,
) -> Iterator[RowPrediction]:
    """The network's answers for `rows`, one video at a time: so they do not depend on what else is evaluated."""
    views = EvaluationClips(manifest, rows, looking.shape, looking.plan.num_clips, looking.backend)
    loader = DataLoader(views, batch_size=None, **loader_settings(min(looking.workers, len(rows)), device))
    for video in loader:
        if video.frames is None:
            yield RowPrediction(video.row, None, why=video.why)
            continue
        with torch.inference_mode():
            clips = evaluation_views(video.frames.to(device), looking.crop_size, looking.plan.num_crops)
            logits = torch.cat([network(chunk) for chunk in clips.split(VIEWS_PER_BATCH)])
            probabilities = softmax(logits, manifest[video.row].id)
        yield RowPrediction(video.row, probabilities, video.looped)


def write_part(folder: Path, rank: int, batch: list[RowPrediction]) -> None:
    """Leave answers on the disk, whole or not at all; a video that could not be read is tried again instead."""
    read = [answer for answer in batch if answer.probabilities is not None]
    write_arrays(
        folder / f"part-{rank}-{time.time_ns()}.npz",
        read=np.array([answer.row for answer in read]),
        looped=np.array([answer.looped for answer in read]),
        probabilities=np.array([answer.probabilities for answer in read], dtype=np.float32),
    )
    sync_folder(folder)


def read_parts(folder: Path, rows: np.ndarray, num_views: int) -> Iterator[RowPrediction]:
    """The answers for some of these rows that an earlier, unfinished evaluation left. What is damaged is deleted: its
    videos are evaluated again."""
    wanted = set(rows.tolist())
    for path in sorted(folder.glob("part-*.npz")):
        try:
            yield from part_answers(path, wanted, num_views)
        except (ValueError, KeyError):
            path.unlink()


def part_answers(path: Path, wanted: set[int], num_views: int) -> list[RowPrediction]:
    """The answers in one file. ValueError or KeyError if it is damaged, or not of this evaluation."""
    part = read_arrays(path, read_bytes(path, LARGEST_PART))
    rows, shares, looped = part["read"], part["probabilities"], part["looped"]
    if not len(rows):
        return []
    if shares.shape[:2] != (len(rows), num_views) or looped.shape != rows.shape or not wanted.issuperset(rows.tolist()):
        raise ValueError(f"{path}: of another evaluation")
    check_probabilities(shares, str(path))
    return [RowPrediction(*entry) for entry in zip(rows.tolist(), shares, looped.tolist(), strict=True)]
