"""The verb `evaluate`: a checkpoint and a prepared data set → coverage, accuracy and a page."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from besnet.checkpoints.lock import OnlyWriter
from besnet.checkpoints.published_model import AS_STATED, Input
from besnet.data.manifest import SPLITS
from besnet.data.manifest_writing import load_checked
from besnet.evaluation.comparison import check_comparable
from besnet.evaluation.forward import Precision
from besnet.evaluation.inference import InferenceSettings, run_inference
from besnet.evaluation.kept_maps import take_maps
from besnet.evaluation.opening import describe, opened, weights_line
from besnet.evaluation.ranks import Ranks, joined
from besnet.evaluation.recalibration import recalibrated
from besnet.evaluation.results import finish
from besnet.evaluation.stored import read_evaluation
from besnet.evaluation.truth import check_new, own_labels, own_sets, training_videos
from besnet.evaluation.views import evaluation_crop_size, settings
from besnet.files import write_text
from besnet.models.folding import fold
from besnet.models.recalibration import norm_channels
from besnet.progress import clock
from besnet.text import file_name
from besnet.video.reader import Backend
from besnet.watchdog import watched


def evaluate(
    ckpt_path: Path | None = None,
    network: str | None = None,
    weights: str | None = None,
    input: Input = AS_STATED,
    classes: str | None = None,
    data: Path | None = None,
    split: str = "test",
    num_clips: int | None = None,
    num_crops: int | None = None,
    dilations: list[int] | None = None,
    out: Path | None = None,
    device: str = "auto",
    workers: int = 2,
    backend: Backend = "pyav",
    precision: Precision = "32",
    compile: bool = False,
    no_ema: bool = False,
    recalibrate: int | None = None,
    baseline: Path | None = None,
    allow_training_videos: bool = False,
    watchdog_minutes: float = 30.0,
) -> None:
    """Evaluate a checkpoint on every video of a split, each exactly once. No video is substituted.

    Prints expected, evaluated, missing and undecodable videos and the accuracy, both over the evaluated ones and with
    the missing ones counted wrong. Writes results.json, predictions.npz (probabilities of every view), report.html,
    and submission.csv where the split has no labels. Where videos have several labels, average precision takes the
    place of accuracy. Under torchrun the ranks share the work; a killed evaluation
    resumes when the same command is run again.

    Args:
        ckpt_path: checkpoint file, run folder (its newest good checkpoint is taken) or model folder.
        network: with --weights, the network that they are for: a video network (mvit_v2_s), a 2D network of timm or
            torchvision, or module:Class; with --ckpt_path, the class of its network where that is your own.
        weights: instead of a checkpoint: published weights by name (KINETICS400_V1), or a file of weights.
        input: how the network takes videos, where it is not as the weights say.
        classes: names for the classes of --weights: a list of besnet's (kinetics400) or a text file.
        data: prepared data set; by default the one that the checkpoint was trained on.
        split: split of the data set.
        num_clips: clips of each video; by default as in the checkpoint's config.
        num_crops: crops of each clip; by default as in the checkpoint's config.
        dilations: dilations to average over, such as [1,2]; a single one is a fixed dilation; by default the set that
            the network was trained with.
        out: folder for the results; by default below the run's folder. A model folder needs it.
        device: auto, cpu, cuda or cuda:N.
        workers: processes that decode on each rank; 0 decodes in the evaluating process.
        backend: decoder of the videos.
        precision: 32, or bf16 for faster products on a GPU that has them; probabilities then differ slightly.
        compile: compile the network with torch.compile. The first video waits for the compiler, the others are faster
            on a GPU; probabilities then differ by rounding.
        no_ema: evaluate the weights as the optimiser left them, not their moving average (EMA).
        recalibrate: measure the BatchNorm statistics again on this many training videos of `data`, with averaged
            dilations, and keep them beside the checkpoint. null: use those gathered in training.
        baseline: folder of a finished evaluation of the same split, to compare this one with on the page.
        allow_training_videos: evaluate although the network was trained on some of these videos: the accuracy
            then shows how well it remembers them.
        watchdog_minutes: after so long without progress the evaluation prints its stage and exits with code 69.
    """
    given, checkpoint = opened(ckpt_path, network, weights, input, classes, dilations, no_ema)
    if checkpoint is None and recalibrate:
        raise ValueError("--recalibrate: only for a checkpoint, beside which the statistics are kept")
    trained = given.trained
    config = settings(trained.config, given.name)
    if data is None and not config["data"]["folder"]:
        raise ValueError("--data is needed: published weights know no prepared data set")
    if out is None and given.run is None:
        raise ValueError("--out is needed: a model folder belongs to no run")
    manifest = load_checked(data or Path(config["data"]["folder"]))
    plan = config["evaluation"].with_views(num_clips, num_crops)
    shape = config["data"]["clip"]
    crop_size = evaluation_crop_size(config)
    trained.network.check_clip(shape.num_frames, crop_size)
    take_maps(trained.network, manifest, crop_size, plan.whole or False)
    if compile and manifest.maps is not None:
        raise ValueError(f"--compile: {manifest.folder} keeps maps, which pass by a part of the network: leave it out")
    if recalibrate and not norm_channels(trained.network):
        raise ValueError(f"--recalibrate: the network of {given.name} has no BatchNorm: leave it out")
    rows = manifest.select(split, state=None)
    if not len(rows):
        there = [name for name in SPLITS if len(manifest.select(name, state=None))]
        raise ValueError(f"{manifest.folder}: no video in the split {split}; there are videos in: {', '.join(there)}")
    if not given.named:
        raise ValueError(
            f"{given.name}: its classes have no names, and are never matched by their order: give them with --classes"
        )
    several = trained.multi_label or manifest.multi_label
    if several and plan.pairs:
        raise ValueError("evaluation.pairs: pairwise accuracy is for one label per video: leave the pairs out")
    labels = (own_sets if several else own_labels)(manifest, rows, trained.classes)
    known = training_videos(trained, manifest, split)
    check_new(manifest, split, known, allow_training_videos)
    other = None if baseline is None else read_evaluation(baseline)
    if other is not None:
        check_comparable(other, trained.classes, split, [manifest[int(row)].id for row in rows], several)
    taps = "_".join(map(str, trained.network.dilations))
    name = f"{file_name(manifest.name)}-{split}-{plan.num_clips}x{plan.num_crops}-d{taps}"
    if no_ema:
        name += "-raw"
    if recalibrate:
        name += f"-bn{recalibrate}"
    if precision != "32":
        name += f"-{precision}"
    if compile:
        name += "-compiled"
    folder = out or Path(str(given.run)) / "evaluations" / name
    if baseline is not None and baseline.resolve() == folder.resolve():
        raise ValueError(f"--baseline {baseline}: this evaluation writes to it: give another evaluation, or set --out")
    about: dict[str, Any] = {
        "data": {"name": manifest.name, "passport": asdict(manifest.passport)},
        "split": split,
        "checkpoint": {
            "file": checkpoint.path.name if checkpoint else given.name,
            "hash": given.hash,
            "revision": trained.revision,
            "passport": trained.passport,
            "network": describe(trained),
            "position": trained.position,
        },
        "views": asdict(replace(plan, crop_size=crop_size)),
        "clip": asdict(shape),
        "dilations": list(trained.network.dilations),
        "backend": backend,
        "classes": trained.classes,
        "recalibrated_on": recalibrate,
        "precision": precision,
        "compile": compile,
        "trained_on": known,
    }
    if several:
        about |= {"multi_label": True, "activation": "sigmoid" if trained.multi_label else "softmax"}
    with joined(device) as ranks, held(folder, about, ranks), watched(watchdog_minutes, ranks.rank) as pulse:
        if ranks.rank == 0 and checkpoint and checkpoint.content["besnet"].get("ema") is not None:
            print(weights_line(trained))
        if ranks.rank == 0 and given.said:
            print(given.said)
        ready = np.array([row for row in rows if manifest[int(row)].state == "ready"], dtype=np.int64)
        trained.network.to(ranks.device)
        inference = InferenceSettings(shape, plan, crop_size, workers, backend, precision, trained.multi_label, compile)
        if recalibrate and checkpoint:
            beat = partial(pulse, "recalibration")
            norms, measured = recalibrated(trained, checkpoint, manifest, recalibrate, no_ema, inference, ranks, beat)
            if ranks.rank == 0:
                print(f"BatchNorm statistics of {measured} training videos ({recalibrate} requested): {norms}")
        folded = fold(trained.network)
        started_sec = time.monotonic()
        got, fresh = run_inference(folded, manifest, ready, inference, ranks, folder / "parts", pulse)
        if ranks.rank == 0:
            took_sec = time.monotonic() - started_sec
            rate = fresh / max(took_sec, 1e-6)
            cost = f"{clock(took_sec)} on {ranks.world_size} x {ranks.device}, {rate:.1f} videos/s"
            if fresh < len(got):
                cost += f"; {len(got) - fresh} videos were evaluated before"
            finish(folder, about, manifest, rows, labels, got, cost, other)


@contextmanager
def held(folder: Path, about: dict[str, Any], ranks: Ranks) -> Iterator[None]:
    """Lock the folder, and delete saved predictions of another checkpoint, data set or plan from it."""
    writer, problem = OnlyWriter(folder, "evaluation"), None
    if ranks.rank == 0:
        try:
            writer.take()
            clear(folder / "parts", json.dumps(about))
        except OSError as error:
            problem = (
                f"{error.filename}: {error.strerror}: choose another folder with --out"
                if error.filename
                else str(error)
            )
    try:
        problem = ranks.broadcast(problem)
        if problem:
            raise OSError(problem)
        yield
    finally:
        writer.release()


def clear(parts: Path, wanted: str) -> None:
    """Make the folder of saved predictions; keep its files only where they are of the same evaluation."""
    parts.mkdir(parents=True, exist_ok=True)
    identity = parts / "about.json"
    if not identity.exists() or identity.read_text() != wanted:
        for old in parts.glob("part-*.npz"):
            old.unlink()
        write_text(identity, wanted)
