"""Which network is kept, and what the videos say about it, in words."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from besnet.checkpoints import store
from besnet.checkpoints.best import folder_of
from besnet.evaluation.stored import Evaluation
from besnet.learn.candidates import Candidate
from besnet.report.numbers import percent
from besnet.text import visible
from besnet.training.metrics_table import whole_rows

TABLE = "metrics.csv"


def surest(probes: Sequence[Candidate], what: str = "top-1") -> Candidate:
    """The probe with the lowest -log(probability) on the validation videos, which moves less by chance than top-1.

    what: the name of the figure `top1`.
    """
    chosen = min(probes, key=lambda probe: probe.nll)
    for one in probes:
        print(f"{one.name}: -log(probability) of the validation videos {one.nll:.3f}, {what} {percent(one.top1)}")
    print(f"the {chosen.name} is kept, for its -log(probability)")
    return chosen


def kept_line(run: Path, epochs: int) -> str:
    """Which checkpoint of a training is the best on the validation videos, and what that says; "" without one."""
    saved = store.by_age(folder_of(run, 1))
    if not saved:
        return ""
    header, *rows = whole_rows(run / TABLE) or [[]]
    epoch_of = {int(row[header.index("step")]): int(row[header.index("epoch")]) + 1 for row in rows}
    epoch = epoch_of.get(store.step_of(saved[0]), epochs)
    line = f"kept: the weights after epoch {epoch} of {epochs}, the best on the validation videos"
    if 2 * epoch <= epochs:
        line += (
            "\nlater epochs are not better on them: the network overfits, or they are too few to tell. More training "
            "videos help most; `data.augmentation` in config.yaml may help"
        )
    return line


def better(candidates: Sequence[Candidate], what: str = "top-1") -> Candidate:
    """The one with the highest top-1 (or mAP) on the validation videos; of equal ones that with the lowest
    -log(probability)."""
    chosen = max(candidates, key=lambda candidate: (candidate.top1, -candidate.nll))
    if len(candidates) > 1:
        print(f"\n{what} on the validation videos:")
        for one in candidates:
            counts = "" if one.right is None else f" ({one.right.sum()} of {len(one.right)})"
            print(f"  {one.name}: {percent(one.top1)}{counts}, -log(probability) {one.nll:.3f}")
        chance = "; chance may decide between so few different answers" if by_chance(candidates) else ""
        print(f"the {chosen.name} is kept{chance}")
    return chosen


def by_chance(candidates: Sequence[Candidate]) -> bool:
    """Whether the first two differ by less than twice the standard error of McNemar's test."""
    one, other = candidates[0].right, candidates[1].right
    if one is None or other is None:
        return False
    gained, lost = int((one & ~other).sum()), int((other & ~one).sum())
    return (gained - lost) ** 2 < 4 * (gained + lost) or not gained + lost


def print_never_right(found: Evaluation) -> None:
    """Name the classes of which no video is right."""
    if found.multi_label or not (found.labels >= 0).any():
        return
    probabilities, labels = found.labelled()
    right = probabilities.argmax(1) == labels
    missed = [number for number in np.unique(labels) if not right[labels == number].any()]
    if missed:
        named = ", ".join(
            f"{visible(found.about['classes'][number])} ({(labels == number).sum()} videos)" for number in missed
        )
        print(f"never right: {named}")
