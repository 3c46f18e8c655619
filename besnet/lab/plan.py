"""The plan of a lab's evaluation and the files of its predictions: shared by the lab and its inference workers."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from torch import Tensor

from besnet.data.crop import Whole
from besnet.data.manifest import Manifest
from besnet.data.transforms import evaluation_views
from besnet.files import write_json
from besnet.formats import stamp
from besnet.models.network import Normalisation
from besnet.reading import read_json
from besnet.video.reader import Backend
from besnet.video.sampling import ClipShape

# of inference variants: one dilation at a time and the average of all; zeros and replicate; each with BatchNorm
# measured again
Family = Literal["dilations", "padding", "recalibrated"]
CHUNK = 64  # videos whose predictions are kept in one file


@dataclass(frozen=True)
class Checkpoint:
    """A trained network of the lab: the run's name, the file, the hash of the file.

    network: module:Class of a network of the user's own, as the config or the control names it; None for others.
    """

    run: str
    file: str
    hash: str
    network: str | None = None


@dataclass(frozen=True)
class Plan:
    """How every checkpoint is evaluated.

    folder: prepared data set; passport: of its source and encode. fixed: dilations that are evaluated one at a time,
    and averaged. factors: on the frame interval. families: of inference variants. recalibration_videos: of the training
    split, one clip each.
    """

    folder: str
    passport: dict[str, str]
    split: str
    clip: dict[str, Any]
    crop_size: int
    num_clips: int
    num_crops: int
    fixed: list[int]
    factors: list[float]
    families: list[Family]
    recalibration_videos: int
    backend: Backend
    checkpoints: list[Checkpoint]
    short_side: int | None = None
    whole: Whole = False

    def views(self, clips: Tensor, num_crops: int, normalisation: Normalisation) -> Tensor:
        """What the networks see of a video's clips, see besnet.data.transforms.evaluation_views."""
        return evaluation_views(clips, self.crop_size, num_crops, normalisation, self.short_side, self.whole)

    @property
    def shape(self) -> ClipShape:
        """The clip that the networks were trained on."""
        return ClipShape(**self.clip)

    def rows(self, manifest: Manifest) -> np.ndarray:
        """The readable videos of the split."""
        return manifest.select(self.split)

    @property
    def settings(self) -> dict[str, Any]:
        """What decides the predictions of a checkpoint."""
        return {name: value for name, value in asdict(self).items() if name not in ("checkpoints", "folder")}

    def place(self, root: Path, checkpoint: Checkpoint) -> Path:
        """The folder with the predictions of a checkpoint; other settings have another folder."""
        settings = self.settings
        if self.short_side is None:  # until besnet 0.2 there was no such setting
            del settings["short_side"]
        if not self.whole:
            del settings["whole"]
        settings["statistics"] = "drawn"  # until revision a702f46 their videos were evenly spread over the list
        key = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]
        return root / f"{checkpoint.run}-{checkpoint.hash}-{key}"

    def write(self, path: Path) -> None:
        """Write the plan for the inference workers."""
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, stamp("lab") | asdict(self))

    @classmethod
    def read(cls, path: Path) -> "Plan":
        """A plan as it was written."""
        plan: Plan = read_json(path, cls, "lab")
        return plan


def chunks(videos: int) -> range:
    """The numbers of the chunks of so many videos."""
    return range(-(-videos // CHUNK))


def chunk_file(place: Path, number: int) -> Path:
    """The file with the predictions for a chunk of videos."""
    return place / f"chunk_{number:06d}.npz"
