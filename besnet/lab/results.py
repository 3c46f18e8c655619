"""Predictions of all checkpoints → the figures of the lab's page, as plain values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from besnet.checkpoints.arrays import read_arrays
from besnet.data.manifest import Manifest
from besnet.evaluation.metrics import top_k
from besnet.evaluation.probabilities import check_probabilities
from besnet.evaluation.statistics import paired_difference, share
from besnet.lab.comparisons import TRAINED, Comparison, Comparisons, compare
from besnet.lab.controls import Control
from besnet.lab.inference_variants import InferenceVariant, inference_variants, loaded, network_for
from besnet.lab.plan import Plan, chunk_file, chunks
from besnet.lab.runs import run_name
from besnet.reading import read_bytes

LARGEST_CHUNK = 2**30  # bytes of the predictions for 64 videos


@dataclass(frozen=True)
class Predictions:
    """One network's probabilities, float32 (videos, C), for every inference variant; equal variants share them."""

    model: dict[str, Any]
    parameters: int
    probabilities: dict[str, np.ndarray]


@dataclass(frozen=True)
class Videos:
    """The videos that were read: labels and groups; the ids and reasons of those that
    were not; the share looped per factor."""

    labels: np.ndarray
    groups: np.ndarray
    unread: list[dict[str, str]]
    looped: dict[str, float]


def gather(
    plan: Plan, root: Path, manifest: Manifest, labels: np.ndarray, groups: np.ndarray
) -> tuple[dict[str, Predictions], Videos]:
    """Read the predictions of every checkpoint, by run; labels (videos of the split,) in the classifier's numbers, and
    the videos' groups.

    A video that could not be read for one checkpoint is left out for all: every figure is over the same videos.
    """
    rows = plan.rows(manifest)
    found: dict[str, Predictions] = {}
    stored = {
        checkpoint.run: [read_chunk(chunk_file(plan.place(root, checkpoint), number)) for number in chunks(len(rows))]
        for checkpoint in plan.checkpoints
    }
    why = {
        int(row): str(reason)
        for pieces in stored.values()
        for chunk in pieces
        for row, reason in zip(chunk["rows"], chunk["why"], strict=True)
        if reason
    }
    read = rows[~np.isin(rows, list(why))]
    if not len(read):
        raise ValueError(f"{plan.folder}: none of the {len(rows)} videos of the split {plan.split} can be read")
    for checkpoint in plan.checkpoints:
        entry = loaded(checkpoint)
        full = [chunk for chunk in stored[checkpoint.run] if len(chunk["read"])]
        common = np.isin(np.concatenate([chunk["read"] for chunk in full]), read)
        variants = inference_variants(entry, plan.fixed, plan.factors, plan.families)
        first: dict[Any, str] = {}
        for name, variant in variants.items():
            first.setdefault(variant, name)
        joined = {name: np.concatenate([chunk[name] for chunk in full])[common] for name in first.values()}
        for probabilities in joined.values():
            check_probabilities(probabilities, str(plan.place(root, checkpoint)))
        arrays = {name: joined[first[variant]] for name, variant in variants.items()}
        size = sum(weight.numel() for weight in network_for(entry, InferenceVariant(), checkpoint.network).parameters())
        found[checkpoint.run] = Predictions(entry["besnet"]["model"], size, arrays)
    unread = [{"id": manifest[row].id, "why": reason} for row, reason in sorted(why.items())]
    looped = np.concatenate([chunk["looped"] for chunk in full])[common]
    shares = {f"{factor:g}": float(looped[:, place].mean()) for place, factor in enumerate(full[0]["factors"])}
    place = np.searchsorted(rows, read)
    return found, Videos(labels[place], groups[place], unread, shares)


def read_chunk(path: Path) -> dict[str, np.ndarray]:
    """The predictions of one file. ValueError if it is damaged: once deleted, it is made again."""
    return read_arrays(path, read_bytes(path, LARGEST_CHUNK))


def of_controls(
    controls: Sequence[Control], seeds: int, predictions: Mapping[str, Predictions]
) -> dict[str, dict[int, Predictions]]:
    """The predictions of the runs by control and seed, where there are any."""
    return {
        control.name: {
            seed: predictions[name] for seed in range(seeds) if (name := run_name(control, seed)) in predictions
        }
        for control in controls
    }


def summarize(
    controls: list[Control],
    seeds: int,
    predictions: dict[str, Predictions],
    videos: Videos,
    classes: list[str],
    pairs: list[tuple[str, str]],
    comparisons: Comparisons,
    elsewhere: Mapping[str, tuple[dict[str, Predictions], Videos]] = {},
) -> dict[str, Any]:
    """Every figure with its interval; a control without any network has only its name.

    elsewhere: inference variants by name that were evaluated on videos of their own.
    """

    by_control = of_controls(controls, seeds, predictions)

    def of(control: str, variant: str, wanted: list[int]) -> np.ndarray:
        where, seen = elsewhere.get(variant, (predictions, videos))
        chosen = {seed: one for seed, one in of_controls(controls, seeds, where)[control].items() if seed in wanted}
        for network in chosen.values():
            if variant not in network.probabilities:
                known = ", ".join(network.probabilities)
                raise ValueError(f"--primary, --secondary: {control}@{variant}: its inference variants are {known}")
        return right(chosen, variant, seen.labels)

    def groups_of(one: Comparison) -> np.ndarray:
        return elsewhere.get(one.terms[0].variant, (predictions, videos))[1].groups

    return {
        "controls": [of_control(control, by_control[control.name], videos, classes, pairs) for control in controls],
        "differences": compare(comparisons, by_control, of, groups_of),
    }


def of_control(
    control: Control,
    networks: dict[int, Predictions],
    videos: Videos,
    classes: list[str],
    pairs: list[tuple[str, str]],
) -> dict[str, Any]:
    """The figures of one control: top-1, top-5, every inference variant, classes, pairs."""
    facts: dict[str, Any] = {"name": control.name, "what": control.what, "seeds": sorted(networks)}
    if not networks:
        return facts
    labels, groups = videos.labels, videos.groups
    first = next(iter(networks.values()))
    averaged = right(networks, TRAINED, labels)
    facts |= {
        "parameters": first.parameters,
        "top1": share(averaged, groups) | {"by_seed": averaged.mean(axis=1).tolist()},
        "top5": share(right(networks, TRAINED, labels, 5), groups),
        "variants": {},
        "classes": {},
        "pairs": [],
    }
    for name in first.probabilities:
        values = right(networks, name, labels)
        same = all(network.probabilities[name] is network.probabilities[TRAINED] for network in networks.values())
        facts["variants"][name] = share(values, groups) | {"same_as_averaged": same}
        facts["variants"][name]["difference_to_averaged"] = paired_difference(values - averaged, groups)
    for number, name in enumerate(classes):
        if (of := labels == number).any():
            facts["classes"][name] = share(averaged[:, of], groups[of])
    numbers = [(classes.index(a), classes.index(b)) for a, b in pairs]
    pairwise = [(pairwise_accuracy(networks, labels, pair), np.isin(labels, pair)) for pair in numbers]
    for pair, (values, of) in zip(pairs, pairwise, strict=True):
        facts["pairs"].append({"pair": list(pair), "videos": values.shape[1]} | share(values, groups[of]))
    if pairwise:
        together = np.concatenate([values for values, _ in pairwise], axis=1)
        of_all = np.concatenate([groups[of] for _, of in pairwise])
        facts["all_pairs"] = {"videos": together.shape[1]} | share(together, of_all)
    return facts


def right(networks: dict[int, Predictions], variant: str, labels: np.ndarray, k: int = 1) -> np.ndarray:
    """Whether each network (seeds in order) was right about each video: float (seeds, videos)."""
    return np.array([top_k(networks[seed].probabilities[variant], labels, k) for seed in sorted(networks)], dtype=float)


def pairwise_accuracy(networks: dict[int, Predictions], labels: np.ndarray, pair: tuple[int, int]) -> np.ndarray:
    """Of the videos of two classes: whether their own class is the more probable one. Float (seeds, videos)."""
    mine = np.isin(labels, pair)
    own, other = labels[mine], sum(pair) - labels[mine]
    found = []
    for seed in sorted(networks):
        shares = networks[seed].probabilities["averaged"][mine]
        each = np.arange(len(own))
        found.append(shares[each, own] > shares[each, other])
    return np.array(found, dtype=float)
