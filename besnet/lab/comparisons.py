"""Which differences a lab was made to find, and what it found: one primary comparison, and secondary ones."""

import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from besnet.evaluation.statistics import (
    FEWEST_SEEDS,
    LEVEL,
    holm,
    minimum_detectable,
    paired_difference,
    paired_estimate,
)

TRAINED = "averaged"  # the inference variant that a control is compared by

# right or wrong, float (seeds, videos), of a control's networks as an inference variant; by seed
Right = Callable[[str, str, list[int]], np.ndarray]


@dataclass(frozen=True)
class Term:
    """A control's networks as an inference variant: CONTROL, or CONTROL@VARIANT."""

    control: str
    variant: str = TRAINED

    @classmethod
    def read(cls, text: str) -> "Term":
        """CONTROL or CONTROL@VARIANT."""
        control, _, variant = text.partition("@")
        return cls(control, variant or TRAINED)

    def __str__(self) -> str:
        return self.control if self.variant == TRAINED else f"{self.control}@{self.variant}"


@dataclass(frozen=True)
class Comparison:
    """A - B, or with four terms (A - B) - (C - D)."""

    terms: tuple[Term, ...]

    @classmethod
    def read(cls, texts: list[str], what: str) -> "Comparison":
        """From two or four terms. ValueError that names the argument (`what`) for another number, or two equal ones."""
        if len(texts) not in (2, 4):
            raise ValueError(
                f"{what}: [A, B] for A - B, or [A, B, C, D] for (A - B) - (C - D), is expected, not {texts}"
            )
        terms = tuple(Term.read(text) for text in texts)
        if terms[0] == terms[1] or (len(terms) == 4 and (terms[2] == terms[3] or terms[:2] == terms[2:])):
            raise ValueError(f"{what}: {texts}: a network is compared with itself")
        return cls(terms)

    @property
    def controls(self) -> set[str]:
        """The names of its controls."""
        return {term.control for term in self.terms}

    def __str__(self) -> str:
        first, *rest = map(str, self.terms)
        return f"{first} - {rest[0]}" if len(rest) == 1 else f"({first} - {rest[0]}) - ({rest[1]} - {rest[2]})"

    def differences(self, right: Right, seeds: list[int]) -> np.ndarray:
        """Its value for each network and video: float (seeds, videos)."""
        values = [right(term.control, term.variant, seeds) for term in self.terms]
        return values[0] - values[1] if len(values) == 2 else (values[0] - values[1]) - (values[2] - values[3])


@dataclass(frozen=True)
class Comparisons:
    """The comparisons that a lab was made for; all others are printed without a verdict."""

    primary: Comparison | None = None
    secondary: tuple[Comparison, ...] = field(default=())

    @classmethod
    def read(cls, primary: list[str] | None, secondary: list[list[str]], controls: list[str]) -> "Comparisons":
        """From the arguments of `besnet lab`; with two controls the second minus the first is the primary one.

        ValueError for a control that the lab has not, or a comparison that is named twice.
        """
        if primary is None and len(controls) == 2:
            primary = [controls[1], controls[0]]
        found = cls(
            Comparison.read(primary, "--primary") if primary else None,
            tuple(Comparison.read(texts, "--secondary") for texts in secondary),
        )
        named = [one for one in (found.primary, *found.secondary) if one]
        for one in named:
            if unknown := sorted(one.controls - set(controls)):
                raise ValueError(f"--primary, --secondary: {one}: {unknown[0]} is not one of the lab's controls")
        if len(set(named)) < len(named):
            raise ValueError("--primary, --secondary: a comparison is named twice")
        return found

    @property
    def reference(self) -> str | None:
        """The control that the primary comparison subtracts."""
        return self.primary.terms[-1].control if self.primary else None

    @property
    def terms(self) -> list[Term]:
        """The terms of all of them."""
        return [term for one in (self.primary, *self.secondary) if one for term in one.terms]

    def all(self, controls: Iterable[str]) -> list[tuple[str, Comparison]]:
        """Each comparison with its role: primary, secondary, then other: every two controls that are not named."""
        named = [("primary", self.primary)] if self.primary else []
        named += [("secondary", one) for one in self.secondary]
        pairs = {frozenset(one.terms) for _, one in named if len(one.terms) == 2}
        others = [Comparison((Term(b), Term(a))) for a, b in itertools.combinations(controls, 2)]
        return [*named, *(("other", one) for one in others if frozenset(one.terms) not in pairs)]


def compare(
    comparisons: Comparisons,
    networks: Mapping[str, Mapping[int, Any]],
    right: Right,
    groups_of: Callable[[Comparison], np.ndarray | None],
) -> list[dict[str, Any]]:
    """Every comparison of controls that have networks, over the seeds that all its controls have.

    networks: by control and seed. groups_of: the groups of a comparison's videos, see besnet.evaluation.statistics. A
    secondary comparison's interval is at the level that Holm's procedure gives it; its minimum detectable difference at
    the strictest one.
    """
    there = [name for name, of in networks.items() if of]
    found: list[dict[str, Any]] = []
    values: list[np.ndarray] = []
    groups: list[np.ndarray | None] = []
    for role, one in comparisons.all(there):
        if not one.controls <= set(there):
            continue
        seeds = sorted(set.intersection(*(set(networks[name]) for name in one.controls)))
        if not seeds:
            continue
        values.append(one.differences(right, seeds))
        row: dict[str, Any] = {
            "name": str(one),
            "terms": [str(term) for term in one.terms],
            "role": role,
            "seeds": seeds,
        }
        groups.append(groups_of(one))
        found.append(row | {"level": LEVEL} | paired_difference(values[-1], groups[-1]))
    family = [place for place, row in enumerate(found) if row["role"] == "secondary"]
    levels = dict(zip(family, holm([found[place]["p"] for place in family]), strict=True))
    for place, row in enumerate(found):
        holds, level = levels.get(place, (row["p"] < 1 - LEVEL, LEVEL))
        if place in levels:
            estimate = paired_estimate(values[place], groups[place])
            low, high = estimate.interval(level)
            row |= {"level": level, "interval": [max(-1.0, low), min(1.0, high)]}
            strictest = 1 - (1 - LEVEL) / len(family)
            row["minimum_detectable"] = min(
                1.0,
                minimum_detectable(
                    row["seeds_deviation"], len(row["seeds"]), estimate.videos_error, estimate.groups, strictest
                ),
            )
        row["verdict"] = verdict(row, holds)
    return found


def verdict(row: dict[str, Any], holds: bool) -> str | None:
    """'better' or 'worse' for the first term, 'none shown', or None where nothing is said."""
    if row["role"] == "other" or len(row["seeds"]) < FEWEST_SEEDS:
        return None
    if not holds:
        return "none shown"
    return "better" if row["mean"] > 0 else "worse"
