"""A step of the GPU benchmark: a function of its own process, with a deadline; what it finds is lines and notes."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Options:
    """What a step is given. data: prepared shards; raw: the same videos prepared with --index_only, or None.

    weights: a file of ImageNet weights of tf_efficientnet_lite0, or None; tiny: networks and clips for a CPU.
    """

    work: Path
    data: Path
    raw: Path | None
    weights: Path | None
    ranks: int
    batch_size: int
    tiny: bool


@dataclass
class Line:
    """One line of the closing table; `holds` is None where nothing is promised."""

    what: str
    seen: str
    bound: str = ""
    holds: bool | None = None

    def __str__(self) -> str:
        mark = {True: "holds", False: "DOES NOT HOLD", None: ""}[self.holds]
        return f"  {self.what:52}{self.seen:34}{self.bound:22}{mark}"


@dataclass
class Found:
    """What a step found."""

    lines: list[Line] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Step:
    """run(options) -> Found, in at most deadline_sec seconds."""

    name: str
    deadline_sec: float
    run: Callable[[Options], Found]


def promise(what: str, value: float, bound: str, holds: bool | None, tiny: bool) -> Line:
    """A line with a bound, which says nothing about tiny networks on a CPU."""
    return Line(what, f"{value:.3g}", bound, None if tiny else holds)
