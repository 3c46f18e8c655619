"""Pictures for TensorBoard: the first batch, drawn dilations, the hardest videos, and an embedding."""

import copy
import io
import warnings
from contextlib import redirect_stdout, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from PIL import Image
from pytorch_lightning.loggers import TensorBoardLogger
from torch.utils.tensorboard.writer import SummaryWriter

from besnet.data.evaluation_clips import VideoClips
from besnet.data.targets import named
from besnet.data.transforms import pixels
from besnet.models.network import Network
from besnet.report.sheet import contact_sheet
from besnet.training.task import ActionTraining
from besnet.training.validation_metrics import ValidationOutput

MOST_SHOWN = 8
FRAMES = 8
EMBEDDED = 256
THUMBNAIL = 48
SMALL = 64  # pixels of the clip that the graph is traced with


class TensorBoardPictures(pl.Callback):
    """Writes pictures into the run's TensorBoard: after each epoch the drawn dilations, after each validation the
    videos with the largest loss, after the last one an embedding of the validation videos by their features.

    Only rank 0's validation videos are shown. Nothing here is random, and training does not read it.
    """

    def __init__(self) -> None:
        self.first_micro_batch = 0
        self.hardest: list[tuple[float, int, int, np.ndarray]] = []  # loss, row, answer, frames
        self.embedded: list[tuple[int, np.ndarray, torch.Tensor]] = []  # row, features, thumbnail

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Remember the first micro-batch of the epoch in this process."""
        assert isinstance(pl_module, ActionTraining)
        self.first_micro_batch = pl_module.micro_batch

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        """After the first micro-batch of a run: the contact sheet that the module has drawn."""
        assert isinstance(pl_module, ActionTraining)
        writer = writer_of(trainer)
        if pl_module.micro_batch == 1 and writer is not None and pl_module.data.manifest.maps is None:
            with Image.open(Path(trainer.default_root_dir) / "contact_sheet.png") as sheet:
                add_picture(writer, "Train/first batch", sheet, 0)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """A histogram of the dilations that all layers drew since then; they are computed again."""
        assert isinstance(pl_module, ActionTraining)
        writer, values = writer_of(trainer), np.array(pl_module.network.dilations)
        if writer is None or len(values) < 2 or not pl_module.network.draws:
            return
        draws = [pl_module.drawn_at(number) for number in range(self.first_micro_batch, pl_module.micro_batch)]
        if draws:
            edges = np.arange(values.min(), values.max() + 2) - 0.5
            writer.add_histogram("Train/dilations", values[np.concatenate(draws)], trainer.global_step - 1, bins=edges)

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start new lists."""
        self.hardest, self.embedded = [], []

    def on_validation_batch_end(  # type: ignore[override]  # outputs are this module's own
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: ValidationOutput | None,
        batch: list[VideoClips],
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the hardest videos so far, and in the last validation the features of the first videos."""
        assert isinstance(pl_module, ActionTraining)
        if outputs is None or writer_of(trainer) is None or pl_module.data.manifest.maps is not None:
            return
        for views, loss, answer in zip(
            outputs["views"], outputs["losses"].tolist(), outputs["answers"].tolist(), strict=True
        ):
            if len(self.hardest) < MOST_SHOWN or loss > self.hardest[-1][0]:
                self.hardest.append((loss, views.row, answer, frames_of(views)))
                self.hardest = sorted(self.hardest, key=lambda entry: -entry[0])[:MOST_SHOWN]
        left = EMBEDDED - len(self.embedded)
        network = pl_module.eval_network
        if trainer.current_epoch + 1 == trainer.max_epochs and left > 0 and network.head:
            clips = outputs["clips"][:left]
            for views, features, clip in zip(outputs["views"], network.features(clips), clips, strict=False):
                frame = pixels(clip[None], network.normalisation)[0, clip.shape[1] // 2]
                middle = frame.permute(2, 0, 1).float() / 255
                small = torch.nn.functional.interpolate(middle[None], size=(THUMBNAIL, THUMBNAIL), mode="area")[0]
                self.embedded.append((views.row, features.float().cpu().numpy(), small.cpu()))

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the hardest videos and the embedding."""
        assert isinstance(pl_module, ActionTraining)
        writer, manifest = writer_of(trainer), pl_module.data.manifest
        if writer is None:
            return
        if self.hardest:
            strips = []
            for loss, row, answer, frames in self.hardest:
                truth, said = named(manifest[row], manifest.classes), manifest.classes[answer]
                strips.append((f"{truth}, loss {loss:.2f}, most probable {said}: {manifest[row].id}", frames))
            # the step that Lightning gives the validation's figures
            add_picture(writer, "Val/hardest videos", contact_sheet(strips), trainer.global_step - 1)
        if len(self.embedded) > 1:
            rows, features, thumbnails = zip(*self.embedded, strict=True)
            names = [[named(manifest[row], manifest.classes), manifest[row].id] for row in rows]
            writer.add_embedding(np.stack(features), names, torch.stack(thumbnails), trainer.global_step,
                                 "validation videos", ["class", "video"])  # fmt: skip


def writer_of(trainer: pl.Trainer) -> SummaryWriter | None:
    """TensorBoard's writer on rank 0, if this run has one."""
    logger = trainer.logger
    return logger.experiment if isinstance(logger, TensorBoardLogger) and trainer.is_global_zero else None


def frames_of(views: VideoClips) -> np.ndarray:
    """A few frames of a video's first clip, uint8 (N, H, W, 3)."""
    assert views.frames is not None
    clip = views.frames[0]
    chosen = np.linspace(0, len(clip) - 1, min(FRAMES, len(clip))).round().astype(int)
    return clip[chosen].cpu().numpy()


def add_picture(writer: SummaryWriter, tag: str, picture: Image.Image, step: int) -> None:
    """A Pillow image into TensorBoard."""
    writer.add_image(tag, np.asarray(picture.convert("RGB")), step, dataformats="HWC")


def draw_graph(logger: TensorBoardLogger, network: Network, num_frames: int, crop_size: int) -> None:
    """Put the network's graph into TensorBoard, traced on the CPU with one clip, a small one if that goes in.

    A network that cannot be traced has none.
    """
    network, size = copy.deepcopy(network).eval(), SMALL
    try:
        network.check_clip(num_frames, size)
    except ValueError:
        size = crop_size
    with warnings.catch_warnings(), torch.no_grad():
        # the trace is only looked at, so branches that depend on the input's shape may be frozen in it
        warnings.simplefilter("ignore")
        with redirect_stdout(io.StringIO()), suppress(RuntimeError, TypeError, ValueError):
            logger.experiment.add_graph(network, torch.zeros(1, 3, num_frames, size, size))
