"""A step of the GPU benchmark: a function of its own process, with a deadline; what it finds is lines and notes."""

import json
import os
import platform
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Options:
    """What a step is given. data: prepared shards; raw: table of the same videos as files, or None.

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
        return f"  {self.what:51} {self.seen:33} {self.bound:21} {mark}".rstrip()


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


def run_inside(step: Step, options: Options, result: Path, printed: Path) -> None:
    """Run one step in this process and write what it found."""
    sys.stdout = sys.stderr = stream = printed.open("w", buffering=1)
    os.dup2(stream.fileno(), 1)  # for what it starts
    os.dup2(stream.fileno(), 2)
    found = step.run(options)
    device = platform.machine() if options.tiny else torch.cuda.get_device_name()
    result.write_text(json.dumps(asdict(found) | {"device": device}))
