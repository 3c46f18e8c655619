"""Checks of a lab's arguments before anything is written or trained: an error hours later costs more."""

import re
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from besnet.data.known import among, fingerprints
from besnet.data.manifest import Manifest
from besnet.evaluation.views import ViewPlan
from besnet.lab.comparisons import Comparisons
from besnet.lab.controls import Control, find_control
from besnet.lab.networks import fitted
from besnet.lab.plan import Family
from besnet.video.sampling import ClipShape

# networks are compared on equal clips and cut-outs
SHARED = ("data.folder", "data.clip", "data.crop_size")


def find_controls(controls: list[str], settings: dict[str, Any]) -> list[Control]:
    """The controls by name, for a config. ValueError if two have the same name, one changes a setting that all must
    share, or one has an argument that its network has not."""
    chosen = [fitted(find_control(text), settings) for text in controls]
    if not chosen or len({control.name for control in chosen}) < len(chosen):
        raise ValueError("--controls: give at least one, each with its own name")
    for control in chosen:
        for word in control.words:
            if word.startswith(tuple(f"--{name}" for name in SHARED)):
                raise ValueError(
                    f"--controls: {control.name}: {word}: all controls are compared on equal clips: set it in --config"
                )
    return chosen


def clip_and_views(config: Path, settings: dict[str, Any], num_clips: int | None) -> tuple[ClipShape, ViewPlan]:
    """The clips and the views of a config. ValueError if these settings do not exist."""
    try:
        shape = ClipShape(**settings.get("data", {}).get("clip", {}))
        views = ViewPlan(**settings.get("evaluation", {})).with_views(num_clips, None)
        return shape, replace(views, pairs=[(str(first), str(second)) for first, second in views.pairs])
    except (TypeError, ValueError) as error:
        raise ValueError(f"{config}: data.clip or evaluation: {error}") from error


def check_data(manifest: Manifest, split: str) -> None:
    """ValueError if there is no video to train or to evaluate on, or one without a label."""
    if split == "train":
        raise ValueError("--split train: the networks are trained on it: evaluate on another split")
    for name in ("train", split):
        if not len(manifest.select(name)):
            raise ValueError(f"{manifest.folder}: no readable video in the split {name}")
    if manifest.multi_label:
        raise ValueError(f"{manifest.folder}: several labels per video: a lab compares top-1, which is for one label")
    labels = manifest.labels[manifest.select(split)]
    if (labels < 0).any():
        raise ValueError(
            f"{manifest.folder}: {(labels < 0).sum()} videos of the split {split} have no label: accuracy needs labels"
        )


def check_pairs(folds: Sequence[Manifest], split: str, pairs: list[tuple[str, str]]) -> None:
    """ValueError for a pair of classes of which there is no video to evaluate on."""
    labels = np.concatenate([manifest.labels[manifest.select(split)] for manifest in folds])
    classes = folds[0].classes
    for pair in pairs:
        unknown = [name for name in pair if name not in classes]
        if unknown:
            raise ValueError(f"evaluation.pairs: {list(pair)}: {folds[0].folder} has no class {unknown[0]!r}")
        if not np.isin(labels, [classes.index(name) for name in pair]).any():
            raise ValueError(f"evaluation.pairs: {list(pair)}: no readable video of either in the split {split}")


def trained_and_evaluated(manifest: Manifest, split: str) -> int:
    """How many readable videos of a split are training videos, too, by their bytes."""
    return len(among(manifest, manifest.select(split), fingerprints(manifest, manifest.select("train"))))


def check_variants(
    comparisons: Comparisons, families: list[Family], factors: list[float], elsewhere: Collection[str] = ()
) -> None:
    """ValueError for a term whose inference variant the lab will not have, or a comparison of different videos.

    elsewhere: inference variants on videos of their own.
    """
    for one in (comparisons.primary, *comparisons.secondary):
        if one and len({term.variant in elsewhere for term in one.terms}) > 1:
            raise ValueError(
                f"--primary, --secondary: {one}: some of its terms are of other videos: write "
                "CONTROL@speed_1 for a network at the usual speed"
            )
    known = ["averaged", *(f"interval_{factor:g}" for factor in factors)]
    patterns = [re.escape(name) for name in known]
    settings = {"dilations": r"dilation_\d+|averaged_all", "padding": "padding_(zeros|replicate)"}
    patterns += [settings[family] for family in families if family in settings]
    again = f"recalibrated|({'|'.join(patterns[:1] + patterns[1 + len(factors) :])})_recalibrated"
    patterns += [again] if "recalibrated" in families else []
    patterns += map(re.escape, elsewhere)
    for term in comparisons.terms:
        if not re.fullmatch("|".join(patterns), term.variant):
            raise ValueError(
                f"--primary, --secondary: {term}: no such inference variant with --variants {families}, "
                f"--frame_interval_scales {factors} and the speeds of --speed_data"
            )


def sort_factors(shape: ClipShape, factors: list[float]) -> tuple[list[float], dict[str, str]]:
    """The factors that the clips can show, and why they cannot show the others."""
    left_out = {f"{factor:g}": why for factor in factors if (why := shape.cannot_space(factor))}
    return [factor for factor in factors if f"{factor:g}" not in left_out], left_out
