"""A lab on several folds: the predictions for the test videos of each, counted together."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from besnet.lab.results import Predictions, Videos


def together(folds: Sequence[tuple[dict[str, Predictions], Videos]]) -> tuple[dict[str, Predictions], Videos]:
    """The predictions of every run, and the videos, of one fold after the other; each fold has the same runs."""
    first, _ = folds[0]
    predictions = {run: of_run([found[run] for found, _ in folds]) for run in first}
    counts = [len(videos.labels) for _, videos in folds]
    looped = {
        factor: float(np.average([videos.looped[factor] for _, videos in folds], weights=counts))
        for factor in folds[0][1].looped
    }
    return predictions, Videos(
        np.concatenate([videos.labels for _, videos in folds]),
        np.concatenate([videos.groups for _, videos in folds]),
        [one for _, videos in folds for one in videos.unread],
        looped,
    )


def of_run(folds: Sequence[Predictions]) -> Predictions:
    """One run's predictions; variants that share an array share the joined one."""
    joined: dict[int, np.ndarray] = {}
    for name, array in folds[0].probabilities.items():
        if id(array) not in joined:
            joined[id(array)] = np.concatenate([fold.probabilities[name] for fold in folds])
    return replace(folds[0], probabilities={name: joined[id(array)] for name, array in folds[0].probabilities.items()})
