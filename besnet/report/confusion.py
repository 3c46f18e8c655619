"""Plots of the confusion matrix, readable at 10 and at 400 classes."""

import matplotlib.colors
import matplotlib.patches
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from besnet.report.drawing import blank
from besnet.text import label

MOST_CLASSES = 700  # of a matrix: all of Kinetics-700; of more, those with the most mistakes
MOST_NAMES = 60  # more rows than this cannot be named in one picture
MOST_COUNTS = 25
GROUP = 12  # classes of a group, at most
INK = matplotlib.colors.LinearSegmentedColormap.from_list(
    "ink", ["#ffffff", "#f3c98b", "#d9734a", "#8c2f5b", "#1b1033"]
)
TICKS = np.array([0, 0.05, 0.2, 0.5, 1.0])


def confusion_matrix(counts: np.ndarray, classes: list[str], of: np.ndarray | None = None) -> Figure:
    """Shares of each true class (row) that were predicted as each class (column), every class by its name.

    of: videos of each row, where the columns are not all the classes; the picture is then a small one.
    """
    size = len(classes)
    side = 0.27 * size + (2.2 if of is None else 0)
    figure, axes = blank(figsize=(side * 1.2, side))
    paint(axes, shares(counts, of), scale=of is None)
    names = [label(name) for name in classes]
    axes.set_xticks(range(size), names, rotation=90, fontsize=8)
    axes.set_yticks(range(size), names, fontsize=8)
    if size <= MOST_COUNTS:
        for i, j in zip(*np.nonzero(counts), strict=True):
            dark = counts[i, j] > 0.3 * (counts[i].sum() if of is None else of[i])
            axes.text(j, i, str(counts[i, j]), ha="center", va="center", fontsize=7, color="white" if dark else "black")
    return figure


def overview(counts: np.ndarray, of: np.ndarray, order: list[list[int]], marked: list[list[int]]) -> Figure:
    """A large matrix with the classes in the order of their groups; the marked groups are framed and numbered.

    of: videos of each row.
    """
    places = np.concatenate([np.array(group) for group in order])
    figure, axes = blank(figsize=(9.4, 8.2))
    paint(axes, shares(counts, of)[np.ix_(places, places)])
    axes.set_xlabel("predicted class")
    axes.set_ylabel("the truth")
    axes.set_xticks([])
    axes.set_yticks([])
    first = 0
    for group in order:
        if group in marked:
            frame = (first - 0.5, first - 0.5), len(group), len(group)
            axes.add_patch(matplotlib.patches.Rectangle(*frame, fill=False, edgecolor="#1f6f8b", linewidth=1))
            number = str(marked.index(group) + 1)
            axes.text(first + len(group) + 2, first + len(group) / 2, number, fontsize=9, color="#1f6f8b", va="center")
        first += len(group)
    return figure


def paint(axes: Axes, part: np.ndarray, scale: bool = True) -> None:
    """A matrix of shares; the square root keeps rare confusions visible."""
    picture = axes.imshow(np.sqrt(part), cmap=INK, vmin=0, vmax=1, interpolation="nearest")
    if not scale:
        return
    bar = axes.figure.colorbar(picture, ax=axes, fraction=0.04, pad=0.03)
    bar.set_ticks(np.sqrt(TICKS).tolist(), labels=[f"{tick:.0%}" for tick in TICKS])


def shares(counts: np.ndarray, of: np.ndarray | None = None) -> np.ndarray:
    """Each row's counts as shares of the row, or of another count of videos."""
    total = counts.sum(axis=1) if of is None else of
    return np.asarray(counts / np.maximum(total, 1)[:, None])


def groups(counts: np.ndarray) -> list[list[int]]:
    """All classes in groups of at most GROUP that are confused with each other; confused groups and classes are
    neighbours."""
    near = shares(counts)
    near = near + near.T
    small = merged(near, [[number] for number in range(len(near))], GROUP)
    between = np.array([[near[np.ix_(one, other)].mean() for other in small] for one in small])
    chained = merged(between, [[number] for number in range(len(small))], len(small))
    return [small[number] for chain in chained for number in chain]


def merged(near: np.ndarray, chains: list[list[int]], most: int) -> list[list[int]]:
    """Join the two nearest chains (mean over their members) again and again, while any are near at all and none gets
    longer than `most`."""
    chains = [list(chain) for chain in chains]
    near = near.astype(float).copy()
    np.fill_diagonal(near, 0)
    lengths = np.array([len(chain) for chain in chains])
    while True:
        allowed = np.where(lengths[:, None] + lengths <= most, near, 0)
        one, other = divmod(int(allowed.argmax()), len(near))
        if allowed[one, other] <= 0:
            return [chain for chain in chains if chain]
        total = lengths[one] + lengths[other]
        near[one] = near[:, one] = (near[one] * lengths[one] + near[other] * lengths[other]) / total
        near[other] = near[:, other] = near[one, one] = 0
        chains[one] += chains[other]
        chains[other] = []
        lengths[one] = total


def most_confused_groups(counts: np.ndarray, order: list[list[int]], most: int = 6) -> list[list[int]]:
    """The groups with the most mistakes inside them, the worst first."""
    wrong = counts - np.diag(np.diag(counts))
    inside = {tuple(group): int(wrong[np.ix_(group, group)].sum()) for group in order}
    worst = sorted(order, key=lambda group: -inside[tuple(group)])
    return [group for group in worst[:most] if inside[tuple(group)]]


def most_confused(pairs: np.ndarray, classes: list[str], most: int = 20) -> list[tuple[str, str, int, int]]:
    """(true class, predicted class, videos, videos of the true class) of the largest confusions, from counts (K, 3)."""
    totals = np.bincount(pairs[:, 0], pairs[:, 2], len(classes)).astype(int)
    wrong = pairs[pairs[:, 0] != pairs[:, 1]]
    worst = wrong[np.argsort(-wrong[:, 2], kind="stable")[:most]].tolist()
    return [(classes[truth], classes[answer], videos, int(totals[truth])) for truth, answer, videos in worst]


def worst_classes(pairs: np.ndarray, num_classes: int) -> np.ndarray:
    """The classes that a matrix shows, ascending: all, or the MOST_CLASSES that most mistakes are of or lead to."""
    wrong = pairs[pairs[:, 0] != pairs[:, 1]]
    mistakes = sum(np.bincount(wrong[:, side], wrong[:, 2], num_classes) for side in (0, 1))
    chosen: np.ndarray = np.sort(np.argsort(-np.asarray(mistakes), kind="stable")[:MOST_CLASSES])
    return chosen


def square(pairs: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Counts (K, 3) as a matrix (n, n) of these classes: true classes in rows, predicted in columns."""
    inside = pairs[np.isin(pairs[:, :2], chosen).all(axis=1)]
    counts = np.zeros((len(chosen), len(chosen)), dtype=np.int64)
    truth, answer = np.searchsorted(chosen, inside[:, :2].T)
    counts[truth, answer] = inside[:, 2]
    return counts
