"""What the networks of a lab are right about → the figures of its page, as plain values."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from besnet.data.manifest import Manifest
from besnet.evaluation.statistics import paired_difference, share
from besnet.evaluation.truth import own_labels
from besnet.lab.comparisons import TRAINED, Comparison, Comparisons, compare
from besnet.lab.controls import Control
from besnet.lab.outcomes import Outcomes
from besnet.lab.runs import run_name


@dataclass(frozen=True)
class Videos:
    """The videos that were read: labels and groups; the ids and reasons of those that were not; the share looped per
    factor."""

    labels: np.ndarray
    groups: np.ndarray
    unread: list[dict[str, str]]
    looped: dict[str, float]


@dataclass(frozen=True)
class Shown:
    """What is shown of every control: the classes, and pairs of them."""

    classes: list[str]
    pairs: list[tuple[str, str]]

    @property
    def numbers(self) -> list[tuple[int, int]]:
        """The pairs in class numbers."""
        return [(self.classes.index(first), self.classes.index(second)) for first, second in self.pairs]


def read_by_all(
    found: Mapping[str, Outcomes], manifest: Manifest, rows: np.ndarray, classes: list[str]
) -> tuple[dict[str, Outcomes], Videos]:
    """The outcomes of every run, and the videos that they are about; rows: those of the split.

    A video that could not be read for one network is left out for all: every figure is over the same videos.
    """
    why = {place: reason for one in found.values() for place, reason in sorted(one.unread.items())}
    seen = np.setdiff1d(np.arange(len(rows)), list(why))
    if not len(seen):
        raise ValueError(f"{manifest.folder}: none of the {len(rows)} videos can be read")
    runs = {run: one.of(seen) for run, one in found.items()}
    unread = [{"id": manifest[int(rows[place])].id, "why": reason} for place, reason in sorted(why.items())]
    looped = {factor: float(values.mean()) for factor, values in next(iter(runs.values())).looped.items()}
    labels = own_labels(manifest, rows[seen], classes)
    return runs, Videos(labels, np.array(manifest.groups(rows[seen])), unread, looped)


def of_controls(
    controls: Sequence[Control], seeds_of: Mapping[str, int], outcomes: Mapping[str, Outcomes]
) -> dict[str, dict[int, Outcomes]]:
    """The outcomes of the runs by control and seed, where there are any; seeds_of: the number of seeds by control."""
    return {
        control.name: {
            seed: outcomes[name]
            for seed in range(seeds_of[control.name])
            if (name := run_name(control, seed)) in outcomes
        }
        for control in controls
    }


def summarize(
    controls: list[Control],
    seeds_of: Mapping[str, int],
    outcomes: dict[str, Outcomes],
    parameters: Mapping[str, int],
    videos: Videos,
    shown: Shown,
    comparisons: Comparisons,
    elsewhere: Mapping[str, tuple[dict[str, Outcomes], Videos]] = {},
) -> dict[str, Any]:
    """Every figure with its interval; a control without any network has only its name.

    seeds_of: see of_controls. parameters: of the networks, by run. elsewhere: inference variants by name that were
    evaluated on videos of their own.
    """

    by_control = of_controls(controls, seeds_of, outcomes)

    def of(control: str, variant: str, wanted: list[int]) -> np.ndarray:
        where, _ = elsewhere.get(variant, (outcomes, videos))
        chosen = {seed: one for seed, one in of_controls(controls, seeds_of, where)[control].items() if seed in wanted}
        for network in chosen.values():
            if variant not in network.right:
                known = ", ".join(network.right)
                raise ValueError(f"--primary, --secondary: {control}@{variant}: its inference variants are {known}")
        return right(chosen, variant)

    def groups_of(one: Comparison) -> np.ndarray:
        return elsewhere.get(one.terms[0].variant, (outcomes, videos))[1].groups

    of_each = {}
    for control in controls:
        of_each[control.name] = of_control(control, by_control[control.name], videos, shown)
        if by_control[control.name]:
            of_each[control.name]["parameters"] = parameters[run_name(control, min(by_control[control.name]))]
    return {
        "controls": list(of_each.values()),
        "differences": compare(comparisons, by_control, of, groups_of),
    }


def of_control(
    control: Control,
    networks: dict[int, Outcomes],
    videos: Videos,
    shown: Shown,
) -> dict[str, Any]:
    """The figures of one control: top-1, top-5, every inference variant, classes, pairs."""
    facts: dict[str, Any] = {"name": control.name, "what": control.what, "seeds": sorted(networks)}
    if not networks:
        return facts
    labels, groups = videos.labels, videos.groups
    first = next(iter(networks.values()))
    averaged = right(networks, TRAINED)
    facts |= {
        "top1": share(averaged, groups) | {"by_seed": averaged.mean(axis=1).tolist()},
        "top5": share(of_seeds(networks, lambda one: one.top5), groups),
        "variants": {},
        "classes": {},
        "pairs": [],
    }
    for name in first.right:
        values = right(networks, name)
        same = all(network.right[name] is network.right[TRAINED] for network in networks.values())
        facts["variants"][name] = share(values, groups) | {"same_as_averaged": same}
        facts["variants"][name]["difference_to_averaged"] = paired_difference(values - averaged, groups)
    for number, name in enumerate(shown.classes):
        if (of := labels == number).any():
            facts["classes"][name] = share(averaged[:, of], groups[of])
    pairwise = []
    for number, pair in enumerate(shown.numbers):
        of = np.isin(labels, pair)
        pairwise.append((of_seeds(networks, pair_of(number))[:, of], groups[of]))
    for names, (values, mine) in zip(shown.pairs, pairwise, strict=True):
        facts["pairs"].append({"pair": list(names), "videos": values.shape[1]} | share(values, mine))
    if pairwise:
        together = np.concatenate([values for values, _ in pairwise], axis=1)
        of_all = np.concatenate([mine for _, mine in pairwise])
        facts["all_pairs"] = {"videos": together.shape[1]} | share(together, of_all)
    return facts


def pair_of(number: int) -> Callable[[Outcomes], np.ndarray]:
    """What gives the outcomes of a pair of classes, by its number."""
    return lambda one: np.asarray(one.pairs[number])


def right(networks: dict[int, Outcomes], variant: str) -> np.ndarray:
    """Whether each network (seeds in order) was right about each video: float (seeds, videos)."""
    return of_seeds(networks, lambda one: one.right[variant])


def of_seeds(networks: dict[int, Outcomes], of: Callable[[Outcomes], np.ndarray]) -> np.ndarray:
    """A value of each network and video, seeds in order: float (seeds, videos)."""
    return np.array([of(networks[seed]) for seed in sorted(networks)], dtype=float)
