"""A trained network for predictions: a video in, class names and probabilities out. Videos are read as in training.

import besnet
model = besnet.load("runs/demo/besnet")
print(model.predict("video.mp4").top(5))
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from torch import Tensor

from besnet.checkpoints import model_folder
from besnet.checkpoints.published_model import AS_STATED, published_model
from besnet.checkpoints.temperature import UNKNOWN, check_thresholds, stored_temperature
from besnet.checkpoints.weights_source import library_network
from besnet.data.evaluation_clips import read_clips
from besnet.data.transforms import evaluation_views
from besnet.evaluation.forward import VIEWS_PER_CHUNK, mean_features, view_probabilities
from besnet.evaluation.ranks import choose_device
from besnet.evaluation.tempering import tempered
from besnet.evaluation.views import ViewPlan, evaluation_crop_size, settings
from besnet.models.folding import fold
from besnet.video.durations import duration_sec, frame_period_sec
from besnet.video.opening import open_video
from besnet.video.reader import Reader
from besnet.video.sampling import ClipShape, check_clips, is_short, span, uniform_clips, window_clips


@dataclass(frozen=True)
class Prediction:
    """The network's prediction for a video.

    probabilities: float64 (C,), the mean over its views, calibrated where the model is. clips: float64 (num_clips, C),
    each clip's own, calibrated likewise. numbers: int64 (num_clips, T), the frames of each clip; times_sec: (num_clips,
    2), where it begins and ends. looped: the video is shorter than a clip and was shown repeatedly. thresholds: where a
    video has several labels, the probability of each class from which on it has it, float64 (C,); else None.
    length_sec: of the video; period_sec: how long it shows a frame.
    """

    video: str
    classes: list[str]
    probabilities: np.ndarray
    clips: np.ndarray
    numbers: np.ndarray
    times_sec: np.ndarray
    looped: bool
    thresholds: np.ndarray | None = None
    length_sec: float = 0.0
    period_sec: float = 0.0

    def labels(self) -> list[tuple[str, float]]:
        """The classes that the video shows with their probabilities, the most probable first: those from their
        threshold on, or the most probable one where a video has one label."""
        if self.thresholds is None:
            return self.top(1)
        return [(name, share) for name, share in self.top(len(self.classes)) if name in self.names(self.probabilities)]

    def names(self, shares: np.ndarray) -> list[str]:
        """The classes that probabilities (C,) mean, as `labels` has them, in the order of the classes."""
        if self.thresholds is None:
            return [self.classes[int(shares.argmax())]]
        return [self.classes[number] for number in np.flatnonzero(shares >= self.thresholds)]

    def top(self, most: int = 5) -> list[tuple[str, float]]:
        """The most probable classes with their probabilities, the most probable first."""
        order = np.argsort(-self.probabilities, kind="stable")[:most]
        return [(self.classes[number], float(self.probabilities[number])) for number in order]


class Model:
    """A trained network with all settings to read videos as in training."""

    def __init__(
        self,
        given: model_folder.LoadedModel,
        device: str = "auto",
        num_clips: int | None = None,
        num_crops: int | None = None,
    ) -> None:
        trained = given.trained
        config = settings(trained.config, given.name)
        self.device = choose_device(device)
        self.classes = trained.classes
        self.shape: ClipShape = config["data"]["clip"]
        self.plan: ViewPlan = config["evaluation"].with_views(num_clips, num_crops)
        self.crop_size = evaluation_crop_size(config)
        self.temperature = given.temperature
        self.multi_label = trained.multi_label
        self.chosen = given.thresholds is not None
        self.thresholds: np.ndarray | None = None
        if self.multi_label:
            self.thresholds = np.array(given.thresholds or [UNKNOWN] * len(self.classes))
        trained.network.check_clip(self.shape.num_frames, self.crop_size)
        self.origin = {"network": library_network(trained.model) or "besnet", "weights": given.name, "hash": given.hash}
        self.network = fold(trained.network.to(self.device))

    @property
    def calibrated(self) -> bool:
        """Whether a temperature was fitted (or thresholds were chosen): without one, networks are usually over- or
        underconfident."""
        return self.temperature is not None or self.chosen

    def predict(self, video: Path | str | bytes) -> Prediction:
        """The prediction for a video file (or its bytes), decoded once. ValueError if it cannot be read."""
        with open_reader(video) as reader:
            numbers = uniform_clips(reader.times_sec, self.shape, self.plan.num_clips)
            return self._predict(reader, numbers)

    def timeline(self, video: Path | str | bytes, every_sec: float | None = None) -> Prediction:
        """The same with clips all along the video, one every `every_sec` seconds (by default half a clip's length).

        Where a clip is a whole video (sampling "uniform"), the video is cut into windows of `every_sec` seconds, and
        each is shown as if it were one.
        """
        with open_reader(video) as reader:
            if self.shape.sampling == "uniform":
                if every_sec is None:
                    raise ValueError(
                        "--every_sec is needed for the timeline of a network whose clips are whole videos "
                        "(data.clip.sampling uniform): the length of the windows that each get a prediction"
                    )
                return self._predict(reader, window_clips(reader.name, reader.times_sec, self.shape, every_sec))
            length, clip = span(reader.times_sec, self.shape)
            step = clip / 2
            if every_sec is not None:  # a span may be counted in frames
                step = every_sec * length / duration_sec(reader.times_sec)
            count = check_clips(reader.name, 1 + max(0, round((length - clip) / step)))
            return self._predict(reader, uniform_clips(reader.times_sec, self.shape, count))

    def _predict(self, reader: Reader, numbers: np.ndarray) -> Prediction:
        """The prediction for the clips with these frame numbers, int64 (num_clips, T)."""
        found = []
        for some in np.array_split(numbers, -(-len(numbers) // VIEWS_PER_CHUNK)):
            views = self.views(read_clips(reader, some))
            shares = view_probabilities(self.network, views, reader.name, self.multi_label)
            found.append(shares.reshape(len(some), self.plan.num_crops, -1).mean(axis=1, dtype=np.float64))
        clips = np.concatenate(found)
        mean = clips.mean(axis=0)
        if self.temperature is not None and not self.multi_label:
            mean, clips = tempered(mean[None], self.temperature)[0], tempered(clips, self.temperature)
        times = reader.times_sec[np.stack([numbers.min(axis=1), numbers.max(axis=1)], axis=1)]
        looped = is_short(reader.times_sec, self.shape)
        length, period = duration_sec(reader.times_sec), frame_period_sec(reader.times_sec)
        return Prediction(
            reader.name, self.classes, mean, clips, numbers, times, looped, self.thresholds, length, period
        )

    def features(self, video: Path | str | bytes) -> np.ndarray:
        """The input of the network's last layer: float32 (num_features,), the mean over the video's views."""
        with open_reader(video) as reader:
            numbers = uniform_clips(reader.times_sec, self.shape, self.plan.num_clips)
            views = self.views(read_clips(reader, numbers))
            return mean_features(self.network.features, views, reader.name)

    def views(self, clips: Tensor) -> Tensor:
        """uint8 (num_clips, T, H, W, 3) → float32 (num_clips * num_crops, 3, T, crop_size, crop_size)."""
        plan, own = self.plan, self.network.normalisation
        return evaluation_views(
            clips.to(self.device), self.crop_size, plan.num_crops, own, plan.short_side, plan.whole or False
        )


def with_calibration(given: model_folder.LoadedModel) -> model_folder.LoadedModel:
    """The same with the temperature or the thresholds that `besnet calibrate` left in its run for this checkpoint, if
    it did. ValueError where they are for another list of classes."""
    stored = stored_temperature(given.run, given.hash) if given.run is not None else None
    if not stored:
        return given
    check_thresholds(stored.get("thresholds"), given.trained.classes, str(given.run))
    return replace(given, temperature=stored.get("temperature"), thresholds=stored.get("thresholds"))


def open_reader(video: Path | str | bytes) -> Reader:
    """Open a file by its path, or by its bytes."""
    return open_video(video if isinstance(video, bytes) else Path(video))


def load(
    path: Path | str,
    device: str = "auto",
    num_clips: int | None = None,
    num_crops: int | None = None,
    network: str | None = None,
) -> Model:
    """Load a model folder, a run folder (its newest good checkpoint) or a checkpoint file, ready to predict.

    num_clips, num_crops: views of a video; by default as its config evaluates. network: its network, where that is a
    class of your own (module:Class). ValueError if it cannot be used.
    """
    return Model(with_calibration(model_folder.given(Path(path), network)), device, num_clips, num_crops)


def load_published(network: str, weights: str, device: str = "auto") -> Model:
    """Load a network with published weights, or with a file of weights, ready to predict.

    load_published("mvit_v2_s", "KINETICS400_V1").predict("video.mp4"). ValueError if they cannot be used.
    """
    return Model(with_calibration(published_model(network, weights, AS_STATED)), device)
