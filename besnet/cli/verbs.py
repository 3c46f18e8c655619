"""The verbs of the command line, declared once: what each does, and the function behind it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from besnet.formats.config_keys import DROPPED, RENAMED


@dataclass(frozen=True)
class Verb:
    """One verb.

    group: its heading in the usage. function: `module:name` of the function whose typed arguments are the command line;
    imported only when the verb runs, so that usage and errors come at once. positional: its required arguments are
    given by position. reader: `module:name` of the function that parses the command line. arguments_file: an argument
    that names a YAML file of the others. shown: the arguments of `--help`, where `--help_all` shows more; empty for
    all. after: what its command line ends with. renamed: old flags that still work, and their new names. dropped: old
    flags without effect, and why.
    """

    group: str
    description: str
    function: str
    positional: bool = False
    reader: str = "besnet.cli.commands:call"
    arguments_file: str = ""
    shown: tuple[str, ...] = ()
    after: str = ""
    renamed: Mapping[str, str] = field(default_factory=dict)
    dropped: Mapping[str, str] = field(default_factory=dict)

    def load(self) -> Callable[..., Any]:
        """The function."""
        return loaded(self.function)

    def read(self, verb: str, words: list[str]) -> int:
        """Parse the words, call the function, and return the exit code."""
        code: int = loaded(self.reader)(verb, words)
        return code


def loaded(place: str) -> Callable[..., Any]:
    """A function by its `module:name`."""
    module, name = place.split(":")
    function: Callable[..., Any] = getattr(import_module(module), name)
    return function


OWN, START, DATA, TRAIN, USE, MEASURE = (
    "your own videos",
    "try it",
    "prepare videos",
    "train",
    "evaluate and use a network",
    "measure speed",
)
OF_TRAINING = (
    "config", "out", "data.folder", "pretrained", "seed", "model.network", "model.backbone", "model.dilations",
    "data.clip.num_frames", "data.clip.frame_interval", "data.crop_size", "data.batch_size", "data.workers",
    "data.val_videos", "recipe.optimizer", "recipe.lr", "recipe.warmup_epochs", "recipe.ema", "trainer.max_epochs",
    "trainer.devices", "trainer.accelerator", "trainer.precision", "compile", "accept_changes",
)  # fmt: skip

VERBS = {
    "learn": Verb(
        OWN,
        "from a folder of your own videos to a trained network, in one command",
        "besnet.learn.learn:learn",
        reader="besnet.cli.commands:learn",
    ),
    "doubts": Verb(
        OWN,
        "list the videos of a run whose labels are likely wrong",
        "besnet.learn.doubts:doubts",
        positional=True,
        reader="besnet.cli.commands:doubts",
    ),
    "runs": Verb(
        OWN,
        "list the runs below a folder: how far they are, and their validation",
        "besnet.learn.runs:runs",
        positional=True,
    ),
    "demo": Verb(START, "draw videos, train and evaluate on them, in a few minutes on a CPU", "besnet.demo:demo"),
    "draw": Verb(
        START,
        "draw the stick-figure data set: video files of 12 actions",
        "besnet.stick_figures.dataset:draw_dataset",
        positional=True,
    ),
    "prepare": Verb(
        DATA,
        "index a folder or a list of videos; check and decode each video once",
        "besnet.data.prepare:prepare",
        positional=True,
        reader="besnet.cli.commands:prepare",
        shown=(
            "source",
            "out",
            "videos",
            "classes",
            "val",
            "test",
            "index_only",
            "copy",
            "short_side",
            "workers",
            "part",
        ),
        renamed={"deadline_sec": "timeout_sec"},
    ),
    "verify": Verb(
        DATA,
        "check a prepared data set's files against its manifest",
        "besnet.data.verify:verify",
        positional=True,
        renamed={"deadline_sec": "timeout_sec"},
    ),
    "coverage": Verb(
        DATA,
        "write a page of what a prepared data set has and lacks",
        "besnet.report.coverage_page:coverage_page",
        positional=True,
    ),
    "maps": Verb(
        DATA,
        "keep what a config's frozen layers put out for every frame, to fine-tune the others on",
        "besnet.training.kept_maps:maps",
        reader="besnet.cli.commands:maps",
    ),
    "train": Verb(
        TRAIN,
        "train a network from a config; resumes an interrupted run",
        "besnet.training.run:train",
        reader="besnet.cli.training:train",
        shown=OF_TRAINING,
        renamed=RENAMED,
        dropped=DROPPED,
    ),
    "doctor": Verb(
        TRAIN,
        "check this machine, the data and the run folder before a training; takes its arguments",
        "besnet.jobs.doctor:doctor",
        reader="besnet.cli.training:train",
        shown=OF_TRAINING,
        renamed=RENAMED,
        dropped=DROPPED,
    ),
    "launch": Verb(
        TRAIN,
        "train, evaluate or prepare on many machines, with torchrun, Slurm or Kubernetes",
        "besnet.jobs.launch:launch",
        reader="besnet.cli.commands:launch",
        after="train|evaluate|prepare|lab ...",
        renamed={
            "on": "launcher",
            "ranks": "nproc_per_node",
            "nodes": "nnodes",
            "node": "node_rank",
            "master": "rdzv_endpoint",
            "retries": "max_restarts",
            "file": "job_file",
        },
    ),
    "lab": Verb(
        TRAIN,
        "train networks that differ in one thing, over seeds, and compare them; --power PILOT plans a lab",
        "besnet.lab.lab:lab",
        reader="besnet.cli.commands:lab",
        arguments_file="plan",
        renamed={"at_once": "max_parallel", "factors": "frame_interval_scales"},
    ),
    "evaluate": Verb(
        USE,
        "evaluate a network on a prepared data set; --ensemble A B combines evaluations; --spans TABLE: spans",
        "besnet.evaluation.evaluate:evaluate",
        reader="besnet.cli.commands:evaluate",
        shown=(
            "ckpt_path",
            "network",
            "weights",
            "data",
            "split",
            "num_clips",
            "num_crops",
            "dilations",
            "out",
            "device",
            "workers",
            "no_ema",
            "baseline",
        ),
        renamed={"against": "baseline", "raw_weights": "no_ema"},
    ),
    "probe": Verb(
        USE,
        "train nothing but a last layer on a network's features, which are computed once",
        "besnet.predict.probe:probe",
        shown=("data", "out", "ckpt_path", "network", "weights", "num_clips", "num_crops", "mirror", "strengths"),
    ),
    "calibrate": Verb(
        USE,
        "fit a temperature on one split's predictions, so that probabilities match frequencies",
        "besnet.evaluation.calibration:calibrate",
        positional=True,
    ),
    "predict": Verb(
        USE,
        "predict the classes of video files; draws pictures and timelines",
        "besnet.predict.verbs:predict",
    ),
    "features": Verb(
        USE,
        "extract the network's features of video files, as NPZ",
        "besnet.predict.verbs:features",
    ),
    "export": Verb(
        USE,
        "write a checkpoint as a model folder, as ONNX or for torch.export",
        "besnet.predict.export:export",
    ),
    "bench model": Verb(
        MEASURE,
        "time a network here: parameters, GFLOP, memory, clips/s, MFU",
        "besnet.bench.model:bench_model",
        renamed={"compiled": "compile"},
    ),
    "bench budget": Verb(
        MEASURE,
        "estimate the GPU hours of a config",
        "besnet.bench.budget:bench_budget",
        positional=True,
    ),
}


def usage() -> str:
    """The verbs by what a user wants to do, a line each."""
    lines = ["besnet: train and evaluate action-recognition networks on video", "", "usage: besnet VERB [ARGUMENTS]"]
    for group in dict.fromkeys(verb.group for verb in VERBS.values()):
        lines += ["", f"{group}:"]
        lines += [f"  {name:13} {verb.description}" for name, verb in VERBS.items() if verb.group == group]
    return "\n".join([*lines, "", "besnet VERB --help shows a verb's arguments."])
