"""The config of a training, written as a person would write it: complete, with a comment where a choice was made."""

from dataclasses import dataclass
from pathlib import Path

from besnet.text import visible

FRAMES = 8  # from scratch
FROZEN = 5  # blocks of the pretrained network: those that work at an eighth of the picture's size, or above
CLIP_FRAMES, CLIP_FPS = 12, 25
LARGEST_INTERVAL = 3  # frames at CLIP_FPS: a clip of 1.4 s


@dataclass(frozen=True)
class Choices:
    """What is chosen for one data set.

    lite: whether the training starts from ImageNet's EfficientNet-Lite0; otherwise from scratch. length_sec: the median
    of the training videos. mirror: whether half of the clips are mirrored.
    """

    source: Path
    out: Path
    data: Path
    run: Path
    lite: bool
    seed: int
    minutes: float
    train_videos: int
    val_videos: int
    length_sec: float
    mirror: bool
    epochs: int = 1
    multi_label: bool = False

    @property
    def batch_size(self) -> int:
        """Clips of a step: at least one step per epoch, and several where there are videos for it."""
        return max(1, min(8, self.train_videos // 4))

    @property
    def frame_interval(self) -> int:
        """The distance of the frames of a clip, counted at CLIP_FPS: so that a clip fits into the median video."""
        return max(1, min(LARGEST_INTERVAL, int(self.length_sec * CLIP_FPS / CLIP_FRAMES)))

    @property
    def steps_per_epoch(self) -> int:
        return max(1, self.train_videos // self.batch_size)


def config_text(choices: Choices) -> str:
    """config.yaml."""
    head = f"""\
# Written by `besnet learn {visible(str(choices.source))} --out {visible(str(choices.out))}`. Edit it for the next try:
#   besnet train --config {visible(str(choices.out / "config.yaml"))} --out {visible(str(choices.run))}_2
# {choices.train_videos} training videos, {choices.val_videos} validation videos, {choices.minutes:g} minutes.
seed: {choices.seed}
out: {quoted(choices.run)}
"""
    flip = f"{0.5 if choices.mirror else 0.0}  # {'' if choices.mirror else 'none: '}" + (
        "half of the clips are mirrored" if choices.mirror else "a class speaks of left or right"
    )
    body = fine_tuning(choices, flip) if choices.lite else from_scratch(choices, flip)
    every = max(1, choices.epochs // 10)
    return f"""{head}{body}
saving: {{every_steps: 100, every_minutes: 2, keep: 2, keep_best: 1}}  # the best validation: folder best

trainer:
  accelerator: auto
  max_epochs: {choices.epochs}  # as many as fit into {choices.minutes:g} minutes on the machine that wrote this
  check_val_every_n_epoch: {every}
  log_every_n_steps: {max(1, min(20, choices.steps_per_epoch))}
"""


def fine_tuning(choices: Choices, flip: str) -> str:
    """From ImageNet: the upper blocks learn, with taps in time, and a new last layer learns faster."""
    return f"""\
pretrained: lite  # ImageNet's EfficientNet-Lite0

model:
  backbone: tf_efficientnet_lite0
  inflation: centre  # starts as the 2D network on every frame, and learns to look at its neighbours
  dilations: [1, 2]
  temporal_padding: replicate
  taps_after: {FROZEN}  # what is frozen sees single frames
  frozen_bn: true  # a few videos have no statistics of their own
  dropout: 0.5

data:
  folder: {quoted(choices.data)}
  clip:  # {CLIP_FRAMES * choices.frame_interval / CLIP_FPS:.1f} s; for longer actions raise frame_interval
    num_frames: {CLIP_FRAMES}
    frame_interval: {choices.frame_interval}
    target_fps: {CLIP_FPS}
    speed: [0.8, 1.25]  # a clip is shown slower or faster
  crop:
    kind: whole  # nothing at the edge is cut off
    flip: {flip}
  augmentation: {{rand_augment: 2, erase: 0.25}}  # other colours, angles and hidden patches, against overfitting
  crop_size: 192  # pixels of the longer side
  batch_size: {choices.batch_size}
  workers: 2
  val_videos: {choices.val_videos}

recipe:
  optimizer: adamw
  lr: 0.0005
  lr_batch: {choices.batch_size}  # the batch that this learning rate is for
  weight_decay: 0.05
  warmup_epochs: {max(1, choices.epochs // 10)}
  label_smoothing: {0.0 if choices.multi_label else 0.1}
  mixup: 0.4  # clips are blended in pairs, against overfitting
  freeze: {FROZEN}  # the stem and {FROZEN} of 16 blocks stay; more: faster, fewer: better with many videos
  layer_decay: 0.8
  head_lr: 5
  ema: 0.98  # the average of the last weights is evaluated

evaluation: {{num_clips: 5, num_crops: 1}}
"""


def from_scratch(choices: Choices, flip: str) -> str:
    """A small ResNet, for a machine without pretrained weights."""
    return f"""\
model:
  dilations: [1, 2]
  temporal_padding: replicate
  block: basic
  blocks: [1, 1, 1, 1]
  width: 16
  dropout: 0.3

data:
  folder: {quoted(choices.data)}
  clip: {{num_frames: {FRAMES}, sampling: uniform}}  # frames spread over the whole video
  crop:
    kind: whole  # nothing at the edge is cut off; `resized` crops more, against overfitting
    flip: {flip}
  crop_size: 80
  batch_size: {choices.batch_size}
  workers: 2
  val_videos: {choices.val_videos}

recipe:
  optimizer: adamw
  lr: 0.002
  weight_decay: 0.05
  warmup_epochs: {max(1, choices.epochs // 20)}
  label_smoothing: {0.0 if choices.multi_label else 0.1}

evaluation: {{num_clips: 2, num_crops: 1}}
"""


def quoted(path: Path | None) -> str:
    """A path as YAML reads it."""
    text = str(path).replace("'", "''")
    return f"'{text}'"
