"""Which videos validate: about a fifth, whole groups, with every class on both sides."""

import warnings
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

SHARE = 0.2
MOST_FOLDS = 5
TRIES = 10


Labels = str | tuple[str, ...]  # of a video: one, or several


def all_of(labels: Labels) -> tuple[str, ...]:
    """A video's labels."""
    return (labels,) if isinstance(labels, str) else labels


def check_classes(labels: Sequence[Labels], groups: Sequence[str]) -> None:
    """ValueError that names the classes that no split can divide, before anything is decoded."""
    if len({all_of(own) for own in labels}) < 2:
        raise ValueError(f"{'; '.join(all_of(labels[0]))!r} is the only class: a network needs two to tell apart")
    of_class: dict[str, list[str]] = defaultdict(list)
    for own, group in zip(labels, groups, strict=True):
        for label in all_of(own):
            of_class[label].append(group)
    few = [
        f"{label!r} has {len(of)} video{'s' * (len(of) > 1)} of one recording ({of[0]})"
        for label, of in sorted(of_class.items())
        if len(set(of)) < 2
    ]
    if few:
        more = f" and {len(few) - 5} more classes" if len(few) > 5 else ""
        raise ValueError(
            f"{'; '.join(few[:5])}{more}: validation needs another recording of each class: add videos, or name the "
            "groups in a table label,path,group"
        )


def held_out(labels: Sequence[Labels], groups: Sequence[str], seed: int) -> np.ndarray:
    """Which videos validate, bool (N,). A group is never on both sides, and every class is on both.

    The fold is taken that leaves each class nearest to a fifth. ValueError where no fold does.
    """
    from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

    check_classes(labels, groups)
    sets = [all_of(own) for own in labels]
    classes = np.unique(["\n".join(own) for own in sets], return_inverse=True)[1]  # a set is one of its own here
    numbers = np.unique(groups, return_inverse=True)[1]
    names = sorted({label for own in sets for label in own})
    shows = np.array([[name in own for name in names] for own in sets])
    whole = shows.sum(axis=0)
    for count in range(min(MOST_FOLDS, int(numbers.max()) + 1), 1, -1):
        found: list[tuple[float, int, np.ndarray]] = []
        for attempt in range(TRIES):
            # of few videos, or of sets that are all different, no stratum has one for each fold
            kind = StratifiedGroupKFold if np.bincount(classes).max() >= count else GroupKFold
            folds = kind(count, shuffle=True, random_state=seed + attempt)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # of classes with fewer videos than folds
                for _, tested in folds.split(classes, classes, numbers):
                    mine = shows[tested].sum(axis=0)
                    if (mine > 0).all() and (mine < whole).all():
                        off = float(np.abs(mine / whole - SHARE).max())
                        found.append((off, len(found), tested))
        if found:
            chosen = np.zeros(len(classes), dtype=bool)
            chosen[min(found)[2]] = True
            return chosen
    raise ValueError(
        "no split keeps every group on one side and every class on both: the groups are too large or too few; give a "
        "table with the columns label,path,split"
    )
