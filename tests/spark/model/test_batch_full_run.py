"""What earlier runs and this one left of all entities, and which rows count."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession
from tests.support.prediction_requests import INPUTS, NULLABLE, TWO, challenger, request
from tests.support.registered_models import artifact

from asgard.model.artifacts.signature import Signature
from asgard.model.batch.full_run import LastRunComparison, RunTotals, last_whole, whole_now
from asgard.model.batch.predict import _greatest
from asgard.model.batch.request import PredictRequest
from asgard.model.batch.scope import Coverage, Scope
from asgard.model.batch.table import PROBABILITIES, predictions_table

MOMENT = datetime(2024, 1, 1, tzinfo=UTC)
VIP, ALL, REST = Scope(Coverage.SOME, text="entities of vip.csv"), request().scope, request().rest_scope
SCHEMA = (
    "customer_id bigint, prediction double, model_version string, feature_snapshot string, features_as_of timestamp, "
    "scope string, run_id string, predicted_at timestamp"
)
ADDED = "coverage string, challenger string, completes boolean"
"""What rows of tables that were written before 0.1 lack."""
Rows = Sequence[tuple[Any, ...]]


def run(
    number: int, scope: Scope, scores: dict[int, float | None], version: str = "1.0.0", snapshot: str = "7"
) -> Rows:
    """The rows of a run, at that hour."""
    at = datetime(2024, 2, 1, number, tzinfo=UTC)
    origin = (version, snapshot, MOMENT, str(scope), f"run-{number}", at)
    typed = (str(scope.coverage), scope.challenger, scope.completes)
    return [(customer, score, *origin, *typed) for customer, score in scores.items()]


@pytest.fixture(params=["before", "now", "both"])
def attempt_with(spark: SparkSession, request: pytest.FixtureRequest) -> Callable[..., Any]:
    """An attempt that sees runs, as a table has them that was written before 0.1, since, or first so and then so."""

    def attempt(*runs: Rows) -> Any:
        old = {"before": len(runs), "now": 0, "both": 1}[request.param]
        rows = [(*row[:8], None, None, None) if place < old else row for place, each in enumerate(runs) for row in each]
        frame = spark.createDataFrame(rows, f"{SCHEMA}, {ADDED}")
        if request.param == "before":
            frame = frame.drop("coverage", "challenger", "completes")
        return SimpleNamespace(has=lambda _table: True, read=lambda _table, guard=False: frame)

    return attempt


def test_a_whole_is_the_earlier_part_and_the_rest(attempt_with: Callable[..., Any]) -> None:
    vip = run(1, VIP, {1: 0.9, 2: None})
    rest = run(2, REST, {3: 0.1, 4: 0.2})
    others = run(3, VIP, {1: 0.5}, "1.1.0"), run(4, VIP, {1: 0.6}, snapshot="8")
    last = last_whole(attempt_with(vip, rest, *others), request())
    assert last == RunTotals(4, 3, pytest.approx(0.4), pytest.approx(0.3559, abs=1e-4))
    assert whole_now(attempt_with(vip, rest, *others), request(), MOMENT) == last
    whole = run(5, ALL, {1: 0.5, 2: 0.5, 3: 0.5}, snapshot="9")
    assert last_whole(attempt_with(vip, rest, whole), request()) == RunTotals(3, 3, 0.5, 0.0)
    assert last_whole(attempt_with(vip), request()) is None


def test_an_entity_that_changed_sides_counts_once(attempt_with: Callable[..., Any]) -> None:
    split = request(challenger=challenger())
    both = (
        run(1, split.scope, {1: 0.1, 2: 0.2}),
        run(1, split.scope, {3: 0.3}, "1.2.0", "9"),
        run(2, split.rest_scope, {2: 0.8}, "1.2.0", "9"),
    )
    assert last_whole(attempt_with(*both), split) == RunTotals(
        3, 3, pytest.approx(0.4), pytest.approx(0.2944, abs=1e-4)
    )


def test_the_checks_answer_what_was_written(spark: SparkSession) -> None:
    def answers(now: RunTotals) -> list[bool]:
        found = LastRunComparison(request(), RunTotals(10, 10, 0.5, 0.1), lambda: now).checks()
        conditions: list[Any] = [check.rule for check in found]
        return [spark.range(1).select(each.condition()).first()[0] for each in conditions]  # type: ignore[index]

    assert answers(RunTotals(10, 10, 0.5)) == [True, True]
    assert answers(RunTotals(4, 4, 0.9)) == [False, False]


@pytest.mark.parametrize(
    ("scores", "fine"),
    [
        ([0.0, 0.25, 0.75], True),
        (None, True),
        ([0.5, 7.0], False),
        ([-0.1, 0.5], False),
        ([0.5, float("nan")], False),
        ([0.5, None], False),
    ],
)
def test_probabilities_of_several_classes(spark: SparkSession, scores: list[float] | None, *, fine: bool) -> None:
    frame = spark.createDataFrame([(scores,)], "prediction array<double>")
    assert frame.where(f"NOT ({PROBABILITIES})").isEmpty() is fine


def test_each_task_has_its_range() -> None:
    def kinds(task: str, classes: tuple[str, ...]) -> set[str]:
        made = request(artifact=artifact(signature=Signature(INPUTS, task, classes)))
        return {str(check.name) for check in predictions_table(made).checks}

    assert "probabilities" in kinds("multiclass", ("a", "b", "c"))
    assert "probabilities" not in kinds("binary", ("a", "b"))
    assert "between(prediction)" in kinds("binary", ("a", "b"))


def test_who_has_no_prediction_is_not_among_the_greatest(spark: SparkSession) -> None:
    schema = "customer_id bigint, prediction double, visits bigint"
    frame = spark.createDataFrame([(1, None, 9), (2, 0.2, None), (3, 0.3, 1), (4, 0.1, 2)], schema)

    def greatest(made: PredictRequest) -> list[int]:
        found: DataFrame = _greatest(frame, made)
        return [row["customer_id"] for row in found.collect()]

    unknown = request(artifact=artifact(signature=NULLABLE), top=3)
    assert greatest(unknown) == [3, 2, 4]
    assert greatest(request(artifact=artifact(signature=NULLABLE), top=3, by="visits")) == [4, 3]
    assert greatest(request(artifact=artifact(signature=TWO), top=4)) == [3, 2, 4, 1]  # refused by its check
