"""Linear heads on fixed features: logistic regressions of several strengths, and the choice among them."""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from besnet.evaluation.metrics import top_k
from besnet.evaluation.probabilities import SMALLEST

NEVER = -1e4  # the logit of a class that has no training video
MOST_STEPS = 2000  # of the solver
FOLDS = 5


@dataclass(frozen=True)
class Videos:
    """Features float32 (N, V, F) of N videos in V views each, and their labels int64 (N,)."""

    features: np.ndarray
    labels: np.ndarray

    def some(self, which: np.ndarray) -> "Videos":
        return Videos(self.features[which], self.labels[which])


@dataclass(frozen=True)
class Head:
    """The last layer of a network: logits = weight (C, F) @ features + bias (C,), float32."""

    weight: np.ndarray
    bias: np.ndarray

    def probabilities(self, features: np.ndarray) -> np.ndarray:
        """float32 (N, V, C) of features (N, V, F)."""
        logits = features @ self.weight.T + self.bias
        shares = np.exp(logits - logits.max(axis=-1, keepdims=True))
        found: np.ndarray = (shares / shares.sum(axis=-1, keepdims=True)).astype(np.float32)
        return found


@dataclass(frozen=True)
class Score:
    """What a strength reached on videos that its heads had not learned from: top-1, and the mean of -log(p)."""

    strength: float
    top1: float
    nll: float


def fit_heads(videos: Videos, num_classes: int, strengths: Sequence[float]) -> Iterator[tuple[float, Head]]:
    """A head for each strength, the weakest (the most regularised) first; each starts from the one before it.

    Features are standardised for the fit. All views of a video together weigh as much as one.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler
    from threadpoolctl import threadpool_limits

    _, views, width = videos.features.shape
    scaler, labels = StandardScaler(), videos.labels.repeat(views)
    rows = scaler.fit_transform(videos.features.reshape(-1, width).astype(np.float64))
    regression: Any = LogisticRegression(max_iter=MOST_STEPS, warm_start=True)
    for strength in sorted(strengths):
        regression.C = strength
        # one thread: threads that wait for each other on a busy machine take a hundred times as long
        with warnings.catch_warnings(record=True) as caught, threadpool_limits(1):
            warnings.simplefilter("always", ConvergenceWarning)
            regression.fit(rows, labels, sample_weight=np.full(len(rows), 1 / views))
        if caught:
            print(f"C {strength:g}: not at its optimum after {MOST_STEPS} steps")
        yield strength, head_of(regression, scaler.mean_, scaler.scale_, num_classes)


def head_of(regression: Any, mean: np.ndarray, scale: np.ndarray, num_classes: int) -> Head:
    """scikit-learn's coefficients for (features - mean) / scale as a layer for all classes and the features."""
    weight = regression.coef_ / scale
    bias = regression.intercept_ - weight @ mean
    if len(regression.classes_) == 2 and len(weight) == 1:  # only the second class has a logit
        weight, bias = np.concatenate([np.zeros_like(weight), weight]), np.concatenate([[0.0], bias])
    whole = Head(
        np.zeros((num_classes, weight.shape[1]), dtype=np.float32), np.full(num_classes, NEVER, dtype=np.float32)
    )
    whole.weight[regression.classes_], whole.bias[regression.classes_] = weight, bias
    return whole


def scores(parts: Sequence[tuple[Videos, Videos]], num_classes: int, strengths: Sequence[float]) -> list[Score]:
    """What each strength reaches over all parts (learned from, tested on), by strength."""
    mean: dict[float, list[np.ndarray]] = {strength: [] for strength in sorted(strengths)}
    labels = np.concatenate([tested.labels for _, tested in parts])
    for learned, tested in parts:
        for strength, head in fit_heads(learned, num_classes, strengths):
            mean[strength].append(head.probabilities(tested.features).mean(axis=1))
    found = []
    for strength, shares in mean.items():
        together = np.concatenate(shares)
        own = np.take_along_axis(together, labels[:, None], axis=1)
        nll = -np.log(np.maximum(own, SMALLEST)).mean()
        found.append(Score(strength, float(top_k(together, labels, 1).mean()), float(nll)))
    return found


def best(found: Sequence[Score]) -> Score:
    """The lowest -log(p), which moves less by chance than top-1; of equal ones the highest top-1, then the weakest."""
    return min(found, key=lambda score: (score.nll, -score.top1, score.strength))


def folds(videos: Videos, groups: Sequence[str]) -> list[tuple[Videos, Videos]]:
    """The videos in parts, a group never on both sides. ValueError where there are not two groups."""
    from sklearn.model_selection import GroupKFold

    numbers = np.unique(np.array(groups), return_inverse=True)[1]
    count = min(FOLDS, int(numbers.max()) + 1)
    if count < 2:
        raise ValueError("all training videos are of one group: a validation split is needed")
    split = GroupKFold(count).split(videos.labels, groups=numbers)
    return [(videos.some(learned), videos.some(tested)) for learned, tested in split]
