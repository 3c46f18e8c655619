"""Features of videos, computed once: kept in a folder by the data, the weights and the views that they belong to."""

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from besnet.checkpoints.arrays import read_arrays
from besnet.data.manifest import Manifest
from besnet.evaluation.inference import LARGEST_PART, PART_SEC, InferenceSettings, outputs
from besnet.evaluation.probabilities import check_finite
from besnet.files import sync_folder, write_arrays, write_json
from besnet.models.network import Network
from besnet.progress import Meter
from besnet.reading import parse_json, read_bytes
from besnet.watchdog import Pulse


@dataclass(frozen=True)
class VideoFeatures:
    """What a network's last layer is given for one video: float32 (num_views, F), or None and the reason."""

    row: int
    features: np.ndarray | None
    looped: bool = False
    why: str = ""


class FeatureCache:
    """A folder below `place` for the features of one network, data set and plan of views.

    network: its `features` are wanted. weights: the hash of its weights. mirrored: the views are mirrored. ValueError
    where the folder holds something else.
    """

    def __init__(
        self,
        place: Path,
        network: Network,
        weights: str,
        manifest: Manifest,
        settings: InferenceSettings,
        mirrored: bool,
    ) -> None:
        if manifest.maps is not None:
            raise ValueError(f"{manifest.folder}: keeps maps: features are computed of the prepared videos: name these")
        self.network, self.manifest, self.settings, self.mirrored = network, manifest, settings, mirrored
        identity: dict[str, Any] = {
            "passport": asdict(manifest.passport),
            "weights": weights,
            "dilations": list(network.dilations),
            "normalisation": list(map(list, network.normalisation)),
            "clip": asdict(settings.shape),
            "views": asdict(settings.plan),
            "crop_size": settings.crop_size,
            "backend": settings.backend,
            "mirrored": mirrored,
        }
        text = json.dumps(identity, sort_keys=True)
        self.folder = place / hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
        about = self.folder / "about.json"
        if not about.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            write_json(about, identity)
        if parse_json(about) != json.loads(text):
            raise ValueError(f"{self.folder}: holds other features: choose another folder with --cache")

    def of(self, rows: np.ndarray, device: torch.device, pulse: Pulse) -> list[VideoFeatures]:
        """The features of these rows, in their order: those that are kept, and new ones, which are kept every minute.

        What cannot be read is not kept: it is tried again the next time.
        """
        found = dict(self._kept(set(rows.tolist())))
        left = np.array([row for row in rows.tolist() if row not in found], dtype=np.int64)
        unsaved: list[VideoFeatures] = []
        saved_sec = time.monotonic()
        meter = Meter(len(left), "videos", quiet=not len(left))
        try:
            for one in self._computed(left, device, partial(pulse, "features")):
                found[one.row] = one
                unsaved += [one] if one.features is not None else []
                meter.add(1)
                if time.monotonic() - saved_sec > PART_SEC:
                    self._keep(unsaved)
                    unsaved, saved_sec = [], time.monotonic()
        finally:
            meter.close()
            self._keep(unsaved)
        return [found[row] for row in rows.tolist()]

    def _computed(self, rows: np.ndarray, device: torch.device, beat: Callable[[], object]) -> Iterator[VideoFeatures]:
        features = self.network.features
        run = (lambda views: features(views.flip(-1))) if self.mirrored else features
        for video, found in outputs(run, self.network.normalisation, self.manifest, rows, self.settings, device, beat):
            if found is None:
                yield VideoFeatures(video.row, None, why=video.why)
                continue
            check_finite(found, self.manifest[video.row].id)
            yield VideoFeatures(video.row, found.float().cpu().numpy(), video.looped)

    def _keep(self, some: list[VideoFeatures]) -> None:
        if not some:
            return
        write_arrays(
            self.folder / f"part-{time.time_ns()}.npz",
            rows=np.array([one.row for one in some]),
            looped=np.array([one.looped for one in some]),
            features=np.array([one.features for one in some], dtype=np.float32),
        )
        sync_folder(self.folder)

    def _kept(self, wanted: set[int]) -> Iterator[tuple[int, VideoFeatures]]:
        """Rows with their features. A damaged file is deleted: its videos are computed again."""
        for path in sorted(self.folder.glob("part-*.npz")):
            try:
                part = read_arrays(path, read_bytes(path, LARGEST_PART))
                check_part(part, self.settings.plan.num_views, str(path))
            except (ValueError, KeyError):
                path.unlink()
                continue
            for row, features, looped in zip(part["rows"].tolist(), part["features"], part["looped"], strict=True):
                if row in wanted:
                    yield row, VideoFeatures(row, features, bool(looped))


def check_part(part: Mapping[str, np.ndarray], num_views: int, where: str) -> None:
    """ValueError or KeyError where a file does not hold features of rows."""
    rows, features, looped = part["rows"], part["features"], part["looped"]
    if features.shape[:2] != (len(rows), num_views) or features.ndim != 3 or looped.shape != rows.shape:
        raise ValueError(f"{where}: not the features of these views")
    if features.dtype != np.float32 or rows.dtype.kind != "i" or not np.isfinite(features).all():
        raise ValueError(f"{where}: damaged")
