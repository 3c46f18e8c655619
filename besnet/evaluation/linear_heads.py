"""Linear heads on fixed features: logistic regressions of several strengths, and the choice among them."""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import special

from besnet.evaluation.average_precision import average_precisions, mean_of_known
from besnet.evaluation.metrics import top_k
from besnet.evaluation.probabilities import SMALLEST

NEVER = -1e4  # the logit of a class that has no training video
MOST_STEPS = 2000  # of the solver
FOLDS = 5


@dataclass(frozen=True)
class Videos:
    """Features float32 (N, V, F) of N videos in V views each, and their labels int64 (N,), or with several labels per
    video 0 and 1 of each class (N, C)."""

    features: np.ndarray
    labels: np.ndarray

    def some(self, which: np.ndarray) -> "Videos":
        return Videos(self.features[which], self.labels[which])


@dataclass(frozen=True)
class Head:
    """The last layer of a network: logits = weight (C, F) @ features + bias (C,), float32."""

    weight: np.ndarray
    bias: np.ndarray
    multi_label: bool = False

    def probabilities(self, features: np.ndarray) -> np.ndarray:
        """float32 (N, V, C) of features (N, V, F)."""
        logits = features @ self.weight.T + self.bias
        if self.multi_label:
            return np.asarray(special.expit(logits), dtype=np.float32)
        shares = np.exp(logits - logits.max(axis=-1, keepdims=True))
        found: np.ndarray = (shares / shares.sum(axis=-1, keepdims=True)).astype(np.float32)
        return found


@dataclass(frozen=True)
class Score:
    """What a strength reached on videos that its heads had not learned from: top-1, and the mean of -log(p).

    Where a video has several labels, `top1` is mAP, and the mean is over all classes of all videos.
    """

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
    scaler, labels = StandardScaler(), videos.labels.repeat(views, axis=0)
    rows = scaler.fit_transform(videos.features.reshape(-1, width).astype(np.float64))
    # of several labels each class is a question of its own, where it has two answers
    several = labels.ndim == 2
    asked = [n for n in range(num_classes) if 0 < labels[:, n].sum() < len(labels)] if several else [0]
    regressions: list[Any] = [LogisticRegression(max_iter=MOST_STEPS, warm_start=True) for _ in asked]
    weights = np.full(len(rows), 1 / views)
    for strength in sorted(strengths):
        # one thread: threads that wait for each other on a busy machine take a hundred times as long
        with warnings.catch_warnings(record=True) as caught, threadpool_limits(1):
            warnings.simplefilter("always", ConvergenceWarning)
            for number, regression in zip(asked, regressions, strict=True):
                regression.C = strength
                regression.fit(rows, labels[:, number] if several else labels, sample_weight=weights)
        if caught:
            print(f"C {strength:g}: not at its optimum after {MOST_STEPS} steps")
        if several:
            yield strength, head_of_sets(dict(zip(asked, regressions, strict=True)), scaler, labels)
        else:
            yield strength, head_of(regressions[0], scaler.mean_, scaler.scale_, num_classes)


def head_of_sets(regressions: dict[int, Any], scaler: Any, labels: np.ndarray) -> Head:
    """The regressions of the classes that have one as a layer; of the others all videos, or none, have the label."""
    count = labels.shape[1]
    always = labels.all(axis=0)
    weight = np.zeros((count, len(scaler.mean_)))
    bias = np.where(always, -NEVER, NEVER)
    for number, regression in regressions.items():
        weight[number] = regression.coef_[0] / scaler.scale_
        bias[number] = regression.intercept_[0] - weight[number] @ scaler.mean_
    return Head(weight.astype(np.float32), bias.astype(np.float32), multi_label=True)


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
        if labels.ndim == 2:
            right = mean_of_known(average_precisions(together, labels)) or 0.0
            own = np.where(labels > 0, together, 1 - together)
        else:
            right = float(top_k(together, labels, 1).mean())
            own = np.take_along_axis(together, labels[:, None], axis=1)
        found.append(Score(strength, right, float(-np.log(np.maximum(own, SMALLEST)).mean())))
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
