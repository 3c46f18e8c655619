"""A lab on several folds: the test videos of each, counted together."""

from collections.abc import Sequence

import numpy as np

from besnet.lab.outcomes import Outcomes
from besnet.lab.results import Videos


def together(folds: Sequence[tuple[dict[str, Outcomes], Videos]]) -> tuple[dict[str, Outcomes], Videos]:
    """The outcomes of every run, and the videos, of one fold after the other; each fold has the same runs."""
    first, _ = folds[0]
    outcomes = {run: of_run([found[run] for found, _ in folds]) for run in first}
    counts = [len(videos.labels) for _, videos in folds]
    looped = {
        factor: float(np.average([videos.looped[factor] for _, videos in folds], weights=counts))
        for factor in folds[0][1].looped
    }
    return outcomes, Videos(
        np.concatenate([videos.labels for _, videos in folds]),
        np.concatenate([videos.groups for _, videos in folds]),
        [one for _, videos in folds for one in videos.unread],
        looped,
    )


def of_run(folds: Sequence[Outcomes]) -> Outcomes:
    """One run's outcomes; variants that share an array share the joined one."""
    joined: dict[int, np.ndarray] = {}
    for name, values in folds[0].right.items():
        if id(values) not in joined:
            joined[id(values)] = np.concatenate([fold.right[name] for fold in folds])
    return Outcomes(
        right={name: joined[id(values)] for name, values in folds[0].right.items()},
        top5=np.concatenate([fold.top5 for fold in folds]),
        pairs=np.concatenate([fold.pairs for fold in folds], axis=1),
        unread={},
        looped={},
    )
