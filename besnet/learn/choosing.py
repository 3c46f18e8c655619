"""Which network is kept, and what the videos say about it, in words."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from besnet.checkpoints import store
from besnet.checkpoints.best import folder_of
from besnet.checkpoints.temperature import Fitted
from besnet.data.manifest import Manifest
from besnet.evaluation.calibration import report
from besnet.evaluation.stored import Evaluation
from besnet.learn.candidates import Candidate
from besnet.learn.runs import TABLE
from besnet.report.numbers import percent
from besnet.text import visible
from besnet.training.metrics_table import whole_rows

EARLY = 3  # the best epoch lies in this part of the training


def figure_of(manifest: Manifest) -> str:
    """What networks are compared by."""
    return "mAP" if manifest.multi_label else "top-1"


def surest(probes: Sequence[Candidate], what: str = "top-1") -> Candidate:
    """The probe with the lowest -log(probability) on the validation videos, which moves less by chance than top-1.

    what: the name of the figure `top1`.
    """
    chosen = min(probes, key=lambda probe: probe.nll)
    for one in probes:
        print(f"{one.name}: -log(probability) of the validation videos {one.nll:.3f}, {what} {percent(one.top1)}")
    print(f"the {chosen.name} is kept, for its -log(probability)")
    return chosen


def kept_text(run: Path, epochs: int) -> str:
    """Which checkpoint of a training is the best on the validation videos, and what that says."""
    saved = store.by_age(folder_of(run, 1))
    if not saved:
        return "without validation videos, the last checkpoint counts"
    header, *rows = whole_rows(run / TABLE) or [[]]
    epoch_of = {int(row[header.index("step")]): int(row[header.index("epoch")]) + 1 for row in rows}
    step = store.step_of(saved[0])
    if step not in epoch_of:
        return f"best checkpoint on the validation videos: step {step}"
    text = f"best checkpoint on the validation videos: epoch {epoch_of[step]} of {epochs}"
    if EARLY * epoch_of[step] <= epochs:
        text += (
            "\nlater epochs do not improve it: the network overfits, or the validation videos are too few to show it; "
            "more training videos help most"
        )
    return text


def better(candidates: Sequence[Candidate], what: str = "top-1") -> Candidate:
    """The one with the highest top-1 (or mAP) on the validation videos; of equal ones that with the lowest
    -log(probability)."""
    chosen = max(candidates, key=lambda candidate: (candidate.top1, -candidate.nll))
    if len(candidates) > 1:
        print(f"\n{what} on the validation videos:")
        for one in candidates:
            print(f"  {one.name}: {percent(one.top1)}, -log(probability) {one.nll:.3f}")
        uncertain = any(one.by_chance for one in candidates)
        doubt = ", but the difference may be chance: its interval contains 0" if uncertain else ""
        print(f"the {chosen.name} is kept{doubt}")
    return chosen


def print_never_right(found: Evaluation) -> None:
    """Name the classes of which no video is right."""
    if found.multi_label or not (found.labels >= 0).any():
        return
    probabilities, labels = found.labelled()
    right = probabilities.argmax(1) == labels
    missed = [number for number in np.unique(labels) if not right[labels == number].any()]
    if missed:
        names = found.about["classes"]
        named = ", ".join(f"{visible(names[number])} (of {(labels == number).sum()})" for number in missed)
        print(f"never right: {named}")


def print_tempered(found: Evaluation, fitted: Fitted) -> None:
    """Print the effect of the temperature, where there is one and videos have a label."""
    if "temperature" in fitted and (found.labels >= 0).any():
        report(found, fitted["temperature"])
