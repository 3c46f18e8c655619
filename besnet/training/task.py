"""The training of a run: the module with its data set, its exact position, and what its checkpoints hold."""

import math
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, optim

from besnet.checkpoints.header import Validation
from besnet.data.clips import ClipBatch
from besnet.data.crop import Whole
from besnet.data.evaluation_clips import VideoClips
from besnet.data.failures import FailureLog
from besnet.data.targets import targets
from besnet.data.transfer import to_device
from besnet.data.transforms import evaluation_views, training_batch
from besnet.evaluation.forward import forward
from besnet.evaluation.kept_maps import check_weights
from besnet.evaluation.views import evaluation_crop_size, settings
from besnet.models.network import Network
from besnet.training.batch_preview import draw_batch_preview
from besnet.training.data import VideoData
from besnet.training.finite import Losses
from besnet.training.length import Length
from besnet.training.lightning_internals import recount
from besnet.training.loss import clip_losses
from besnet.training.module import ActionModule
from besnet.training.recipe import Recipe
from besnet.training.resume import obey
from besnet.training.validation_metrics import SetsTally, Tally, ValidationOutput


class ActionTraining(ActionModule):
    """Trains a network on a prepared data set, and resumes at any step.

    `epoch`, `samples` (the clips that all ranks have taken in this epoch) and `micro_batch` are the whole position.
    """

    def __init__(
        self,
        network: Network,
        recipe: Recipe,
        data: VideoData,
        seed: int,
        failures: FailureLog,
        header: dict[str, Any],
    ) -> None:
        known = data.manifest.labels[data.train_rows]
        counts = np.bincount(known[known >= 0], minlength=len(data.manifest.classes))
        super().__init__(network, recipe, seed, counts, data.manifest.multi_label)
        self.data = data
        self.failures = failures
        self.header = header
        self.epoch = 0
        self.samples = 0
        self.first = 0  # the first micro-batch of this epoch that this process computes
        self.looped = 0
        self.changed = False  # whether the run resumes under accepted other settings or data
        self.validations: list[Validation] = []  # of the whole run so far
        self.tally = self.new_tally()
        self.seen_losses = Losses(torch.device("cpu"), 1)

    @property
    def length(self) -> Length:
        """How long this run is."""
        engine = self.trainer
        assert engine.max_epochs is not None
        # not estimated_stepping_batches: reading it would drop the loader's state on a resume
        return Length(len(self.data.order), engine.accumulate_grad_batches, engine.max_epochs, engine.max_steps)

    @property
    def steps_left(self) -> int:
        """Optimiser steps that are still to be made; 0 after the last one."""
        return self.length.steps_left(self.epoch, self.data.order.behind(self.samples), self.trainer.global_step)

    def on_fit_start(self) -> None:
        """Point the order of the data at this run's position, before the first loader is opened. ValueError where the
        data keeps maps of other weights than those that are now loaded."""
        check_weights(self.network, self.data.manifest)
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
        """Loss of one micro-batch under freshly drawn dilations, as its share of a step.

        Lightning divides it by accumulate_grad_batches, also in a step of fewer micro-batches. The factor corrects
        that: a step is always that of one batch of all its clips.
        """
        clips = training_batch(batch, self.data.crop_size, self.network.normalisation, self.data.crop.whole)
        clips, wanted = self.mixed(clips, batch.labels)
        if not self.micro_batch and self.global_rank == 0 and self.data.manifest.maps is None:
            sheet = Path(self.trainer.default_root_dir) / "contact_sheet.png"
            draw_batch_preview(sheet, clips, wanted, self.data.manifest.classes, self.network.normalisation)
        number = self.micro_batch
        loss = self.learn(clips, wanted)
        lr = self.trainer.optimizers[0].param_groups[0]["lr"]
        self.seen_losses.watch(loss.detach(), number, self.trainer.global_step + 1, lr, batch.rows)
        share = self.length.accumulate / self.length.window(self.data.order.behind(self.samples), self.first)
        self.epoch, self.samples = self.data.order.after(self.epoch, self.samples)
        self.looped += batch.looped
        self.log_step(len(batch.rows))
        return loss * share

    @property
    def step_is_made(self) -> bool:
        """Whether the micro-batch before this position was the last one of a step."""
        return self.data.order.behind(self.samples) % self.trainer.accumulate_grad_batches == 0

    @cached_property
    def evaluation_view(self) -> tuple[int, int | None, Whole]:
        """The side of the squares that an evaluation sees, that of the frames that it takes them from, pixels, and
        whether it sees whole frames."""
        config = settings(self.header["config"], "this run")
        plan = config["evaluation"]
        return evaluation_crop_size(config), plan.short_side, plan.whole or False

    def new_tally(self) -> Tally | SetsTally:
        """What counts a validation."""
        if self.multi_label:
            return SetsTally(self.device, self.data.val_rows, len(self.data.manifest.classes))
        return Tally(self.device)

    def on_validation_epoch_start(self) -> None:
        """Start counting; rank 0's BatchNorm statistics are used on every rank."""
        self.tally = self.new_tally()
        if self.trainer.world_size > 1:
            # each rank's BatchNorms have had other clips; a checkpoint has rank 0's
            for statistics in self.eval_network.buffers():
                dist.broadcast(statistics, src=0)

    def validation_step(self, batch: list[VideoClips], batch_idx: int) -> ValidationOutput | None:
        """One centre clip of each video as evaluation sees it, dilations averaged; what cannot be read is left out."""
        manifest = self.data.manifest
        read = [views for views in batch if views.frames is not None]
        self.tally.unread += [f"{manifest[views.row].id}: {views.why}" for views in batch if views.frames is None]
        if not read:
            return None
        size, short_side, whole = self.evaluation_view
        own = self.network.normalisation
        frames = to_device([views.frames for views in read if views.frames is not None], self.device)
        clips = torch.cat([evaluation_views(video, size, 1, own, short_side, whole) for video in frames])
        rows = np.array([views.row for views in read])
        known = targets(manifest, rows) if self.multi_label else manifest.labels[rows]
        labels = torch.from_numpy(known).to(self.device)
        logits = forward(self.eval_network, clips)
        losses = clip_losses(logits, labels, multi_label=self.multi_label)
        self.tally.add(rows, logits, labels, losses)
        return {"views": read, "clips": clips, "losses": losses, "answers": logits.argmax(dim=1)}

    def on_validation_epoch_end(self) -> None:
        """Add the ranks' counts: every video that was read counts once, whatever the number of ranks.

        The figures are means over these videos, nan if there are none; each rank names what it could not read.
        """
        self.tally.complain(len(self.data.own_val_rows))
        figures = self.tally.figures(lambda counts: self.trainer.strategy.reduce(counts, reduce_op="sum"))
        self.log_dict(figures, rank_zero_only=True)
        self.remember({name: float(figure) for name, figure in figures.items()})

    def remember(self, figures: dict[str, float]) -> None:
        """Add the figures of the validation after this step to those of the run."""
        step = self.trainer.global_step
        known = {name: figure if math.isfinite(figure) else None for name, figure in figures.items()}
        before = [one for one in self.validations if one["step"] != step]
        self.validations = [*before, {"step": step, "figures": known}]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what evaluation and an exact resume need: tensors and plain values only."""
        position = {name: getattr(self, name) for name in ("epoch", "samples", "micro_batch", "looped")}
        checkpoint["besnet"] = self.header | {"position": position, "ema": self.recipe.ema}
        checkpoint["besnet"]["validations"] = list(self.validations)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go back to the position at which the checkpoint was saved."""
        position, order = checkpoint["besnet"]["position"], self.data.order
        self.epoch, self.samples = position["epoch"], position["samples"]
        self.micro_batch, self.looped = position["micro_batch"], position["looped"]
        self.validations = list(checkpoint["besnet"].get("validations", []))
        if self.changed:
            # the same place in the list of videos, should each of them now give another number of clips
            self.samples = self.samples // checkpoint["besnet"]["config"]["data"].get("repeats", 1) * order.repeats
        self.epoch, self.samples = order.here(self.epoch, self.samples)
        recount(checkpoint, self.epoch, order.behind(self.samples), len(order))

    def on_train_start(self) -> None:
        """After an accepted change: the new recipe's settings, at the same share of the schedule."""
        if self.changed:
            scheduler = self.trainer.lr_scheduler_configs[0].scheduler
            assert isinstance(scheduler, optim.lr_scheduler.LambdaLR)
            fresh = self.recipe.build_optimizer(self.network)
            obey(fresh, self.length.steps - self.steps_left, self.trainer.optimizers[0], scheduler)
