"""The config of a training, written as a person would write it: complete, with a comment where a choice was made."""

from dataclasses import dataclass
from pathlib import Path

from besnet.text import visible

FRAMES = 8
FROZEN = 11  # blocks: those at a sixteenth of the picture's size and above


@dataclass(frozen=True)
class Choices:
    """What is chosen for one data set.

    start: model folder that the training starts from; None from scratch. frames that are mirrored where nothing in the
    names of the classes speaks of left and right.
    """

    source: Path
    out: Path
    data: Path
    run: Path
    start: Path | None
    seed: int
    minutes: float
    train_videos: int
    val_videos: int
    mirror: bool
    whole: bool = True
    epochs: int = 1
    multi_label: bool = False

    @property
    def batch_size(self) -> int:
        """Clips of a step: at least one step per epoch, and several where there are videos for it."""
        return max(1, min(8, self.train_videos // 4))

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
    body = fine_tuning(choices, flip) if choices.start is not None else from_scratch(choices, flip)
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
    """From the linear probe: the upper half of the network learns, its last layer is the probe's."""
    whole, crops = "kind: whole  # nothing at the edge is cut off", "kind: jitter  # squares; `whole` cuts nothing off"
    crop = whole if choices.whole else f"{crops}\n    short_side: [1.0, 1.25]"
    views = "{num_clips: 2, num_crops: 1}" if choices.whole else "{num_clips: 1, num_crops: 3}"
    return f"""\
pretrained: {quoted(choices.start)}  # ImageNet's features with a last layer for these classes

model:
  backbone: tf_efficientnet_lite0
  inflation: centre  # starts as the 2D network on every frame, and learns to look at its neighbours
  dilations: [1, 2]
  temporal_padding: replicate
  taps_after: {FROZEN}  # what is frozen sees single frames, at a third of the cost
  frozen_bn: true  # a few videos have no statistics of their own

data:
  folder: {quoted(choices.data)}
  clip: {{num_frames: {FRAMES}, sampling: uniform}}  # frames spread over the whole video
  crop:
    {crop}
    flip: {flip}
  crop_size: {224 if choices.whole else 192}
  batch_size: {choices.batch_size}
  workers: 2
  val_videos: {choices.val_videos}

recipe:
  optimizer: adamw
  lr: 0.0001
  weight_decay: 0.05
  warmup_epochs: 1
  label_smoothing: {0.0 if choices.multi_label else 0.1}
  freeze: {FROZEN}  # the stem and {FROZEN} of 16 blocks stay; fewer: slower, and better with many videos
  layer_decay: 0.8
  ema: 0.98  # the average of the last weights is evaluated

evaluation: {views}
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
