"""What a lab keeps of an evaluated run: which test videos each inference variant of its network is right about.

A line of a few kilobytes in outcomes.jsonl takes the place of the run's weights and predictions. With it and
config.yaml a lab goes on where these are not: on another machine, or after they were deleted.
"""

import base64
import hashlib
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any, TypedDict

import numpy as np

from besnet.files import Journal
from besnet.report.lab_plots import Curve
from besnet.schema import Count, Hash, Length, Name, checked

NAME = "outcomes"
Bits = Annotated[str, Length(0, 10_000_000)]  # of one bit a video: base64


@dataclass(frozen=True)
class Outcomes:
    """One network on the videos of a split, bool (videos,) each.

    right: the label is the most probable class, by inference variant; equal variants share an array. top5: it is among
    the five most probable ones of the variant that was trained. pairs: (pairs, videos), of a video of such a pair of
    classes: its own is the more probable one. unread: why a video could not be read, by its position; all else is False
    for it. looped: the clip was longer than the video, by the factor on the frame interval.
    """

    right: dict[str, np.ndarray]
    top5: np.ndarray
    pairs: np.ndarray
    unread: dict[int, str]
    looped: dict[str, np.ndarray]

    def of(self, seen: np.ndarray) -> "Outcomes":
        """Of some videos alone: bool (videos,), or their positions."""
        first: dict[int, np.ndarray] = {}
        right = {name: first.setdefault(id(values), values[seen]) for name, values in self.right.items()}
        looped = {factor: values[seen] for factor, values in self.looped.items()}
        return replace(self, right=right, top5=self.top5[seen], pairs=self.pairs[:, seen], looped=looped)


class StoredOutcomes(TypedDict):
    """Outcomes as JSON. same: the variants that are equal to another one, by its name."""

    videos: Count
    right: dict[str, Bits]
    same: dict[str, Name]
    top5: Bits
    pairs: list[Bits]
    unread: dict[str, str]
    looped: dict[str, Bits]


@dataclass(frozen=True)
class EvaluatedRun:
    """A run whose network has been evaluated.

    run: its name, with its fold. arguments: what it was trained with on top of the config. entry: model and config of
    its checkpoint's header. known: how many of the videos it was trained on. settings: of its evaluation, and sets:
    what came of it, by the set of videos.
    """

    run: Name
    arguments: list[str]
    checkpoint: Hash
    entry: dict[str, Any]
    parameters: Count
    known: Count
    curve: Curve
    settings: dict[str, dict[str, Any]]
    sets: dict[str, Outcomes]


class StoredRun(TypedDict):
    """A line of outcomes.jsonl: an EvaluatedRun; config: the hash of the lab's config."""

    run: Name
    config: Hash
    arguments: list[str]
    checkpoint: Hash
    entry: dict[str, Any]
    parameters: Count
    known: Count
    curve: list[list[float]]
    settings: dict[str, dict[str, Any]]
    sets: dict[str, StoredOutcomes]


class EvaluatedRuns:
    """The evaluated runs of a lab: outcomes.jsonl in its folder, and what its parts have written beside it."""

    def __init__(self, out: Path, config: str, part: str = "") -> None:
        self.config = hashlib.sha256(config.encode()).hexdigest()
        self.journal = Journal(out / (f"{NAME}-{part}.jsonl" if part else f"{NAME}.jsonl"))
        self.known: dict[str, EvaluatedRun] = {}
        for file in sorted(out.glob(f"{NAME}*.jsonl")):
            for number, record in enumerate(Journal(file).records(), 1):
                stored: StoredRun = checked(record, StoredRun, f"{file}: record {number}")
                if stored["config"] == self.config:
                    self.known[stored["run"]] = read_run(stored, f"{file}: record {number}")

    def of(self, run: str, arguments: list[str]) -> EvaluatedRun | None:
        """A run that was trained with such arguments, if it is known."""
        found = self.known.get(run)
        return found if found is not None and found.arguments == arguments else None

    def add(self, run: EvaluatedRun) -> None:
        """Record a run durably."""
        self.known[run.run] = run
        sets = {name: plain(outcomes) for name, outcomes in run.sets.items()}
        self.journal.append(asdict(replace(run, sets={})) | {"config": self.config, "sets": sets})


def read_run(stored: StoredRun, where: str) -> EvaluatedRun:
    """A run as it was recorded."""
    facts: dict[str, Any] = {name: value for name, value in stored.items() if name != "config"}
    curve = [(epoch, loss, share) for epoch, loss, share in stored["curve"]]
    sets = {name: read_outcomes(of, f"{where}: {name}") for name, of in stored["sets"].items()}
    return EvaluatedRun(**facts | {"curve": curve, "sets": sets})


def plain(outcomes: Outcomes) -> StoredOutcomes:
    """Outcomes as JSON."""
    first: dict[int, str] = {}
    names = {name: first.setdefault(id(values), name) for name, values in outcomes.right.items()}
    return {
        "videos": len(outcomes.top5),
        "right": {name: packed(outcomes.right[name]) for name in first.values()},
        "same": {name: other for name, other in names.items() if name != other},
        "top5": packed(outcomes.top5),
        "pairs": [packed(values) for values in outcomes.pairs],
        "unread": {str(place): why for place, why in outcomes.unread.items()},
        "looped": {factor: packed(values) for factor, values in outcomes.looped.items()},
    }


def read_outcomes(stored: StoredOutcomes, where: str) -> Outcomes:
    """Outcomes as they were recorded. ValueError where they contradict themselves."""
    count = stored["videos"]
    try:
        right = {name: unpacked(bits, count) for name, bits in stored["right"].items()}
        right |= {name: right[other] for name, other in stored["same"].items()}
        return Outcomes(
            right=right,
            top5=unpacked(stored["top5"], count),
            pairs=np.array([unpacked(bits, count) for bits in stored["pairs"]], dtype=bool).reshape(-1, count),
            unread={int(place): why for place, why in stored["unread"].items()},
            looped={factor: unpacked(bits, count) for factor, bits in stored["looped"].items()},
        )
    except (KeyError, ValueError) as error:
        raise ValueError(f"{where}: damaged ({error}): delete the line, and the run is evaluated again") from error


def packed(values: np.ndarray) -> str:
    """Bool (N,) as base64."""
    return base64.b64encode(np.packbits(values).tobytes()).decode()


def unpacked(bits: str, count: int) -> np.ndarray:
    """Bool (N,). ValueError for another number of bits."""
    found = np.frombuffer(base64.b64decode(bits, validate=True), dtype=np.uint8)
    if len(found) != -(-count // 8):
        raise ValueError(f"{len(found)} bytes are no bits of {count} videos")
    return np.unpackbits(found, count=count).astype(bool)
