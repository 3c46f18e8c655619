"""The command line: text → objects, one verb a job. The only room that prints usage."""

import difflib
import os
import re
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace

WRONG_USE = 2
UNKNOWN = re.compile(
    r"(?:unrecognized arguments: (?:--)?|Option ')(?P<option>[\w.]+)|"
    r"(?:Group '(?P<group>[\w.]+)' does not accept option|[Kk]ey) '(?P<key>[\w.]+)'(?! *:|.*required)"
)
# verbs whose required arguments are given by position
POSITIONAL = {"draw", "prepare", "verify", "coverage", "calibrate", "bench budget", "export"}
VERBS = {
    "draw": "draw the stick-figure data set: real video files of ten or more actions",
    "prepare": "index a folder or a list of videos, check and decode each once",
    "verify": "check a prepared data set's bytes against its manifest",
    "coverage": "write the page that says what a prepared data set holds and lacks",
    "train": "train a network as a config says; goes on where it was",
    "evaluate": "evaluate a checkpoint on a prepared data set; --ensemble A B --out C combines finished evaluations",
    "calibrate": "fit a temperature on one split's stored predictions, for honest probabilities",
    "lab": "train and evaluate networks that differ in one thing, over seeds: one page with intervals",
    "predict": "say what happens in videos: the likeliest classes, a picture, a timeline",
    "features": "write what a network sees in videos, before it names it, as NPZ",
    "doctor": "look at this machine, this code and the run's folder before a training; takes its arguments",
    "launch": "start a training or an evaluation on many ranks, here or by Slurm, and again when it fails",
    "export": "write a checkpoint's network as one file for other runtimes",
    "bench model": "time a network here: parameters, GFLOP, memory, clips/s, share of the device's speed",
    "bench budget": "GPU hours that a config takes, from what is counted and what is assumed",
    "demo": "all of the above on drawn videos, in a few minutes on a CPU",
}


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run `besnet VERB ...` and leave with its exit code: 0, 2 for wrong use, 75 for stopped and saved."""
    words = sys.argv[1:] if arguments is None else arguments
    # threads that spin while they wait take the cores from the decoders: 281 ms a clip became 16 ms (LOG.md)
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    if not words or words[0] in ("-h", "--help"):
        print(usage())
        sys.exit(0 if words else WRONG_USE)
    verb, rest = words[0], words[1:]
    if rest and f"{verb} {rest[0]}" in VERBS:  # verbs of two words
        verb, rest = f"{verb} {rest[0]}", rest[1:]
    if verb not in VERBS:
        near = difflib.get_close_matches(verb, VERBS, n=1)
        hint = f": did you mean {near[0]!r}?" if near else f": the verbs are {', '.join(VERBS)}"
        complain(f"there is no verb {verb!r}{hint}")
    sys.exit(run(verb, rest))


def usage() -> str:
    """The verbs, a line each."""
    lines = [f"  {verb:13} {what}" for verb, what in VERBS.items()]
    return "besnet: train and evaluate action-recognition networks on video\n\n" + "\n".join(
        ["usage: besnet VERB [ARGUMENTS]", "", *lines, "", "besnet VERB --help explains a verb's arguments."]
    )


def run(verb: str, words: list[str]) -> int:
    """Run one verb; what the user can mend becomes one line and exit code 2."""
    from besnet.data.orphans import end_with_launcher

    end_with_launcher()
    try:
        return {"train": train, "doctor": train, "launch": launch}.get(verb, call)(verb, words)
    except (ValueError, OSError) as error:
        complain(one_line(error))
    except KeyboardInterrupt:
        print("besnet: interrupted", file=sys.stderr)
        return 130


def call(verb: str, words: list[str]) -> int:
    """A verb that is one function: its arguments are the command line."""
    if verb == "evaluate" and "--ensemble" in words:
        return combine(words)
    function = verb_function(verb)
    parser = new_parser(verb)
    listed: set[str | int] = {"videos"} if verb in ("predict", "features") else set()
    for name in listed:
        parser.add_argument(str(name), nargs="+", type=Path, help="files, or folders whose videos are all taken")
    names = parser.add_function_arguments(function, as_positional=verb in POSITIONAL, fail_untyped=True, skip=listed)
    settings = parser.instantiate(parse(parser, words))
    result = function(**{str(name): settings[str(name)] for name in [*listed, *names]})
    if verb == "prepare":
        result = verb_function("coverage")(settings["out"])
    if isinstance(result, Path):
        print(f"page: {result}")
    return result if isinstance(result, int) else 0


def combine(words: list[str]) -> int:
    """`besnet evaluate --ensemble A B --out C`: evaluations that are finished, as one answer."""
    from besnet.evaluation.ensemble import ensemble

    parser = new_parser("evaluate")
    parser.add_argument("--ensemble", nargs="+", type=Path, required=True, help="folders of finished evaluations")
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    asked = parse(parser, words)
    ensemble(asked.ensemble, asked.out)
    return 0


def verb_function(verb: str) -> Callable[..., Any]:
    """The function behind a verb; imported only now, so that help and errors come at once."""
    if verb == "draw":
        from besnet.stick_figures.dataset import draw_dataset

        return draw_dataset
    if verb == "prepare":
        from besnet.data.prepare import prepare

        return prepare
    if verb == "verify":
        from besnet.data.verify import verify

        return verify
    if verb == "coverage":
        from besnet.report.coverage_page import coverage_page

        return coverage_page
    if verb == "evaluate":
        from besnet.evaluation.evaluate import evaluate

        return evaluate
    if verb in ("predict", "features"):
        from besnet.predict import verbs

        return verbs.predict if verb == "predict" else verbs.features
    if verb == "export":
        from besnet.predict.export import export

        return export
    if verb == "bench model":
        from besnet.bench.model import bench_model

        return bench_model
    if verb == "bench budget":
        from besnet.bench.budget import bench_budget

        return bench_budget
    if verb == "calibrate":
        from besnet.evaluation.calibration import calibrate

        return calibrate
    if verb == "lab":
        from besnet.lab.lab import lab

        return lab
    from besnet.demo import demo

    return demo


def train(verb: str, words: list[str]) -> int:
    """Train a network as a config says; goes on from the newest good checkpoint of the run's folder."""
    from lightning_fabric.utilities.exceptions import MisconfigurationException

    from besnet.training.run import train as train_run

    parser = train_parser(verb)
    parsed = parse(parser, words)
    config = plain(parser, parsed)
    try:
        built = parser.instantiate(parsed)
    except TypeError as error:
        raise ValueError(str(error)) from error
    if verb == "doctor":
        from besnet.jobs.doctor import doctor

        return doctor(config, built.out, config["model"], built.data, built.saving, config["trainer"])
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
        channels_last=built.channels_last,
        compiled=built.compiled,
        accept_changes=built.accept_changes,
    )
    try:
        return run()
    except MisconfigurationException as error:
        accelerator = config["trainer"]["accelerator"]
        if "backend" in str(error) or "accelerator" in str(error).lower():
            raise ValueError(
                f"trainer.accelerator {accelerator}: no CUDA device is visible here; use --trainer.accelerator cpu"
            ) from error
        raise ValueError(one_line(error)) from error


def launch(verb: str, words: list[str]) -> int:
    """Start many ranks: what stands before `train` or `evaluate` is for the launcher, the rest for them."""
    from besnet.jobs.launch import launch as launch_job

    cut = next((number for number, word in enumerate(words) if word in ("train", "evaluate")), len(words))
    parser = new_parser(verb)
    names = parser.add_function_arguments(launch_job, skip={"command"})
    settings = parser.instantiate(parse(parser, words[:cut]))
    return launch_job(command=words[cut:], **{name: settings[name] for name in names})


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
    parser.add_argument("--channels_last", type=bool, default=False, help="keep channels innermost in memory")
    parser.add_argument("--compiled", type=bool, default=False, help="compile the network (torch.compile) at the start")
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
    # typing takes int | float for float | int: whether 1 means one batch or all would depend on the order of imports
    own |= {f"limit_{stage}_batches" for stage in ("train", "val", "test", "predict")} | {"val_check_interval"}
    parser.add_class_arguments(Trainer, "trainer", skip=own, instantiate=False)
    parser.add_argument(
        "--trainer.limit_train_batches", type=int | None, default=None, help="micro-batches of an epoch; null for all"
    )
    return parser


def new_parser(verb: str) -> "ArgumentParser":
    """An argument parser that neither guesses abbreviations nor reads the environment."""
    from jsonargparse import ArgumentParser

    return ArgumentParser(prog=f"besnet {verb}", description=VERBS[verb], allow_abbrev=False, exit_on_error=False)


def parse(parser: "ArgumentParser", words: list[str]) -> "Namespace":
    """Parse the command line. ValueError with one line that names the argument, and the nearest name there is."""
    from argparse import ArgumentError

    try:
        return parser.parse_args(words)
    except ArgumentError as error:
        message = one_line(error)
    if message.startswith("Problems parsing config"):
        files = [word.partition("=")[2] or words[place + 1] for place, word in enumerate(words) if "--config" in word]
        raise ValueError(f"{' '.join(files)}: not readable as YAML: {message.partition(':')[2].strip()}")
    unknown = UNKNOWN.search(message)
    if unknown:
        word = unknown["option"] or f"{unknown['group'] or ''}{'.' if unknown['group'] else ''}{unknown['key']}"
        near = difflib.get_close_matches(word, known_keys(parser), n=1)
        raise ValueError(f"unknown argument {word!r}" + (f": did you mean {near[0]!r}?" if near else "; see --help"))
    raise ValueError(re.sub(r"<class '([\w.]+)'>", r"\1", message))


def known_keys(parser: "ArgumentParser") -> list[str]:
    """Every argument of a parser, by its dotted name."""
    return [action.dest for action in parser._actions if action.dest not in ("help", "print_config")]


def plain(parser: "ArgumentParser", parsed: "Namespace") -> dict[str, Any]:
    """The resolved config as plain values: what a checkpoint stores and config.yaml shows."""
    import yaml

    config: dict[str, Any] = yaml.safe_load(parser.dump(parsed, skip_unset=False))
    return config


def one_line(error: BaseException) -> str:
    """A message without its line breaks."""
    return " ".join(str(error).split()) or type(error).__name__


def complain(message: str) -> NoReturn:
    """Say what is wrong in one line and leave with exit code 2."""
    print(f"besnet: {message}", file=sys.stderr)
    sys.exit(WRONG_USE)
