"""The verb `probe`: a linear head on a network's features, which are computed once."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from besnet.checkpoints import model_folder
from besnet.checkpoints.header import united
from besnet.checkpoints.lock import only_writer
from besnet.checkpoints.model_folder import LoadedModel
from besnet.checkpoints.published_model import AS_STATED, Input, chosen
from besnet.data.known import count_known, fingerprints
from besnet.data.manifest import Manifest
from besnet.data.manifest_writing import load_checked
from besnet.data.targets import targets
from besnet.evaluation.feature_cache import FeatureCache, VideoFeatures
from besnet.evaluation.inference import InferenceSettings, RowPrediction
from besnet.evaluation.linear_heads import Head, Score, Videos, best, fit_heads, folds, scores
from besnet.evaluation.opening import describe
from besnet.evaluation.ranks import choose_device
from besnet.evaluation.results import finish
from besnet.evaluation.truth import check_new, training_videos
from besnet.evaluation.views import evaluation_crop_size, settings
from besnet.models.folding import fold
from besnet.models.network import Network
from besnet.predict.export import contract
from besnet.predict.new_head import with_head
from besnet.report.numbers import percent
from besnet.video.reader import Backend
from besnet.watchdog import Pulse, watched

STRENGTHS = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)


def probe(
    data: Path,
    out: Path,
    ckpt_path: Path | None = None,
    network: str | None = None,
    weights: str | None = None,
    input: Input = AS_STATED,
    strengths: Sequence[float] = STRENGTHS,
    num_clips: int = 1,
    num_crops: int = 1,
    mirror: bool = False,
    refit: bool = False,
    split: str | None = "test",
    cache: Path | None = None,
    device: str = "auto",
    workers: int = 2,
    backend: Backend = "pyav",
    allow_training_videos: bool = False,
    watchdog_minutes: float = 30.0,
) -> None:
    """Train nothing but a last layer: logistic regression on the features of a network that stays as it is.

    Features are computed once for the same data, weights and views, and kept; a killed probe resumes. The strength of
    the regularisation is chosen by the validation split or, without one, by five folds of the training videos that
    keep groups together. The test split is looked at once, with the head that was chosen. Writes results.json,
    predictions.npz and report.html as `besnet evaluate` does, and a model folder that `besnet predict` takes.

    Args:
        data: prepared data set.
        out: folder for the results, the features and the model folder.
        ckpt_path: model folder, run folder (its newest valid checkpoint) or checkpoint file.
        network: with --weights, the network that they are for: a video network (mvit_v2_s), a 2D network of timm or
            torchvision (the largest features over time are classified), or module:Class.
        weights: instead of a checkpoint: published weights by name (lite, KINETICS400_V1), or a file of weights.
        input: how the network takes videos, where it is not as the weights say.
        strengths: scikit-learn's C of each head; a smaller one regularises more.
        num_clips: clips of each video, in training and evaluation.
        num_crops: crops of each clip, in training and evaluation.
        mirror: learn from mirrored views as well.
        refit: once the strength is chosen, learn from the validation videos as well.
        split: the split to evaluate on; null for none.
        cache: folder of features, which several probes may share; by default `features` in --out.
        device: auto, cpu, cuda or cuda:N.
        workers: processes that decode; 0 decodes in this process.
        backend: decoder of the videos.
        allow_training_videos: evaluate although the network or its last layer was trained on some of the videos of
            `split`: the accuracy then shows how well it remembers them.
        watchdog_minutes: minutes without progress after which the process exits with code 69.
    """
    given = chosen(ckpt_path, network, weights, input, None)
    manifest = load_checked(data)
    config = settings(given.trained.config, given.name)
    plan = replace(config["evaluation"], num_clips=num_clips, num_crops=num_crops, pairs=[])
    inference = InferenceSettings(config["data"]["clip"], plan, evaluation_crop_size(config), workers, backend)
    learned = labelled(manifest, "train")
    if len(np.unique(known_labels(manifest, learned), axis=0)) < 2:
        raise ValueError(f"{manifest.folder}: videos of two classes are needed in the train split")
    if split is not None and not len(manifest.select(split, state=None)):
        raise ValueError(f"{manifest.folder}: no video in the split {split}")
    if refit and split == "val":
        raise ValueError("--refit learns from the validation videos: evaluate on another split")
    held_out = labelled(manifest, "val")
    last = np.concatenate([learned, held_out]) if refit else learned
    before = given.trained.inherited
    if split is not None:
        known = united(fingerprints(manifest, last), before).numpy()
        check_new(manifest, split, count_known(manifest, manifest.select(split), known), allow_training_videos)
    if given.said:
        print(given.said)
    judges = held_out if len(held_out) else learned
    if before is not None and (count := count_known(manifest, judges, before.numpy())):
        print(f"WARNING: {given.name} was trained on {count} of the {len(judges)} videos that choose the strength: the "
              "figures of this choice are too high")  # fmt: skip
    place = choose_device(device)
    extractor = fold(given.trained.network.to(place))
    with only_writer(out, "probe"), watched(watchdog_minutes) as pulse:
        work = Probe(given, extractor, manifest, inference, cache or out / "features", place, pulse)
        train = work.videos(learned, mirror)
        found, how = work.compared(train, learned, strengths, mirror)
        score = best(found)
        print_scores(found, score, how, "mAP" if manifest.multi_label else "top-1")
        if len(last) > len(learned):
            train = work.videos(last, mirror)
        (_, head), *_ = fit_heads(train, len(manifest.classes), [score.strength])
        model = with_head(given, head, manifest, last, inference, score)
        model_folder.write(out / "model", model, contract(model, settings(model.trained.config, model.name)), {})
        print(f"model folder: {out / 'model'}: besnet predict VIDEO --ckpt_path {out / 'model'}")
        if split is not None:
            work.evaluate(model, head, split, out, {"chosen_by": how, "scores": [asdict(one) for one in found]})


def labelled(manifest: Manifest, split: str) -> np.ndarray:
    """The rows of the readable videos of a split that have a label."""
    rows = manifest.select(split)
    return rows if manifest.multi_label else rows[manifest.labels[rows] >= 0]


def known_labels(manifest: Manifest, rows: np.ndarray) -> np.ndarray:
    """The labels of rows: int64 (N,), or of several labels per video uint8 (N, C) of 0 and 1."""
    return targets(manifest, rows).astype(np.uint8) if manifest.multi_label else manifest.labels[rows]


@dataclass
class Probe:
    """One network's features of one data set."""

    given: LoadedModel
    network: Network
    manifest: Manifest
    inference: InferenceSettings
    cache: Path
    device: torch.device
    pulse: Pulse

    def features(self, rows: np.ndarray, mirrored: bool = False) -> list[VideoFeatures]:
        """Those of rows, from the cache where they are in it."""
        kept = FeatureCache(self.cache, self.network, self.given.hash, self.manifest, self.inference, mirrored)
        return kept.of(rows, self.device, self.pulse)

    def videos(self, rows: np.ndarray, mirror: bool) -> Videos:
        """Features and labels to learn from. ValueError for a video that cannot be read: prepare says which can."""
        sides = [self.features(rows, mirrored) for mirrored in ((False, True) if mirror else (False,))]
        unread = [one for one in sides[0] if one.features is None]
        if unread:
            raise ValueError(
                f"{self.manifest.folder}: {len(unread)} videos to learn from cannot be read (the first: "
                f"{self.manifest[unread[0].row].id}: {unread[0].why}): run `besnet prepare` again"
            )
        views = [np.stack([one.features for one in side if one.features is not None]) for side in sides]
        return Videos(np.concatenate(views, axis=1), known_labels(self.manifest, rows))

    def compared(
        self, train: Videos, learned: np.ndarray, strengths: Sequence[float], mirror: bool
    ) -> tuple[list[Score], str]:
        """What each strength reaches on videos that it has not learned from, and which these are."""
        held_out = labelled(self.manifest, "val")
        classes = len(self.manifest.classes)
        if len(held_out):
            tested = self.videos(held_out, mirror=False)
            return scores([(train, tested)], classes, strengths), f"the {len(held_out)} validation videos"
        groups = self.manifest.groups(learned)
        views = self.inference.plan.num_views
        parts = [(a, Videos(b.features[:, :views], b.labels)) for a, b in folds(train, groups)]
        named = sum(bool(self.manifest[int(row)].group) for row in learned)
        how = f"{len(parts)} folds of the training videos, by group ({len(set(groups))} groups)"
        if not named:
            how = (
                f"{len(parts)} folds of the training videos, by video: the data names no groups, and videos of one "
                "recording in two folds make every figure too high (see besnet prepare --group)"
            )
        return scores(parts, classes, strengths), how

    def evaluate(self, model: LoadedModel, head: Head, split: str, out: Path, choice: dict[str, Any]) -> None:
        """Look at the test split once, and write its results."""
        rows = self.manifest.select(split, state=None)
        got = self.features(self.manifest.select(split))
        predictions = [
            RowPrediction(one.row, None, why=one.why)
            if one.features is None
            else RowPrediction(one.row, head.probabilities(one.features[None])[0], one.looped)
            for one in got
        ]
        trained, plan = model.trained, self.inference.plan
        about: dict[str, Any] = {
            "data": {"name": self.manifest.name, "passport": asdict(self.manifest.passport)},
            "split": split,
            "checkpoint": {
                "file": "model",
                "hash": model.hash,
                "revision": trained.revision,
                "passport": trained.passport,
                "network": f"{describe(trained)}, linear probe of {self.given.name}",
                "position": trained.position,
            },
            "views": asdict(replace(plan, crop_size=self.inference.crop_size)),
            "clip": asdict(self.inference.shape),
            "dilations": list(trained.network.dilations),
            "backend": self.inference.backend,
            "classes": trained.classes,
            "recalibrated_on": None,
            "trained_on": training_videos(trained, self.manifest, split),
            "probe": choice,
        }
        if self.manifest.multi_label:
            about |= {"multi_label": True, "activation": "sigmoid"}
        labels = known_labels(self.manifest, rows)
        finish(out, about, self.manifest, rows, labels, predictions, f"features on {self.device}, a linear head")


def print_scores(found: Sequence[Score], chosen: Score, how: str, what: str) -> None:
    """What each strength reached, and which was chosen."""
    print(f"chosen by the mean of -log(probability) over {how}:")
    for score in found:
        mark = "  <" if score is chosen else ""
        print(f"  C {score.strength:<8g} {what} {percent(score.top1):>7}  -log(p) {score.nll:.3f}{mark}")
