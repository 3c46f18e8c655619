"""The verbs `train` and `doctor`, whose config is the typed arguments of a run's objects."""

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from besnet.cli.parsing import defaults_of, new_parser, one_line, parse, plain
from besnet.ranges import check_section
from besnet.settings import check_sections

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser


def train(verb: str, words: list[str]) -> int:
    """Train a network from a config, or resume from the newest valid checkpoint in the run folder."""
    import torch
    from lightning_fabric.utilities.exceptions import MisconfigurationException

    from besnet.checkpoints.lock import Busy
    from besnet.training.config_checks import check_fits
    from besnet.training.exit_codes import HUNG
    from besnet.training.remote_logs import check_loggers
    from besnet.training.run import train as train_run

    parser = train_parser(verb)
    parsed = parse(parser, words, verb)
    config = plain(parser, parsed)
    defaults = defaults_of(parser)
    check_sections(config)
    check_section("", config)
    try:
        built = parser.instantiate(parsed)
    except TypeError as error:
        raise ValueError(str(error)) from error
    check_loggers(config["loggers"])
    check_fits(
        built.recipe, built.data, built.saving, config["model"], config["trainer"], config["evaluation"]["pairs"]
    )
    # what the data decides is written down; runs of before there was a choice drew from all videos
    config["data"]["shuffle"], defaults["data"]["shuffle"] = built.data.shuffle, "videos"
    if verb == "doctor":
        from besnet.jobs.doctor import doctor

        return doctor(config, defaults, built.out, config["model"], built.data, built.saving, config["trainer"])
    run = partial(
        train_run,
        config=config,
        seed=built.seed,
        out=built.out,
        model=config["model"],
        pretrained=built.pretrained,
        data=built.data,
        recipe=built.recipe,
        saving=built.saving,
        trainer=config["trainer"],
        compile=built.compile,
        accept_changes=built.accept_changes,
        defaults=defaults,
    )
    try:
        return run()
    except Busy as error:  # perhaps an earlier attempt of this run that is ending: a launcher retries
        print(f"besnet: {error}", file=sys.stderr)
        return HUNG
    except MisconfigurationException as error:
        if config["trainer"]["accelerator"] in ("cuda", "gpu") and not torch.cuda.is_available():
            raise ValueError("trainer.accelerator: no CUDA device is visible: use --trainer.accelerator cpu") from error
        raise ValueError(one_line(error)) from error


TRAINER_HELP = {
    "accelerator": "cpu, gpu, or auto for a GPU where there is one",
    "strategy": "auto or ddp (one process for each device)",
    "devices": "devices of each machine: a number, a list, or auto for all",
    "num_nodes": "machines",
    "precision": "32, bf16-mixed or 16-mixed",
    "max_epochs": "epochs to train",
    "max_steps": "optimiser steps after which a training ends, at most; -1 for no limit",
    "check_val_every_n_epoch": "epochs between validations",
    "log_every_n_steps": "optimiser steps between logged figures",
    "accumulate_grad_batches": "micro-batches of each optimiser step",
    "gradient_clip_val": "largest norm (or value) of the gradients; null for no clipping",
    "gradient_clip_algorithm": "norm or value",
    "sync_batchnorm": "BatchNorm over the clips of all GPUs",
    "deterministic": "use deterministic algorithms only; `warn` where there is none",
    "benchmark": "let cuDNN time its algorithms and choose the fastest",
    "inference_mode": "validate under torch.inference_mode",
    "detect_anomaly": "look for the operation that made a gradient nan: slow",
    "enable_autolog_hparams": "no effect: besnet writes config.yaml",
}


def train_parser(verb: str) -> "ArgumentParser":
    """The schema of a config: the typed arguments of the objects of a run."""
    from pytorch_lightning import Trainer

    from besnet.evaluation.views import ViewPlan
    from besnet.models.build import ModelArguments
    from besnet.training.data import VideoData
    from besnet.training.recipe import Recipe
    from besnet.training.remote_logs import Logger
    from besnet.training.saving import Saving

    parser = new_parser(verb)
    parser.add_argument("--config", action="config", help="YAML file with any of these arguments; later files win")
    parser.add_argument("--out", type=Path, required=True, help="run folder: checkpoints, logs, evaluations")
    parser.add_argument("--seed", type=int, default=0, help="seed of everything random; the workers do not matter")
    parser.add_argument(
        "--pretrained",
        type=str | None,
        default=None,
        help="initial weights: 2D weights to inflate (a name such as ResNet50_Weights.IMAGENET1K_V2, or a file), or a "
        "run folder or checkpoint of besnet, without its last layer if it has other classes",
    )
    parser.add_argument(
        "--compile", type=bool | Literal["blocks"], default=False,
        help="compile the network with torch.compile; blocks: each kind of residual block once, which takes less time",
    )  # fmt: skip
    parser.add_argument(
        "--accept_changes", type=bool, default=False, help="resume a run although its settings or data have changed"
    )
    parser.add_argument(
        "--loggers", type=list[Logger], default=["tensorboard", "csv"],
        help="where the figures go: tensorboard, wandb, mlflow; metrics.csv (csv) is always written",
    )  # fmt: skip
    parser.add_class_arguments(ModelArguments, "model", skip={"num_classes"}, instantiate=False)
    parser.add_class_arguments(VideoData, "data")
    parser.add_class_arguments(Recipe, "recipe")
    parser.add_class_arguments(Saving, "saving")
    parser.add_class_arguments(ViewPlan, "evaluation")
    # besnet decides these itself
    own = {"logger", "callbacks", "plugins", "default_root_dir", "use_distributed_sampler", "num_sanity_val_steps"}
    own |= {"enable_checkpointing", "enable_progress_bar", "enable_model_summary", "fast_dev_run", "profiler"}
    own |= {"reload_dataloaders_every_n_epochs", "overfit_batches", "barebones", "model_registry", "max_time"}
    own |= {"min_epochs", "min_steps"}  # a signal must be able to stop a run
    # int | float equals float | int: whether 1 means one batch or all would depend on the order of imports
    own |= {f"limit_{stage}_batches" for stage in ("train", "val", "test", "predict")} | {"val_check_interval"}
    parser.add_class_arguments(Trainer, "trainer", skip=own, instantiate=False)
    parser.add_argument(
        "--trainer.limit_train_batches", type=int | None, default=None, help="micro-batches of an epoch; null for all"
    )
    for action in parser._actions:
        action.help = TRAINER_HELP.get(action.dest.removeprefix("trainer."), action.help)
    return parser
