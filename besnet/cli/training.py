"""The verbs `train` and `doctor`: a config is the typed arguments of the objects that a run is made of."""

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from besnet.cli.parsing import defaults_of, new_parser, one_line, parse, plain
from besnet.ranges import check_section
from besnet.settings import check_sections

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser


def train(verb: str, words: list[str]) -> int:
    """Train a network as a config says; goes on from the newest good checkpoint of the run's folder."""
    import torch
    from lightning_fabric.utilities.exceptions import MisconfigurationException

    from besnet.checkpoints.lock import Busy
    from besnet.training.config_checks import check_fits
    from besnet.training.exit_codes import HUNG
    from besnet.training.run import train as train_run

    parser = train_parser(verb)
    parsed = parse(parser, words)
    config = plain(parser, parsed)
    defaults = defaults_of(parser)
    check_sections(config)
    check_section("", config)
    try:
        built = parser.instantiate(parsed)
    except TypeError as error:
        raise ValueError(str(error)) from error
    check_fits(built.recipe, built.data, config["model"], config["trainer"], config["evaluation"]["pairs"])
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
    except Busy as error:  # it may be an earlier life of this run that is ending: a launcher tries again
        print(f"besnet: {error}", file=sys.stderr)
        return HUNG
    except MisconfigurationException as error:
        if config["trainer"]["accelerator"] in ("cuda", "gpu") and not torch.cuda.is_available():
            raise ValueError(
                "trainer.accelerator: no CUDA device is visible here; use --trainer.accelerator cpu"
            ) from error
        raise ValueError(one_line(error)) from error


def train_parser(verb: str) -> "ArgumentParser":
    """The schema of a config: the typed arguments of the objects that a run is made of."""
    from pytorch_lightning import Trainer

    from besnet.evaluation.views import ViewPlan
    from besnet.models.besnet import BesNet
    from besnet.training.data import VideoData
    from besnet.training.recipe import Recipe
    from besnet.training.saving import Saving

    parser = new_parser(verb)
    parser.add_argument("--config", action="config", help="YAML file with any of these arguments; later ones win")
    parser.add_argument("--out", type=Path, required=True, help="folder of this run: checkpoints, logs, evaluations")
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same run, whatever the workers")
    parser.add_argument(
        "--pretrained",
        type=str | None,
        default=None,
        help="weights to start from: 2D ones to inflate (a name such as ResNet50_Weights.IMAGENET1K_V2, or a local "
        "file), or a run folder or checkpoint of besnet, without its last layer where its classes are others",
    )
    parser.add_argument("--compile", type=bool, default=False, help="compile the network (torch.compile) at the start")
    parser.add_argument(
        "--accept_changes", type=bool, default=False, help="go on with a run although its settings or data changed"
    )
    parser.add_class_arguments(BesNet, "model", skip={"num_classes"}, instantiate=False)
    parser.add_class_arguments(VideoData, "data")
    parser.add_class_arguments(Recipe, "recipe")
    parser.add_class_arguments(Saving, "saving")
    parser.add_class_arguments(ViewPlan, "evaluation")
    # what the run decides by itself is not for the config
    own = {"logger", "callbacks", "plugins", "default_root_dir", "use_distributed_sampler", "num_sanity_val_steps"}
    own |= {"enable_checkpointing", "enable_progress_bar", "enable_model_summary", "fast_dev_run", "profiler"}
    own |= {"reload_dataloaders_every_n_epochs", "overfit_batches", "barebones", "model_registry", "max_time"}
    own |= {"min_epochs", "min_steps"}  # a run that is asked to stop, stops
    # typing takes int | float for float | int: whether 1 means one batch or all would depend on the order of imports
    own |= {f"limit_{stage}_batches" for stage in ("train", "val", "test", "predict")} | {"val_check_interval"}
    parser.add_class_arguments(Trainer, "trainer", skip=own, instantiate=False)
    parser.add_argument(
        "--trainer.limit_train_batches", type=int | None, default=None, help="micro-batches of an epoch; null for all"
    )
    return parser
