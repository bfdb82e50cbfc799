"""Metrics by hand, the baseline, curves and permutation importance."""

import math

import numpy as np
import pytest

from asgard.model.metrics import Curves, Metric, Task, baseline, curves, evaluate, importance

TARGET = np.array([0, 0, 1, 1, 1, 0])
SCORE = np.array([0.1, 0.6, 0.7, 0.4, 0.9, 0.2])


def test_binary_metrics_by_hand() -> None:
    found = evaluate(Task.BINARY, TARGET, SCORE)
    assert found[Metric.ACCURACY] == pytest.approx(4 / 6)
    assert found[Metric.PRECISION] == pytest.approx(2 / 3)
    assert found[Metric.RECALL] == pytest.approx(2 / 3)
    assert found[Metric.F1] == pytest.approx(2 / 3)
    assert found[Metric.BRIER] == pytest.approx(np.mean((SCORE - TARGET) ** 2))
    pairs = [(one > other) for one in SCORE[TARGET == 1] for other in SCORE[TARGET == 0]]
    assert found[Metric.ROC_AUC] == pytest.approx(sum(pairs) / len(pairs))
    assert set(found) == set(Metric.of(Task.BINARY))


def test_a_test_of_one_class_has_no_areas() -> None:
    found = evaluate(Task.BINARY, np.ones(4), np.array([0.2, 0.5, 0.6, 0.9]))
    assert math.isnan(found[Metric.ROC_AUC])
    assert math.isnan(found[Metric.PR_AUC])
    assert found[Metric.ACCURACY] == 0.75


def test_regression_and_its_baseline() -> None:
    target, said = np.array([1.0, 2.0, 6.0]), np.array([1.0, 3.0, 4.0])
    found = evaluate(Task.REGRESSION, target, said)
    assert found == {
        Metric.RMSE: pytest.approx(math.sqrt(5 / 3)),
        Metric.MAE: pytest.approx(1.0),
        Metric.R2: pytest.approx(1 - 5 / 14),
    }
    assert baseline(Task.REGRESSION, np.array([3.0]), target)[Metric.R2] == pytest.approx(0.0)


def test_several_classes_and_their_baseline() -> None:
    target = np.array([0, 1, 2, 2])
    said = np.array([[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.1, 0.1, 0.8], [0.6, 0.2, 0.2]])
    found = evaluate(Task.MULTICLASS, target, said, 3)
    assert found[Metric.ACCURACY] == 0.75
    assert found[Metric.LOG_LOSS] == pytest.approx(-np.log([0.8, 0.7, 0.8, 0.2]).mean())
    trivial = baseline(Task.MULTICLASS, np.array([2, 2, 2, 1]), target, 3)
    assert trivial[Metric.ACCURACY] == 0.5


def test_the_baseline_looks_at_no_feature() -> None:
    found = baseline(Task.BINARY, np.array([0, 0, 0, 1]), TARGET)
    assert found[Metric.ROC_AUC] == 0.5
    assert found[Metric.BRIER] == pytest.approx(np.mean((0.25 - TARGET) ** 2))


def test_curves_hold_every_row_and_come_back_from_json() -> None:
    found = curves(TARGET, SCORE)
    assert found.confusion == ((2, 1), (1, 2))
    assert sum(found.calibration[2]) == len(TARGET)
    assert (found.roc[0][0], found.roc[1][0], found.roc[0][-1], found.roc[1][-1]) == (0, 0, 1, 1)
    assert Curves.from_json(found.to_json()) == found


def test_only_the_feature_that_is_used_is_important() -> None:
    matrix = np.random.default_rng(1).normal(size=(500, 3))
    target = (matrix[:, 1] > 0).astype(int)

    def score(rows: np.ndarray) -> np.ndarray:
        return (rows[:, 1] > 0).astype(float)

    found = importance(score, target, matrix, Task.BINARY, seed=3)
    assert found[0] == found[2] == 0
    assert found[1] == pytest.approx(0.5, abs=0.1)
    assert found == importance(score, target, matrix, Task.BINARY, seed=3)
