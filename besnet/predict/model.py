"""A trained network that answers: one video in, names and probabilities out, through the code that training reads with.

import besnet
model = besnet.load("runs/demo/besnet")
print(model.predict("video.mp4").top(5))
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from besnet.checkpoints import model_folder
from besnet.data.clips import read_clips
from besnet.data.transforms import evaluation_views
from besnet.evaluation.calibration import stored_temperature, tempered
from besnet.evaluation.loop import VIEWS_AT_ONCE
from besnet.evaluation.ranks import choose_device
from besnet.evaluation.views import ViewPlan
from besnet.models.folding import fold
from besnet.video.reader import Reader, open_video
from besnet.video.sampling import ClipShape, is_short, span, uniform_clips

MOST_CLIPS = 20_000  # of one timeline: two and a half hours, one every half second


@dataclass(frozen=True)
class Prediction:
    """What the network says about a video.

    probabilities: float64 (C,), the mean over its views, calibrated where the model is. clips: float32 (num_clips, C),
    each clip's own, uncalibrated; times_sec: (num_clips, 2), where each clip begins and ends. looped: the video is
    shorter than a clip and was shown repeatedly.
    """

    video: str
    classes: list[str]
    probabilities: np.ndarray
    clips: np.ndarray
    times_sec: np.ndarray
    looped: bool

    def top(self, most: int = 5) -> list[tuple[str, float]]:
        """The likeliest classes with their probabilities, the likeliest first."""
        order = np.argsort(-self.probabilities, kind="stable")[:most]
        return [(self.classes[number], float(self.probabilities[number])) for number in order]


class Model:
    """A trained network with all it needs to read videos as its training did."""

    def __init__(
        self,
        given: model_folder.Given,
        device: str = "auto",
        num_clips: int | None = None,
        num_crops: int | None = None,
    ) -> None:
        trained = given.trained
        config = trained.config
        self.device = choose_device(device)
        self.classes = trained.classes
        self.shape = ClipShape(**config["data"]["clip"])
        self.plan = ViewPlan(**config["evaluation"]).with_views(num_clips, num_crops)
        self.crop_size: int = self.plan.crop_size or config["data"]["crop_size"]
        self.temperature = given.temperature
        self.network = fold(trained.network.to(self.device))

    @property
    def calibrated(self) -> bool:
        """Whether a temperature was fitted: without one, probabilities are usually surer, or less sure, than right."""
        return self.temperature is not None

    def predict(self, video: Path | str | bytes) -> Prediction:
        """The answer for a video file (or its bytes), decoded once. ValueError if it cannot be read."""
        with open_reader(video) as reader:
            numbers = uniform_clips(reader.times_sec, self.shape, self.plan.num_clips)
            return self.answer(reader, numbers)

    def timeline(self, video: Path | str | bytes, every_sec: float | None = None) -> Prediction:
        """The same with clips all along the video, one every `every_sec` seconds (by default half a clip's length)."""
        with open_reader(video) as reader:
            length, clip = span(reader.times_sec, self.shape)
            step = every_sec if every_sec is not None and self.shape.target_fps else clip / 2
            count = 1 + max(0, round((length - clip) / step))
            if count > MOST_CLIPS:
                raise ValueError(f"{reader.name}: {count:,} clips in {length:,.0f} s are too many: raise --every_sec")
            return self.answer(reader, uniform_clips(reader.times_sec, self.shape, count))

    def answer(self, reader: Reader, numbers: np.ndarray) -> Prediction:
        """The answer for the clips with these frame numbers, int64 (num_clips, T)."""
        found = []
        for some in np.array_split(numbers, -(-len(numbers) // VIEWS_AT_ONCE)):
            views = self.views(read_clips(reader, some))
            with torch.inference_mode():
                logits = torch.cat([self.network(chunk) for chunk in views.split(VIEWS_AT_ONCE)])
            found.append(logits.float().softmax(dim=1).unflatten(0, (len(some), self.plan.num_crops)).cpu().numpy())
        probabilities = np.concatenate(found)
        mean = probabilities.mean(axis=(0, 1), dtype=np.float64)
        if self.temperature is not None:
            mean = tempered(mean[None], self.temperature)[0]
        times = reader.times_sec[np.stack([numbers.min(axis=1), numbers.max(axis=1)], axis=1)]
        looped = is_short(reader.times_sec, self.shape)
        return Prediction(reader.name, self.classes, mean, probabilities.mean(axis=1), times, looped)

    def features(self, video: Path | str | bytes) -> np.ndarray:
        """What the network sees in a video before it names it: float32 (num_features,), the mean over its views."""
        with open_reader(video) as reader:
            numbers = uniform_clips(reader.times_sec, self.shape, self.plan.num_clips)
            views = self.views(read_clips(reader, numbers))
        with torch.inference_mode():
            found = torch.cat([self.network.features(chunk) for chunk in views.split(VIEWS_AT_ONCE)])
        mean: np.ndarray = found.float().mean(dim=0).cpu().numpy()
        return mean

    def views(self, clips: Tensor) -> Tensor:
        """uint8 (num_clips, T, H, W, 3) → float32 (num_clips * num_crops, 3, T, crop_size, crop_size)."""
        return evaluation_views(clips.to(self.device), self.crop_size, self.plan.num_crops)


def with_temperature(given: model_folder.Given) -> model_folder.Given:
    """The same with the temperature that `besnet calibrate` left in its run for this checkpoint, if it did."""
    stored = stored_temperature(given.run, given.hash) if given.run is not None else None
    return replace(given, temperature=stored["temperature"]) if stored else given


def open_reader(video: Path | str | bytes) -> Reader:
    """Open a file by its path, or by its bytes."""
    return open_video(video if isinstance(video, bytes) else Path(video))


def load(path: Path | str, device: str = "auto", num_clips: int | None = None, num_crops: int | None = None) -> Model:
    """Load a model folder, a run folder (its newest good checkpoint) or a checkpoint file, ready to answer.

    num_clips, num_crops: views of a video; by default as its config evaluates. ValueError if it cannot be used.
    """
    return Model(with_temperature(model_folder.given(Path(path))), device, num_clips, num_crops)
