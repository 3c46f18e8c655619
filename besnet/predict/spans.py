"""Predictions along a long video → spans: from when to when it shows which class.

At every moment the probabilities are the mean over the clips that show it. A span is a longest stretch in which its
class is the most probable one, or where a video has several labels, in which it reaches its threshold; its probability
is the mean over the stretch.
"""

import difflib
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from besnet.evaluation.spans import Span
from besnet.files import write_json, write_table
from besnet.formats import stamp
from besnet.predict.model import Model, Prediction

COLUMNS = ("path", "label", "start", "end", "probability")


def spans_of(prediction: Prediction, video: str, background: str | None = None) -> list[Span]:
    """The spans of a prediction along a video, by their start. background: a class that gives no spans."""
    starts, shares = moments(prediction)
    said = np.zeros(shares.shape, dtype=bool)
    if prediction.thresholds is None:
        said[np.arange(len(shares)), shares.argmax(axis=1)] = True
    else:
        said = shares >= prediction.thresholds
    found = []
    for number, name in enumerate(prediction.classes):
        if name == background:
            continue
        edges = np.flatnonzero(np.diff(np.concatenate([[False], said[:, number], [False]]).astype(np.int8)))
        for first, beyond in edges.reshape(-1, 2).tolist():
            lengths = np.diff(starts[first : beyond + 1])
            probability = float(np.average(shares[first:beyond, number], weights=lengths))
            found.append(Span(video, name, float(starts[first]), float(starts[beyond]), probability))
    return sorted(found, key=lambda span: (span.start_sec, span.end_sec, span.label))


def check_background(model: Model, background: str | None) -> None:
    """ValueError where the background is no class of the network."""
    if background is not None and background not in model.classes:
        near = difflib.get_close_matches(background, model.classes, n=1)
        hint = f": did you mean {near[0]!r}?" if near else f": its {len(model.classes)} classes do not name it"
        raise ValueError(f"--background {background}: the network has no such class{hint}")


def moments(prediction: Prediction) -> tuple[np.ndarray, np.ndarray]:
    """Where the probabilities change, float64 (M + 1,) with the end of the video, and those between, (M, C).

    A moment that no clip shows has the probabilities of the nearest one that a clip shows.
    """
    length = prediction.length_sec
    shown = prediction.times_sec.copy()
    shown[:, 1] += prediction.period_sec  # the last frame stays on the screen
    shown = shown.clip(0.0, length)
    shown = shown[np.argsort(shown[:, 0], kind="stable")]
    order = np.argsort(prediction.times_sec[:, 0], kind="stable")
    covered = np.maximum.accumulate(shown[:, 1])
    apart = shown[1:, 0] > covered[:-1]
    middles = (shown[1:, 0] + covered[:-1])[apart] / 2
    edges = np.unique(np.concatenate([[0.0, length], shown.reshape(-1), middles]))
    change = np.zeros((len(edges), prediction.clips.shape[1] + 1))
    counted = np.column_stack([prediction.clips[order], np.ones(len(order))])
    np.add.at(change, np.searchsorted(edges, shown[:, 0]), counted)
    np.add.at(change, np.searchsorted(edges, shown[:, 1]), -counted)
    sums = np.cumsum(change, axis=0)[:-1]
    count = sums[:, -1].round()
    known = np.flatnonzero(count > 0)
    centres = (edges[1:] + edges[:-1]) / 2
    after = np.searchsorted(known, np.arange(len(centres))).clip(0, len(known) - 1)
    before = np.maximum(after - 1, 0)
    nearer = np.abs(edges[known[before] + 1] - centres) < np.abs(edges[known[after]] - centres)
    nearest = np.where(count > 0, np.arange(len(centres)), known[np.where(nearer, before, after)])
    return edges, sums[nearest, :-1] / count[nearest, None]


def write_spans(stem: Path, spans: Sequence[Span]) -> None:
    """Write `<stem>.spans.csv` and `<stem>.spans.json`."""
    rows = [[s.video, s.label, f"{s.start_sec:.3f}", f"{s.end_sec:.3f}", f"{s.probability:.4f}"] for s in spans]
    write_table(stem.with_name(f"{stem.name}.spans.csv"), [list(COLUMNS), *rows])
    write_json(stem.with_name(f"{stem.name}.spans.json"), stamp("predictions") | {"spans": [asdict(s) for s in spans]})
