"""Metrics of a model and of a baseline on the test, and the curves that show them.

scikit-learn computes all numbers. A binary model returns the probability of the positive class; 0.5 or more means yes.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

_CURVE_POINTS = 200
_BINS = 10
THRESHOLD = 0.5
"""The probability from which on a binary prediction counts as yes."""


class Task(StrEnum):
    """What kind of target a model learns."""

    BINARY = "binary"
    MULTICLASS = "multiclass"
    REGRESSION = "regression"


class Metric(StrEnum):
    """A metric measured on the test."""

    ACCURACY = "accuracy"
    F1 = "f1"
    """With several classes: the mean over the classes."""
    PRECISION = "precision"
    RECALL = "recall"
    ROC_AUC = "roc_auc"
    PR_AUC = "pr_auc"
    """Average precision."""
    BRIER = "brier"
    LOG_LOSS = "log_loss"
    RMSE = "rmse"
    MAE = "mae"
    R2 = "r2"

    @classmethod
    def of(cls, task: Task) -> "tuple[Metric, ...]":
        """The metrics of a task."""
        if task is Task.REGRESSION:
            return cls.RMSE, cls.MAE, cls.R2
        shared = (cls.ACCURACY, cls.F1, cls.PRECISION, cls.RECALL, cls.LOG_LOSS)
        return (*shared, cls.ROC_AUC, cls.PR_AUC, cls.BRIER) if task is Task.BINARY else shared


def evaluate(
    task: Task, target: "np.ndarray[Any, Any]", score: "np.ndarray[Any, Any]", classes: int = 2
) -> dict[Metric, float]:
    """Compute the metrics of a task.

    Args:
        task: the model's task.
        target: true values: numbers; for a classifier the index of the class, from 0.
        score: the model's output: numbers, probabilities of the positive class, or rows with a probability per class.
        classes: number of classes.

    Returns:
        The value of each metric. The areas under curves are NaN if the test contains only one class.
    """
    import numpy as np
    from sklearn import metrics

    if task is Task.REGRESSION:
        return {
            Metric.RMSE: float(metrics.root_mean_squared_error(target, score)),
            Metric.MAE: float(metrics.mean_absolute_error(target, score)),
            Metric.R2: float(metrics.r2_score(target, score)) if len(target) > 1 else float("nan"),
        }
    places = list(range(classes))
    shares = np.column_stack([1 - score, score]) if task is Task.BINARY else score
    predicted = (score >= THRESHOLD).astype(int) if task is Task.BINARY else shares.argmax(axis=1)
    average = "binary" if task is Task.BINARY else "macro"
    options = {"average": average, "zero_division": 0.0, **({} if task is Task.BINARY else {"labels": places})}
    values = {
        Metric.ACCURACY: float(metrics.accuracy_score(target, predicted)),
        Metric.F1: float(metrics.f1_score(target, predicted, **options)),
        Metric.PRECISION: float(metrics.precision_score(target, predicted, **options)),
        Metric.RECALL: float(metrics.recall_score(target, predicted, **options)),
        Metric.LOG_LOSS: float(metrics.log_loss(target, shares, labels=places)),
    }
    if task is Task.BINARY:
        both = len(np.unique(target)) > 1
        values |= {
            Metric.ROC_AUC: float(metrics.roc_auc_score(target, score)) if both else float("nan"),
            Metric.PR_AUC: float(metrics.average_precision_score(target, score)) if both else float("nan"),
            Metric.BRIER: float(metrics.brier_score_loss(target, score, pos_label=1)),
        }
    return values


def baseline(
    task: Task, learned: "np.ndarray[Any, Any]", target: "np.ndarray[Any, Any]", classes: int = 2
) -> dict[Metric, float]:
    """The metrics of a model that uses no feature: it always predicts the training rows' mean, or class shares."""
    import numpy as np

    if task is Task.MULTICLASS:
        shares = np.bincount(learned.astype(int), minlength=classes) / len(learned)
        return evaluate(task, target, np.tile(shares, (len(target), 1)), classes)
    return evaluate(task, target, np.full(len(target), float(learned.mean())), classes)


@dataclass(frozen=True)
class Curves:
    """The data of a binary model's plots; every list is a column.

    Attributes:
        roc: false and true positive rate.
        pr: recall and precision.
        calibration: mean predicted probability, share of positive rows, and number of rows, by tenth.
        confusion: rows by true and predicted class: ((true no, false yes), (false no, true yes)).
    """

    roc: tuple[list[float], list[float]]
    pr: tuple[list[float], list[float]]
    calibration: tuple[list[float], list[float], list[int]]
    confusion: tuple[tuple[int, int], tuple[int, int]]

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> "Curves":
        """Read what `to_json` returned."""
        (a, b), (c, d) = raw["confusion"]
        return cls(tuple(raw["roc"]), tuple(raw["pr"]), tuple(raw["calibration"]), ((a, b), (c, d)))


def curves(target: "np.ndarray[Any, Any]", score: "np.ndarray[Any, Any]") -> Curves:
    """The curves of a binary model's test."""
    import numpy as np
    from sklearn import metrics

    false_rate, true_rate, _ = metrics.roc_curve(target, score)
    precision, recall, _ = metrics.precision_recall_curve(target, score)
    bins = np.minimum((score * _BINS).astype(int), _BINS - 1)
    used = [place for place in range(_BINS) if (bins == place).any()]
    table = metrics.confusion_matrix(target, score >= THRESHOLD, labels=[0, 1])
    return Curves(
        roc=(_thinned(false_rate), _thinned(true_rate)),
        pr=(_thinned(recall), _thinned(precision)),
        calibration=(
            [float(score[bins == place].mean()) for place in used],
            [float(target[bins == place].mean()) for place in used],
            [int((bins == place).sum()) for place in used],
        ),
        confusion=((int(table[0, 0]), int(table[0, 1])), (int(table[1, 0]), int(table[1, 1]))),
    )


def importance(
    score: Any, target: "np.ndarray[Any, Any]", matrix: "np.ndarray[Any, Any]", task: Task, seed: int
) -> list[float]:
    """How much the test's loss grows when one feature's values are shuffled, computed alike for every kind of model.

    The loss is the Brier score, the mean squared error, or, for several classes, the log loss.

    Source: Breiman, "Random Forests", 2001, section 10 (permutation importance).

    Args:
        score: function that returns a model's scores for a matrix.
        target: the true values.
        matrix: rows x features.
        task: the model's task.
        seed: seed of the shuffles.
    """
    import numpy as np

    def loss(given: "np.ndarray[Any, Any]") -> float:
        if task is Task.MULTICLASS:
            return evaluate(task, target, given, given.shape[1])[Metric.LOG_LOSS]
        return float(np.mean((given - target) ** 2))

    drawn, base, losses = np.random.default_rng(seed), loss(score(matrix)), []
    for place in range(matrix.shape[1]):
        shuffled = matrix.copy()
        shuffled[:, place] = drawn.permutation(shuffled[:, place])
        losses.append(loss(score(shuffled)) - base)
    return losses


def _thinned(values: "np.ndarray[Any, Any]") -> list[float]:
    import numpy as np

    places = np.unique(np.linspace(0, len(values) - 1, min(len(values), _CURVE_POINTS)).astype(int))
    return [float(value) for value in values[places]]
