"""The views of a video in an evaluation, and the parts of a run's config that evaluation follows."""

from dataclasses import dataclass, field, replace
from typing import Annotated, Any, NotRequired, TypedDict

import numpy as np

from besnet.data.crop import Whole, whole_of
from besnet.data.manifest import Manifest
from besnet.data.transforms import letterboxed
from besnet.ranges import check_section
from besnet.schema import Within, checked
from besnet.video.reader import Backend
from besnet.video.sampling import ClipShape

MOST_PIXELS = 2**28  # of one view: 16 frames of 4096 x 4096


@dataclass(frozen=True)
class ViewPlan:
    """The views of an evaluation: num_clips times num_crops of each video, their probabilities averaged.

    Args:
        num_clips: clips at evenly spaced times of a video.
        num_crops: squares along the longer side of every clip; 1 is the centre.
        crop_size: side of the square, pixels. None: as in training.
        short_side: what the frame's short side is resized to before, pixels. None: to crop_size.
        whole: the whole frame instead of crops, between borders of the network's mean; or borderless, where all videos
            have one shape. None: as training takes the whole frame (data.crop.kind).
        pairs: pairs of classes whose pairwise accuracy is reported, such as time reversals.
    """

    num_clips: int = 10
    num_crops: int = 3
    crop_size: int | None = None
    short_side: int | None = None
    whole: Whole | None = None
    pairs: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        check_section("evaluation", vars(self))
        if self.whole and (self.num_crops != 1 or self.short_side is not None):
            raise ValueError("evaluation: the whole frame is a single view: set num_crops to 1 and short_side to null")

    def with_views(self, num_clips: int | None, num_crops: int | None) -> "ViewPlan":
        """The same with another number of clips or crops where one is given."""
        clips = self.num_clips if num_clips is None else num_clips
        return replace(self, num_clips=clips, num_crops=self.num_crops if num_crops is None else num_crops)

    @property
    def num_views(self) -> int:
        """Views of one video."""
        return self.num_clips * self.num_crops


class CropSettings(TypedDict):
    """The part of a config's `data.crop` section that an evaluation follows."""

    kind: NotRequired[str]


class DataSettings(TypedDict):
    """The part of a config's `data:` section that defines the clips."""

    folder: str
    clip: ClipShape
    crop_size: Annotated[int, Within(1, 8192)]
    backend: NotRequired[Backend]
    crop: NotRequired[CropSettings]


class Settings(TypedDict):
    """The parts of a run's config that an evaluation of it follows."""

    data: DataSettings
    evaluation: ViewPlan


def settings(config: dict[str, Any], where: str) -> Settings:
    """These parts of a config. ValueError that names `where` it was read and the wrong field."""
    found: Settings = checked(config, Settings, f"{where}: config")
    plan = found["evaluation"]
    whole = whole_of(found["data"].get("crop", {}).get("kind"))
    if plan.whole is None and whole:
        try:
            found["evaluation"] = replace(plan, whole=whole)
        except ValueError as error:
            raise ValueError(f"{where}: config: {error}, or data.crop.kind to another one") from None
    frames, crop_size = found["data"]["clip"].num_frames, evaluation_crop_size(found)
    side = found["evaluation"].short_side or crop_size
    if side < crop_size:
        raise ValueError(f"{where}: config: evaluation.short_side {side} must be at least the crop size, {crop_size}")
    if frames * side**2 > MOST_PIXELS:
        raise ValueError(f"{where}: config: {frames} frames of {side} x {side} pixels are too large a view")
    return found


def evaluation_crop_size(config: Settings) -> int:
    """The side of an evaluation's squares, pixels: its own where the config sets one, else that of the training."""
    return config["evaluation"].crop_size or config["data"]["crop_size"]


def check_shapes(manifest: Manifest, rows: np.ndarray, whole: Whole | None, crop_size: int) -> None:
    """ValueError where videos are to be seen borderless and have different shapes: they fit into no batch."""
    if whole != "borderless":
        return
    first = None
    for row in rows.tolist():
        facts = manifest[row]
        shape = letterboxed(facts.height, facts.width, crop_size)
        first = first or (facts.id, shape)
        if shape != first[1]:
            raise ValueError(
                f"{manifest.folder}: borderless, {facts.id} has {shape[1]} x {shape[0]} pixels and {first[0]} "
                f"{first[1][1]} x {first[1][0]}: one shape is needed: set data.crop.kind to whole"
            )
