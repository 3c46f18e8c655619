"""One training run: a folder with its config, checkpoints and figures, which resumes where it stopped."""

import sys
import warnings
from contextlib import closing, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import TensorBoardLogger

from besnet.checkpoints import store
from besnet.checkpoints.best import folder_of
from besnet.checkpoints.header import header, united
from besnet.checkpoints.lock import only_writer
from besnet.checkpoints.pretrained import load_pretrained, settle_normalisation
from besnet.data.failures import FailureLog
from besnet.data.known import fingerprints
from besnet.models.build import applicable, build
from besnet.supervision import start_fork_server
from besnet.training.best import metric_of, patience_is_over
from besnet.training.config_checks import as_launched, check_network
from besnet.training.data import VideoData
from besnet.training.engine import build_trainer, quieten
from besnet.training.exit_codes import STOPPED, RunExit, explain
from besnet.training.fine_tuning import described
from besnet.training.length import Length
from besnet.training.lightning_internals import add_callback, hide_from_step
from besnet.training.memory import keep_freed_memory
from besnet.training.preflight import Preflight, needs
from besnet.training.rank_consensus import leave_ranks
from besnet.training.recipe import Recipe
from besnet.training.remote_logs import RemoteLogs
from besnet.training.resume import find_checkpoint, lay_out, located, resumed_from
from besnet.training.saving import Saving
from besnet.training.starting import describe, report_start, warn_of_known
from besnet.training.task import ActionTraining
from besnet.training.tensorboard import draw_graph
from besnet.watchdog import Watchdog


def train(
    config: dict[str, Any],
    seed: int,
    out: Path,
    model: dict[str, Any],
    pretrained: str | None,
    data: VideoData,
    recipe: Recipe,
    saving: Saving,
    trainer: dict[str, Any],
    compile: bool | Literal["blocks"],
    accept_changes: bool,
    defaults: dict[str, Any],
) -> int:
    """Train until the last epoch, from the newest valid checkpoint in the run folder if there is one.

    config: the resolved configuration as plain values; the others are built from it. defaults: the values of arguments
    that an older run does not have. Returns the exit code (see besnet.training.exit_codes): 0, 75 after a stop signal
    (the same command resumes the run), or another one with a line that gives the reason. ValueError names what does not
    fit.
    """
    config = located(config)
    trainer = as_launched(trainer)
    # the order of the data ends an epoch, not the trainer
    limit, trainer = trainer["limit_train_batches"], trainer | {"limit_train_batches": None}
    pl.seed_everything(seed, verbose=False)
    arguments = applicable(model | {"num_classes": len(data.manifest.classes)})
    network = build(arguments)
    check_network(network, data, config)
    if compile == "blocks":
        network.compile_blocks()
    elif compile:
        network.compile()  # in place: names, copies and checkpoints are those of the plain network
    if not len(data.val_rows):
        trainer = trainer | {"limit_val_batches": 0}
    with warnings.catch_warnings():
        quieten()
        engine = build_trainer(out, saving, trainer, "tensorboard" in config["loggers"])
    if engine.strategy.root_device.type == "cpu":
        keep_freed_memory()
    parameters = sum(weight.numel() for weight in network.parameters())
    rank, world_size = engine.global_rank, engine.world_size
    about = header(
        arguments, data.manifest.classes, asdict(data.manifest.passport), config | {"world_size": world_size},
        data.manifest.multi_label,
    )  # fmt: skip
    # nothing is written before the lock is held
    with only_writer(out, "training") if rank == 0 else nullcontext():
        checkpoint, changed = find_checkpoint(out, about, accept_changes, defaults, say=rank == 0)
        lay_out(network, checkpoint)
        start = None
        if checkpoint is not None:
            start = resumed_from(checkpoint)
        elif pretrained is not None:
            start = load_pretrained(network, pretrained, arguments, data.manifest.classes)
        about["model"] = arguments | settle_normalisation(network, arguments, start)
        if rank == 0:  # which alone writes it
            about["trained_on"] = united(
                fingerprints(data.manifest, data.train_rows), start.trained_on if start else None
            )
        passport = data.manifest.passport
        failures = FailureLog(out, rank, len(data.train_rows), data=f"{passport.source}/{passport.encode}")
        data.arrange(seed, rank, world_size, failures, limit, engine.num_nodes)
        # an epoch may have fewer micro-batches than a step wants
        scaled = recipe.for_batch(data.order.global_batch * min(engine.accumulate_grad_batches, len(data.order)))
        task = ActionTraining(network, scaled, data, seed, failures, about)
        task.changed = changed
        if rank == 0:
            assert engine.max_epochs is not None
            whole = Length(len(data.order), engine.accumulate_grad_batches, engine.max_epochs, engine.max_steps)
            describe(out, about, whole.steps)
            report_start(data, network, checkpoint, world_size)
            warn_of_known(data, about["trained_on"])
            for line in start.lines(data.clip, data.crop_size) if start else ():
                print(line)
            rates = scaled.build_optimizer(network).param_groups if scaled.rates_by_depth else None
            for line in described(network, scaled.freeze, rates):
                print(line)
            if scaled.freeze is not None and pretrained is None:
                print("what is frozen are random numbers: give the weights to start from with pretrained")
            if scaled != recipe:
                meant = f"{recipe.lr} for {recipe.lr_batch}"
                print(f"learning rate {scaled.lr:.4g} for {scaled.lr_batch} clips per step ({meant})")
            if isinstance(engine.logger, TensorBoardLogger):
                if checkpoint is None:
                    draw_graph(engine.logger, network, data.clip.num_frames, data.crop_size)
                else:
                    hide_from_step(engine.logger, store.step_of(checkpoint))
        local_ranks = world_size // engine.num_nodes
        asked = needs(out, data, parameters, saving.keep + saving.keep_best, local_ranks, engine.num_nodes)
        add_callback(engine, Preflight(about, checkpoint, asked))
        torch.multiprocessing.set_forkserver_preload(["besnet.data.clips"])
        if data.workers:
            start_fork_server()
        remote = RemoteLogs(out, config["loggers"], saving)
        add_callback(engine, remote)
        with closing(remote):
            code = fit(engine, task, data, checkpoint, saving)
        if code:
            return code
        if rank == 0 and task.looped:
            print(f"{task.looped} clips were looped, because their videos are shorter than a clip")
        failures.read()
        if rank == 0 and failures.known:
            print(f"{len(failures.known)} clips failed to decode and were replaced: see {out / 'failures_*.jsonl'}")
        if saving.stopped:
            if rank == 0:
                print(f"saved at step {engine.global_step} after a signal; the same command resumes it")
            return STOPPED
        if rank == 0:
            if patience_is_over(saving, task):
                print(f"no better {metric_of(saving, task)} in {saving.patience} validations: the training ends here")
                describe(out, about, engine.global_step)
            best = folder_of(out, 1) if saving.keep_best else out
            print(f"finished at step {engine.global_step}: besnet evaluate --ckpt_path {best}")
        return 0


def fit(engine: pl.Trainer, task: ActionTraining, data: VideoData, checkpoint: Path | None, saving: Saving) -> int:
    """Train under a watchdog. Returns an exit code; if it is not 0, one line on standard error gives the reason."""
    phases = saving.phases
    phases.device = engine.strategy.root_device
    watchdog = Watchdog(engine.global_rank, saving.watchdog_minutes * 60, lambda: phases.now, lambda: phases.moving)
    watchdog.start()
    try:
        with warnings.catch_warnings():
            quieten()
            engine.fit(task, data, ckpt_path=checkpoint, weights_only=True)
        leave_ranks()
    except Exception as error:
        shape = data.clip
        reason = explain(
            error,
            f"data.batch_size {data.batch_size}, data.clip.num_frames {shape.num_frames}, data.crop_size "
            f"{data.crop_size}: lower data.batch_size first (raise trainer.accumulate_grad_batches to keep a step's "
            "size), then the others",
        )
        if not isinstance(reason, RunExit):
            leave_ranks()
            if reason is error:
                raise
            raise reason from error
        print(f"besnet: rank {engine.global_rank}: {reason}", file=sys.stderr, flush=True)
        return reason.code
    finally:
        watchdog.stop()
    return 0
