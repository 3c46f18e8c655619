"""BatchNorm statistics for a network with averaged dilations, measured on training videos and kept beside it.

The statistics gathered in training belong to single draws of the dilations; averaged activations vary less.
"""

import hashlib
import io
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from besnet.checkpoints.arrays import check_zip
from besnet.checkpoints.header import LoadedCheckpoint
from besnet.checkpoints.store import Stored, bytes_hash
from besnet.data.evaluation_clips import EvaluationClips
from besnet.data.loading import loader_settings
from besnet.data.manifest import Manifest
from besnet.data.order import sample
from besnet.data.transforms import evaluation_views
from besnet.evaluation.inference import InferenceSettings
from besnet.evaluation.ranks import Ranks
from besnet.evaluation.views import check_shapes
from besnet.files import replacing
from besnet.models.network import Network
from besnet.models.recalibration import load_statistics, mean_of_batches, measure_batch, norm_channels
from besnet.reading import read_bytes

BATCH_SIZE = 16  # clips that are measured together, at most
LARGEST = 64 * 2**20  # bytes of a file of statistics


def recalibrate(
    network: Network,
    manifest: Manifest,
    videos: int,
    settings: InferenceSettings,
    ranks: Ranks,
    beat: Callable[[], None] = lambda: None,
) -> tuple[Tensor, int]:
    """Set a network's BatchNorm statistics to those of drawn training videos: middle clip, centre crop.

    The ranks share the batches; the result does not depend on their number. A video that cannot be read is left out;
    ValueError if none can. beat is called after every batch. Returns, on every rank, the statistics, float64 (2,
    channels of all BatchNorms), and the number of videos measured.
    """
    rows = drawn_rows(manifest, videos)
    check_shapes(manifest, rows, settings.plan.whole, settings.crop_size)
    batches = equal_batches(len(rows))
    mine = range(ranks.rank, len(batches), ranks.world_size)
    clips_of = EvaluationClips(manifest, rows, settings.shape, num_clips=1, backend=settings.backend)
    arguments = loader_settings(min(settings.workers, len(mine)), ranks.device, list)
    loader = DataLoader(clips_of, batch_sampler=[batches[number] for number in mine], **arguments)
    found: list[tuple[int, int, Tensor]] = []
    size, plan, own = settings.crop_size, settings.plan, network.normalisation
    for number, batch in zip(mine, loader, strict=True):
        clips = [
            evaluation_views(v.frames.to(ranks.device), size, 1, own, plan.short_side, plan.whole or False)
            for v in batch
            if v.frames is not None
        ]
        if clips:
            found.append((number, len(clips), measure_batch(network, torch.cat(clips))))
        beat()
    everything = ranks.broadcast(sorted(ranks.gather(found), key=lambda entry: entry[0]))
    if not everything:
        raise ValueError(f"{manifest.folder}: none of {len(rows)} training videos could be read to recalibrate on")
    counts = torch.tensor([clips for _, clips, _ in everything])
    statistics = mean_of_batches(torch.stack([measured for _, _, measured in everything]), counts)
    if not statistics.isfinite().all():
        raise ValueError(f"{manifest.folder}: the network's activations on training videos are not finite")
    load_statistics(network, statistics)
    return statistics, int(counts.sum())


def equal_batches(count: int) -> list[list[int]]:
    """So many clips in batches of at most BATCH_SIZE, whose sizes differ by one at most: no clip is left alone."""
    return [part.tolist() for part in np.array_split(np.arange(count), -(-count // BATCH_SIZE))]


def drawn_rows(manifest: Manifest, videos: int) -> np.ndarray:
    """Rows of at most so many training videos, in a drawn order, so that every batch of them has many classes.

    ValueError if there are none.
    """
    train = manifest.select("train")
    if not len(train):
        raise ValueError(f"{manifest.folder}: no readable video in the train split to recalibrate on")
    return sample(train, videos)


def recalibrated(
    trained: LoadedCheckpoint,
    checkpoint: Stored,
    manifest: Manifest,
    videos: int,
    raw: bool,
    settings: InferenceSettings,
    ranks: Ranks,
    beat: Callable[[], None],
) -> tuple[str, int]:
    """Recalibrate a checkpoint's network on training videos of a data set, with the clips and crops of an evaluation.

    Returns the name of the file beside the checkpoint, and how many videos were measured. Statistics that were measured
    before with the same weights, data, clips and dilations are read from that file.
    """
    about = {
        "checkpoint": checkpoint.hash,
        "no_ema": raw,
        "dilations": list(trained.network.dilations),
        "videos": videos,
        "sample": "drawn",  # until revision a702f46 they were evenly spread over the list
        "passport": asdict(manifest.passport),
        "clip": asdict(settings.shape),
        "crop_size": settings.crop_size,
        "backend": settings.backend,
    }
    if settings.plan.short_side is not None:
        about["short_side"] = settings.plan.short_side
    if settings.plan.whole:
        about["whole"] = settings.plan.whole
    path = checkpoint.path
    known = ranks.broadcast(find(path, about, norm_channels(trained.network)) if ranks.rank == 0 else None)
    if known is not None:
        name, statistics, measured = known
        load_statistics(trained.network, statistics)
        return name, measured
    network = trained.network
    statistics, measured = recalibrate(network, manifest, videos, settings, ranks, beat)
    name = ranks.broadcast(write(path, about, statistics, measured).name if ranks.rank == 0 else None)
    return name, measured


def write(checkpoint: Path, about: dict[str, Any], statistics: Tensor, measured: int) -> Path:
    """Keep statistics as `<checkpoint>-<first 16 digits of their SHA-256>.norms`, whole or not at all."""
    content = io.BytesIO()
    torch.save({"about": json.dumps(about), "statistics": statistics, "measured": measured}, content)
    digest = hashlib.sha256(content.getvalue()).hexdigest()[:16]
    path = checkpoint.parent / f"{checkpoint.stem}-{digest}.norms"
    with replacing(path) as file:
        file.write(content.getvalue())
    return path


def find(checkpoint: Path, about: dict[str, Any], channels: int) -> tuple[str, Tensor, int] | None:
    """The name, the statistics and the number of videos of a file that holds what `about` says, its bytes unchanged."""
    for path in sorted(checkpoint.parent.glob(f"{checkpoint.stem}-*.norms")):
        content = read_bytes(path, LARGEST)
        if path.stem.endswith(bytes_hash(content)):
            check_zip(path, io.BytesIO(content), packed=False)
            kept = torch.load(io.BytesIO(content), weights_only=True)
            if kept["about"] == json.dumps(about):
                statistics: Tensor = kept["statistics"]
                if statistics.shape != (2, channels) or not statistics.isfinite().all():
                    raise ValueError(f"{path}: not the statistics of this network: delete it")
                return path.name, statistics, int(kept["measured"])
    return None
