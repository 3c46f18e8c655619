"""The training of one BesNet as a LightningModule: what happens to a micro-batch."""

from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
import torch.distributed as dist
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn, optim

from besnet.data.clips import ClipBatch, VideoClips
from besnet.data.failures import FailureLog
from besnet.data.mixing import mix
from besnet.data.order import DILATION, MIX, NOISE, generator
from besnet.data.transforms import evaluation_views, training_batch
from besnet.models.besnet import BesNet
from besnet.training.batch_preview import draw_batch_preview
from besnet.training.data import VideoData
from besnet.training.ema import Average
from besnet.training.finite import Losses
from besnet.training.length import Length
from besnet.training.loss import clip_losses, precision, training_loss
from besnet.training.recipe import Recipe
from besnet.training.resume import obey, recount
from besnet.training.validation_metrics import Tally, ValidationOutput


class ActionTraining(pl.LightningModule):
    """Trains a network on clips; every random number is a function of (seed, micro-batch number, rank).

    `micro_batch` counts the micro-batches done by each rank, `samples` the clips consumed by all ranks in this epoch:
    with the epoch they are the whole position of a run.
    """

    def __init__(
        self,
        network: BesNet,
        recipe: Recipe,
        data: VideoData,
        seed: int,
        failures: FailureLog,
        header: dict[str, Any],
    ) -> None:
        super().__init__()
        self.network = network
        self.ema = Average(network, recipe.ema) if recipe.ema is not None else None
        self.recipe = recipe
        self.data = data
        self.seed = seed
        self.failures = failures
        self.header = header
        self.micro_batch = 0
        self.epoch = 0
        self.samples = 0
        self.first = 0  # the first micro-batch of this epoch that this process computes
        self.looped = 0
        self.changed = False  # whether the run goes on under accepted other settings or data
        self.of_step: list[Tensor] = []  # figures of the micro-batches of a step that is not yet made
        self.tally = Tally(torch.device("cpu"))
        self.seen_losses = Losses(torch.device("cpu"), 1)

    @property
    def length(self) -> Length:
        """How long this run is."""
        engine = self.trainer
        assert engine.max_epochs is not None
        return Length(len(self.data.order), engine.accumulate_grad_batches, engine.max_epochs, engine.max_steps)

    @property
    def steps_left(self) -> int:
        """Optimiser steps that are still to be made; 0 after the last one."""
        return self.length.steps_left(self.epoch, self.data.order.behind(self.samples), self.trainer.global_step)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """SGD or AdamW, with a schedule that moves at every step."""
        optimizer = self.recipe.build_optimizer(self.network)
        # not trainer.estimated_stepping_batches: reading it would drop the loader's state on a resume
        factor = self.recipe.schedule(self.length.steps_per_epoch, self.length.steps)
        scheduler = optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_fit_start(self) -> None:
        """Point the order of the data at this run's position, before the first loader is opened."""
        self.seen_losses = Losses(self.device, self.trainer.accumulate_grad_batches)
        self.on_train_epoch_start()

    def on_train_epoch_start(self) -> None:
        """Point the order of the data at this run's position."""
        order = self.data.order
        order.epoch, order.samples = self.epoch, self.samples
        self.first = order.behind(self.samples)

    def on_train_batch_start(self, batch: ClipBatch, batch_idx: int) -> None:
        """Record failed videos before anything is learned from their substitutes."""
        self.failures.append(batch.failures)

    def training_step(self, batch: ClipBatch, batch_idx: int) -> Tensor:
        """Loss of one micro-batch under freshly drawn dilations, as its share of a step wants it.

        Lightning divides it by accumulate_grad_batches, also where a step has fewer: so that a step is always that of
        one batch of all its clips, it is multiplied by what the division takes too much.
        """
        clips, targets = self.inputs(batch)
        if not self.micro_batch and self.global_rank == 0:
            sheet = Path(self.trainer.default_root_dir) / "contact_sheet.png"
            draw_batch_preview(sheet, clips, targets, self.data.manifest.classes)
        noise = generator(self.seed, NOISE, self.micro_batch, self.global_rank).integers(2**63)
        torch.manual_seed(int(noise))
        logits = self.network(clips, self.draw_dilations())
        loss = training_loss(logits, targets, self.recipe.label_smoothing, self.recipe.ohem)
        lr = self.trainer.optimizers[0].param_groups[0]["lr"]
        self.seen_losses.watch(loss.detach(), self.micro_batch, self.trainer.global_step + 1, lr, batch.rows)
        share = self.length.accumulate / self.length.window(self.data.order.behind(self.samples), self.first)
        self.micro_batch += 1
        self.epoch, self.samples = self.data.order.after(self.epoch, self.samples)
        self.looped += batch.looped
        top1, top5 = precision(logits.detach(), targets)
        self.log_step(torch.stack([loss.detach(), top1, top5]), len(batch.rows))
        return loss * share

    def log_step(self, figures: Tensor, clips: int) -> None:
        """Log the figures (loss, precisions) of this micro-batch, averaged with those of its step so far."""
        self.of_step.append(figures)
        loss, top1, top5 = torch.stack(self.of_step).mean(0)
        self.log_dict({"Train/Loss": loss, "Train/Prec@1": top1, "Train/Prec@5": top5}, batch_size=clips)
        if self.step_is_made:
            self.of_step = []

    @property
    def step_is_made(self) -> bool:
        """Whether the micro-batch before this position was the last one of a step."""
        return self.data.order.behind(self.samples) % self.trainer.accumulate_grad_batches == 0

    def inputs(self, batch: ClipBatch) -> tuple[Tensor, Tensor]:
        """What the network sees of a micro-batch (B, 3, T, crop_size, crop_size), and what it has to say: class numbers
        (B,), or probabilities (B, C) where clips are mixed."""
        clips = training_batch(batch, self.data.crop_size)
        if not self.recipe.mixes:
            return clips, batch.labels
        rng = generator(self.seed, MIX, self.micro_batch, self.global_rank)
        return mix(clips, batch.labels, self.network.num_classes, self.recipe.mixup, self.recipe.cutmix, rng)

    def configure_gradient_clipping(
        self,
        optimizer: optim.Optimizer,
        gradient_clip_val: int | float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip the gradients, where the config asks for it; Lightning refuses to before a fused optimiser's step, which
        only a loss scale (16-mixed) would forbid."""
        if not gradient_clip_val:
            return
        weights = [weight for group in optimizer.param_groups for weight in group["params"]]
        if gradient_clip_algorithm == "value":
            nn.utils.clip_grad_value_(weights, gradient_clip_val)
        else:
            nn.utils.clip_grad_norm_(weights, gradient_clip_val)

    def optimizer_step(self, *arguments: Any, **keywords: Any) -> None:
        """Move the weights, then their average."""
        super().optimizer_step(*arguments, **keywords)
        if self.ema is not None:
            self.ema.update(self.network, self.trainer.global_step)

    @property
    def eval_network(self) -> BesNet:
        """The network that checks and evaluations look at: the moving average where there is one."""
        network = self.network if self.ema is None else self.ema.network
        assert isinstance(network, BesNet)
        return network

    @property
    def evaluation_size(self) -> int:
        """The side of the squares that an evaluation sees, pixels."""
        size: int = self.header["config"]["evaluation"]["crop_size"] or self.data.crop_size
        return size

    def draw_dilations(self) -> Tensor | None:
        """One index a temporal layer, int64, a function of (seed, micro-batch number): the same on every rank.

        None, the average, where the weights of a mixture are learned: under draws they would not take part.
        """
        if self.network.learns_mixture:
            return None
        return torch.from_numpy(self.drawn_at(self.micro_batch))

    def drawn_at(self, micro_batch: int) -> np.ndarray:
        """The dilations of a micro-batch: int64 (num_temporal_layers,), each an index into the network's set."""
        rng = generator(self.seed, DILATION, micro_batch)
        return rng.integers(max(1, len(self.network.dilations)), size=self.network.num_temporal_layers)

    def on_validation_epoch_start(self) -> None:
        """Start counting: videos that could be read, their losses, right at first guess, right among five."""
        self.tally = Tally(self.device)
        if self.trainer.world_size > 1:
            # each rank's BatchNorms have seen other clips; rank 0's are those that are saved
            for statistics in self.eval_network.buffers():
                dist.broadcast(statistics, src=0)

    def validation_step(self, batch: list[VideoClips], batch_idx: int) -> ValidationOutput | None:
        """One centre clip of each video as evaluation sees it, dilations averaged; what cannot be read is left out."""
        manifest = self.data.manifest
        read = [views for views in batch if views.frames is not None]
        self.tally.unread += [f"{manifest[views.row].id}: {views.why}" for views in batch if views.frames is None]
        if not read:
            return None
        clips = torch.cat(
            [evaluation_views(v.frames.to(self.device), self.evaluation_size, 1) for v in read if v.frames is not None]
        )
        labels = torch.from_numpy(manifest.labels[np.array([views.row for views in read])]).to(self.device)
        logits = self.eval_network(clips)
        top1, top5 = precision(logits, labels)
        losses = clip_losses(logits, labels)
        self.tally.add(losses, top1, top5)
        return {"views": read, "clips": clips, "losses": losses, "answers": logits.argmax(dim=1)}

    def on_validation_epoch_end(self) -> None:
        """Add the ranks' counts: every video that was read counts once, whatever the number of ranks.

        The figures are means over these videos, nan if there are none; each rank names what it could not read.
        """
        self.tally.complain(len(self.data.own_val_rows))
        figures = self.tally.figures(lambda counts: self.trainer.strategy.reduce(counts, reduce_op="sum"))
        self.log_dict(figures, rank_zero_only=True)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what evaluation and an exact resume need: tensors and plain values only."""
        position = {name: getattr(self, name) for name in ("epoch", "samples", "micro_batch", "looped")}
        checkpoint["besnet"] = self.header | {"position": position, "ema": self.recipe.ema}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go back to the position at which the checkpoint was saved."""
        position, order = checkpoint["besnet"]["position"], self.data.order
        self.epoch, self.samples = position["epoch"], position["samples"]
        self.micro_batch, self.looped = position["micro_batch"], position["looped"]
        if self.changed:
            # the same place in the list of videos, should each of them now give another number of clips
            self.samples = self.samples // checkpoint["besnet"]["config"]["data"].get("repeats", 1) * order.repeats
        self.epoch, self.samples = order.here(self.epoch, self.samples)
        recount(checkpoint["loops"]["fit_loop"], self.epoch, order.behind(self.samples), len(order))

    def on_train_start(self) -> None:
        """After an accepted change: the recipe's figures as they are now, at the same share of the schedule."""
        if self.changed:
            scheduler = self.trainer.lr_scheduler_configs[0].scheduler
            assert isinstance(scheduler, optim.lr_scheduler.LambdaLR)
            fresh = self.recipe.build_optimizer(self.network)
            obey(fresh, self.length.steps - self.steps_left, self.trainer.optimizers[0], scheduler)
