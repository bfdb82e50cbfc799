"""What can be declared of a model, and what can't."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from asgard.common.errors import DeclarationError, UsageError
from asgard.model.declaration import Model, Script, TrainingData, model
from asgard.model.metrics import Metric, Task


def learn(data: TrainingData) -> Any:
    return data


def declared(**changes: Any) -> Model:
    given: dict[str, Any] = {"labels": "gold.labels", "target": "left", "views": ("metrics",), "trainer": learn}
    return model("churn", **given | changes)


def test_a_declaration() -> None:
    found = declared(test_from="2024-03-01", outcome_after="28d", minimum={"roc_auc": 0.7}, maximum={"brier": 0.2})
    assert found.split.test_from == datetime(2024, 3, 1, tzinfo=UTC)
    assert found.split.outcome_after == timedelta(days=28)
    assert (found.minimum, found.maximum) == ({Metric.ROC_AUC: 0.7}, {Metric.BRIER: 0.2})
    assert found.task is Task.BINARY
    assert declared().split.test_share == 0.25


def test_a_path_is_a_script() -> None:
    assert declared(trainer="train.py").trainer == Script(Path("train.py"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"task": "ranking"}, "task is 'ranking'"),
        ({"format": "joblib"}, "format is 'joblib'"),
        ({"views": ()}, "has no feature views"),
        ({"test_from": "2024-01-01", "test_share": 0.2}, "both test_from and test_share"),
        ({"test_share": 1.0}, "test_share is 1.0"),
        ({"test_share": 0}, "test_share is 0"),
        ({"outcome_after": "28"}, "is not a duration"),
        ({"minimum": {"r2": 0.5}}, "'r2' is not a metric of a binary model"),
        ({"maximum": {"roc": 0.5}}, "'roc' is not a metric"),
        ({"features": ("left",)}, "is one of its features"),
    ],
)
def test_what_can_not_work(change: dict[str, Any], message: str) -> None:
    with pytest.raises(DeclarationError, match=message):
        declared(**change)


def test_a_name_that_is_none() -> None:
    with pytest.raises(UsageError, match="name of a model"):
        model("Churn!", labels="gold.labels", target="left", views=("metrics",), trainer=learn)
