"""Every video of a split through the network exactly once, on any number of ranks, resumable."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from besnet.checkpoints.arrays import read_arrays
from besnet.data.by_shard import rows_of_rank
from besnet.data.evaluation_clips import EvaluationClips, VideoClips
from besnet.data.loading import loader_settings
from besnet.data.manifest import Manifest
from besnet.data.transfer import to_device
from besnet.data.transforms import evaluation_views
from besnet.evaluation.forward import Chunks, Precision, forward, in_precision
from besnet.evaluation.probabilities import check_probabilities, probabilities
from besnet.evaluation.ranks import Ranks
from besnet.evaluation.views import ViewPlan, check_shapes
from besnet.files import sync_folder, write_arrays
from besnet.models.network import Network, Normalisation
from besnet.progress import Meter
from besnet.reading import read_bytes
from besnet.video.reader import Backend
from besnet.video.sampling import ClipShape
from besnet.watchdog import Pulse

PART_SEC = 60.0
LARGEST_PART = 4 * 2**30  # bytes that a rank saves in a minute


@dataclass(frozen=True)
class RowPrediction:
    """The prediction for one video: probabilities float32 (num_views, C), or None and the reason."""

    row: int
    probabilities: np.ndarray | None
    looped: bool = False
    why: str = ""


@dataclass(frozen=True)
class InferenceSettings:
    """Clips, crops and their size, the workers and the decoder that read them, and the network's arithmetic.

    multi_label: the network's probabilities are those of each class by itself. compile: the network is compiled.
    """

    shape: ClipShape
    plan: ViewPlan
    crop_size: int
    workers: int
    backend: Backend
    precision: Precision = "32"
    multi_label: bool = False
    compile: bool = False


def run_inference(
    network: Network,
    manifest: Manifest,
    rows: np.ndarray,
    settings: InferenceSettings,
    ranks: Ranks,
    parts: Path,
    pulse: Pulse,
) -> tuple[list[RowPrediction], int]:
    """The predictions for `rows`, in their order, on rank 0 (elsewhere an empty list), and how many of them are new.

    Each rank takes its share of those that are not yet in the folder `parts`, and saves its predictions there every
    minute, so that a killed evaluation resumes. No rank waits for another until the one gather at the end.
    """
    left = ranks.rank == 0 and list(read_parts(parts, rows, settings.plan.num_views, settings.multi_label))
    done: list[RowPrediction] = ranks.broadcast(left)
    known = {prediction.row for prediction in done}
    todo = np.array([row for row in rows if row not in known], dtype=np.int64)
    mine = rows_of_rank(manifest, todo, ranks.rank, ranks.world_size)
    fresh: list[RowPrediction] = []
    unsaved: list[RowPrediction] = []
    saved_sec = time.monotonic()
    meter = Meter(len(mine), "videos", quiet=ranks.rank > 0)
    for prediction in predict_videos(network, manifest, mine, settings, ranks.device, partial(pulse, "evaluation")):
        fresh.append(prediction)
        unsaved.append(prediction)
        meter.add(1)
        if time.monotonic() - saved_sec > PART_SEC:
            write_part(parts, ranks.rank, unsaved)
            unsaved, saved_sec = [], time.monotonic()
    meter.close()
    pulse.wait_for_others()
    new = ranks.gather(fresh)
    pulse("writing the results")
    everything = {prediction.row: prediction for prediction in [*new, *done]}
    if ranks.rank > 0:
        return [], 0
    assert everything.keys() == set(map(int, rows)), "each video exactly once"
    return [everything[int(row)] for row in rows], len(new)


def predict_videos(
    network: Network,
    manifest: Manifest,
    rows: np.ndarray,
    settings: InferenceSettings,
    device: torch.device,
    beat: Callable[[], object],
) -> Iterator[RowPrediction]:
    """The predictions for `rows`, in about their order. beat is called for every video that has been read."""
    run = in_precision(network, settings.precision)
    if settings.compile:
        run = torch.compile(run)
    for video, logits in outputs(run, network.normalisation, manifest, rows, settings, device, beat):
        if logits is None:
            yield RowPrediction(video.row, None, why=video.why)
            continue
        shares = probabilities(logits, manifest[video.row].id, settings.multi_label)
        yield RowPrediction(video.row, shares, video.looped)


def outputs(
    run: Callable[[Tensor], Tensor],
    normalisation: Normalisation,
    manifest: Manifest,
    rows: np.ndarray,
    settings: InferenceSettings,
    device: torch.device,
    beat: Callable[[], object],
) -> Iterator[tuple[VideoClips, Tensor | None]]:
    """Each of `rows`, without its frames, with what `run` makes of its views (num_views, 3, T, S, S); None where it
    cannot be read. In about their order. beat is called for every video that has been read."""
    clips = EvaluationClips(manifest, rows, settings.shape, settings.plan.num_clips, settings.backend)
    loader = DataLoader(clips, batch_size=None, **loader_settings(min(settings.workers, len(rows)), device))
    together: Chunks[VideoClips] = Chunks(run)
    size, plan = settings.crop_size, settings.plan
    check_shapes(manifest, rows, plan.whole, size)
    for video in loader:
        beat()
        if video.frames is None:
            yield video, None
            continue
        (frames,) = to_device([video.frames], device)
        views = evaluation_views(frames, size, plan.num_crops, normalisation, plan.short_side, plan.whole or False)
        if device.type == "cpu":  # nothing is gained there by more views at once
            yield replace(video, frames=None), forward(run, views)
        else:
            yield from together.add(replace(video, frames=None), views)
    yield from together.rest()


def write_part(folder: Path, rank: int, batch: list[RowPrediction]) -> None:
    """Save predictions, whole or not at all. Videos that could not be read are left out: they are tried again."""
    read = [prediction for prediction in batch if prediction.probabilities is not None]
    write_arrays(
        folder / f"part-{rank}-{time.time_ns()}.npz",
        read=np.array([prediction.row for prediction in read]),
        looped=np.array([prediction.looped for prediction in read]),
        probabilities=np.array([prediction.probabilities for prediction in read], dtype=np.float32),
    )
    sync_folder(folder)


def read_parts(folder: Path, rows: np.ndarray, num_views: int, multi_label: bool = False) -> Iterator[RowPrediction]:
    """The predictions for some of these rows that an unfinished evaluation saved. Damaged files are deleted: their
    videos are evaluated again."""
    wanted = set(rows.tolist())
    for path in sorted(folder.glob("part-*.npz")):
        try:
            yield from part_predictions(path, wanted, num_views, multi_label)
        except (ValueError, KeyError):
            path.unlink()


def part_predictions(path: Path, wanted: set[int], num_views: int, multi_label: bool) -> list[RowPrediction]:
    """The predictions in one file. ValueError or KeyError if it is damaged or of another evaluation."""
    part = read_arrays(path, read_bytes(path, LARGEST_PART))
    rows, shares, looped = part["read"], part["probabilities"], part["looped"]
    if not len(rows):
        return []
    if shares.shape[:2] != (len(rows), num_views) or looped.shape != rows.shape or not wanted.issuperset(rows.tolist()):
        raise ValueError(f"{path}: of another evaluation")
    check_probabilities(shares, str(path), multi_label)
    return [RowPrediction(*entry) for entry in zip(rows.tolist(), shares, looped.tolist(), strict=True)]
