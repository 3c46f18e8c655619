"""The verb `doubts`: which labels of the training and validation videos are likely wrong."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import yaml
from torch import Tensor

from besnet.checkpoints import model_folder
from besnet.checkpoints.lock import only_writer
from besnet.checkpoints.model_folder import LoadedModel
from besnet.checkpoints.pretrained import load_pretrained
from besnet.checkpoints.published_model import AS_STATED, Input, chosen
from besnet.checkpoints.store import bytes_hash
from besnet.checkpoints.weights_source import is_of_besnet
from besnet.data.known import count_known
from besnet.data.manifest import Manifest
from besnet.data.manifest_writing import load_checked, write_manifest
from besnet.evaluation.evaluate import evaluate
from besnet.evaluation.inference import InferenceSettings
from besnet.evaluation.label_doubts import doubts as doubts_of
from besnet.evaluation.label_doubts import fold_numbers, judged, out_of_fold
from besnet.evaluation.ranks import choose_device
from besnet.evaluation.stored import read_evaluation
from besnet.evaluation.views import evaluation_crop_size, settings
from besnet.files import write_text
from besnet.learn.candidates import STRENGTHS
from besnet.learn.judgement import Judgement, report
from besnet.learn.learn import DONE
from besnet.learn.timing import UNVALIDATED, Train
from besnet.models.build import build
from besnet.models.folding import fold
from besnet.predict.probe import Probe
from besnet.watchdog import watched

MOST_CLIPS, MOST_CROPS = 2, 3


def doubts(
    run: Path,
    train: Callable[[list[str]], int],
    out: Path | None = None,
    data: Path | None = None,
    network: str | None = None,
    weights: str | None = None,
    input: Input = AS_STATED,
    retrain: bool = False,
    seed: int = 0,
    device: str = "auto",
    workers: int = 2,
    watchdog_minutes: float = 30.0,
) -> Path:
    """List the videos whose labels are likely wrong: a table, and a page of contact sheets.

    Each training and validation video is judged by a network that has learned from the other videos: those of other
    folds, which keep groups together. Test videos are never judged. A run that started from weights is judged by linear
    heads on the features of these weights, which the labels have not changed; a run that started from noise is trained
    again without each fold, five times. A killed command resumes.

    Args:
        run: run folder, the folder of a `besnet learn`, a model folder or a checkpoint.
        train: what trains from the words of a command line; returns its exit code.
        out: folder to write to; by default `doubts` in the run folder.
        data: prepared data set; by default that of the run.
        network: with --weights, judge by the features of another network, such as tf_efficientnet_lite0.
        weights: published weights by name (lite, KINETICS400_V1), or a file of weights.
        input: how that network takes videos, where it is not as the weights say.
        retrain: train again without each fold also where the run started from weights: slower, and surer where motion
            tells the classes apart.
        seed: seed of the folds.
        device: auto, cpu, cuda or cuda:N.
        workers: processes that decode; 0 decodes in this process.
        watchdog_minutes: minutes without progress after which the process exits with code 69.
    """
    given = model_folder.given(run / "model" if (run / DONE).is_file() else run)
    manifest = load_checked(data or Path(settings(given.trained.config, given.name)["data"]["folder"]))
    if manifest.multi_label:
        raise ValueError(
            f"{manifest.folder}: its videos have several labels: only data of one label per video is judged"
        )
    rows = np.concatenate([manifest.select("train"), manifest.select("val")])
    rows = rows[manifest.labels[rows] >= 0]
    labels, groups = manifest.labels[rows], manifest.groups(rows)
    if len(np.unique(labels)) < 2:
        raise ValueError(f"{manifest.folder}: videos of two classes are needed in the splits train and val")
    folds = fold_numbers(labels, groups, seed)
    out = out or (run if run.is_dir() else run.parent) / "doubts"
    if retrain and (network or weights):
        raise ValueError("--retrain trains the run's own network: leave --network and --weights out")
    features = chosen(None, network, weights, input, None) if weights or network else start_of(given)
    with only_writer(out, "doubts"):
        if features is None or retrain:
            print(f"{given.name} is trained again without each of {folds.max() + 1} folds")
            if (before := model_before(given)) is not None:
                warn_of_known(before.name, before.trained.inherited, manifest, rows)
            probabilities = trained_without(given, manifest, rows, folds, out, train, workers)
            how = "networks that were trained without the fold of the video"
        else:
            warn_of_known(features.name, features.trained.trained_on, manifest, rows)
            place = choose_device(device)
            with watched(watchdog_minutes) as pulse:
                look = Probe(features, fold(features.trained.network.to(place)), manifest,
                             inference_of(features, workers), out / "features", place, pulse)  # fmt: skip
                probabilities = out_of_fold(look.videos(rows, mirror=False), folds, len(manifest.classes), STRENGTHS)
            how = f"linear heads, without the fold of the video, on the features of {features.name}"
        able = judged(labels, folds) & np.isfinite(probabilities).all(axis=1)
        if not able.any():
            raise ValueError(f"{manifest.folder}: no label can be judged: all videos of a class are of one group")
        agreed = float((probabilities.argmax(axis=1) == labels)[able].mean())
        return report(Judgement(manifest, rows, able, how, agreed, doubts_of(probabilities, labels, able)), out)


def start_of(given: LoadedModel) -> LoadedModel | None:
    """The network as it was before it learned from the labels; None where it started from noise."""
    source = given.trained.config.get("pretrained")
    if "probe" in given.trained.config:  # only its last layer has learned, and features are what that is given
        return replace(given, name=str(source), trained=replace(given.trained, trained_on=learned_by(given)))
    if not source:
        return None
    network = build(given.trained.model)
    print(load_pretrained(network, source, given.trained.model, given.trained.classes).said)
    state = b"".join(weight.contiguous().numpy().tobytes() for weight in network.state_dict().values())
    trained = replace(given.trained, network=network.eval(), trained_on=learned_by(model_before(given)))
    return replace(given, name=source, hash=bytes_hash(state), trained=trained)


def model_before(given: LoadedModel) -> LoadedModel | None:
    """The model of besnet that a network was trained from; None where it started from published weights or noise."""
    source = given.trained.config.get("pretrained")
    return model_folder.given(Path(source)) if source and is_of_besnet(Path(source)) else None


def learned_by(given: LoadedModel | None) -> Tensor | None:
    """Fingerprints of the videos that a network's features have learned from; those of a linear probe are those of the
    network under it."""
    while given is not None and "probe" in given.trained.config:
        given = model_before(given)
    return given.trained.inherited if given is not None else None


def warn_of_known(name: str, known: Tensor | None, manifest: Manifest, rows: np.ndarray) -> None:
    """Say how many of the videos the judges' weights have learned from, with their labels."""
    count = None if known is None else count_known(manifest, rows, known.numpy())
    if count:
        print(
            f"WARNING: {name} was trained on {count} of these {len(rows)} videos with their labels: fewer wrong ones "
            "are found; judge by other features with --network and --weights"
        )


def inference_of(given: LoadedModel, workers: int) -> InferenceSettings:
    """The views that features are taken of: those of the run's evaluation, but not many."""
    config = settings(given.trained.config, given.name)
    plan = config["evaluation"]
    few = replace(plan, num_clips=min(plan.num_clips, MOST_CLIPS), num_crops=min(plan.num_crops, MOST_CROPS), pairs=[])
    return InferenceSettings(config["data"]["clip"], few, evaluation_crop_size(config), workers, "pyav")


def trained_without(
    given: LoadedModel, manifest: Manifest, rows: np.ndarray, folds: np.ndarray, out: Path, train: Train, workers: int
) -> np.ndarray:
    """Probabilities float32 (N, C) of each video by a training with the run's config without the video's fold; nan for
    a video that cannot be read."""
    config = {key: value for key, value in given.trained.config.items() if key != "world_size"}
    write_text(out / "config.yaml", yaml.safe_dump(config, sort_keys=False))
    found = np.full((len(rows), len(manifest.classes)), np.nan, dtype=np.float32)
    for number in range(folds.max() + 1):
        folder = out / f"fold_{number}"
        held_out = rows[folds == number]
        without = split_anew(manifest, rows, held_out, folder / "data")
        print(f"\nfold {number + 1} of {folds.max() + 1}", flush=True)
        code = train([f"--config={out / 'config.yaml'}", f"--data.folder={without.folder}", f"--out={folder / 'run'}",
                      *UNVALIDATED])  # fmt: skip
        if code:
            raise ValueError(f"{folder / 'run'}: its training ended with exit code {code}: see above")
        evaluate(folder / "run", data=without.folder, split="val", out=folder / "results", workers=workers,
                 allow_training_videos=True)  # fmt: skip  # which has been said
        read = read_evaluation(folder / "results")
        by_id = dict(zip(read.ids.tolist(), read.probabilities.mean(axis=1), strict=True))
        for place in np.flatnonzero(folds == number):
            found[place] = by_id.get(manifest[int(rows[place])].id, np.nan)
    return found


def split_anew(manifest: Manifest, rows: np.ndarray, held_out: np.ndarray, folder: Path) -> Manifest:
    """An index of the same videos: the held-out ones are the validation split, the others of `rows` train."""
    split = dict.fromkeys(rows.tolist(), "train") | dict.fromkeys(held_out.tolist(), "val")
    moved = (replace(manifest[row], split=split.get(row, manifest[row].split)) for row in range(len(manifest)))
    root = manifest.root if "://" in manifest.root else str(Path(manifest.root).resolve())
    about = manifest.about
    folder.mkdir(parents=True, exist_ok=True)
    return write_manifest(folder, manifest.name, manifest.classes, root, moved, about.encode, about.shards)
