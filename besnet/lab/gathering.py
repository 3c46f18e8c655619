"""The files of a network's predictions → what it is right about."""

from pathlib import Path
from typing import Any

import numpy as np

from besnet.checkpoints.arrays import read_arrays
from besnet.evaluation.metrics import top_k
from besnet.evaluation.probabilities import check_probabilities
from besnet.lab.comparisons import TRAINED
from besnet.lab.inference_variants import inference_variants
from besnet.lab.outcomes import Outcomes
from besnet.lab.plan import Plan, chunk_file, chunks
from besnet.reading import read_bytes

LARGEST_CHUNK = 2**30  # bytes of the predictions for 64 videos


def gather(
    plan: Plan,
    place: Path,
    checkpoint: dict[str, Any],
    rows: np.ndarray,
    labels: np.ndarray,
    pairs: list[tuple[int, int]],
) -> Outcomes:
    """Read what a checkpoint has predicted; place: the folder of its predictions.

    rows, labels: of the videos of the split (videos,), labels in the classifier's numbers, as `pairs` of classes.
    """
    stored = [read_chunk(chunk_file(place, number)) for number in chunks(len(rows))]
    unread = {
        int(np.searchsorted(rows, row)): str(why)
        for chunk in stored
        for row, why in zip(chunk["rows"], chunk["why"], strict=True)
        if why
    }
    full = [chunk for chunk in stored if len(chunk["read"])]
    if not full:
        raise ValueError(f"{plan.folder}: none of the {len(rows)} videos of the split {plan.split} can be read")
    at = np.searchsorted(rows, np.concatenate([chunk["read"] for chunk in full]))
    own = labels[at]

    def of_all(values: np.ndarray) -> np.ndarray:
        whole = np.zeros((*values.shape[:-1], len(rows)), dtype=bool)
        whole[..., at] = values
        return whole

    variants = inference_variants(checkpoint, plan.fixed, plan.factors, plan.families)
    first: dict[Any, str] = {}
    for name, variant in variants.items():
        first.setdefault(variant, name)
    joined = {name: np.concatenate([chunk[name] for chunk in full]) for name in first.values()}
    for probabilities in joined.values():
        check_probabilities(probabilities, str(place))
    right = {name: of_all(top_k(probabilities, own, 1)) for name, probabilities in joined.items()}
    trained = joined[first[variants[TRAINED]]]
    looped = np.concatenate([chunk["looped"] for chunk in full])
    return Outcomes(
        right={name: right[first[variant]] for name, variant in variants.items()},
        top5=of_all(top_k(trained, own, 5)),
        pairs=of_all(np.array([pairwise(trained, own, pair) for pair in pairs], dtype=bool).reshape(-1, len(at))),
        unread=unread,
        looped={f"{factor:g}": of_all(looped[:, number]) for number, factor in enumerate(full[0]["factors"])},
    )


def read_chunk(path: Path) -> dict[str, np.ndarray]:
    """The predictions of one file. ValueError if it is damaged: once deleted, it is made again."""
    return read_arrays(path, read_bytes(path, LARGEST_CHUNK))


def pairwise(probabilities: np.ndarray, labels: np.ndarray, pair: tuple[int, int]) -> np.ndarray:
    """Of the videos of two classes: whether their own class is the more probable one. bool (videos,)."""
    other = np.where(labels == pair[0], pair[1], pair[0])
    each = np.arange(len(labels))
    own = np.isin(labels, pair)
    return own & (probabilities[each, np.maximum(labels, 0)] > probabilities[each, other])
