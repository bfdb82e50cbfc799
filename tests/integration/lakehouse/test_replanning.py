"""What a backfill leaves out because others have published it meanwhile, and what makes a table stale."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession
from tests.conftest import Fresh
from tests.support.runs import rows_of, values, write_rows
from tests.support.shop import at, make_shop, names

from asgard.common.names import TableName
from asgard.jobs import backfill_job
from asgard.jobs.backfill_job import Params
from asgard.lakehouse.catalog.files import TableState
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.catalog.snapshots import resolve
from asgard.lakehouse.declaring.intervals import TimeRange
from asgard.lakehouse.declaring.pipeline import Pipeline
from asgard.lakehouse.lineage.tree import lineage
from asgard.lakehouse.runs.records import RunRecords
from asgard.lakehouse.runs.run import RunResult, Status

JANUARY = TimeRange.parse("2024-01-01", "2024-02-01")


class Shop:
    """The shop with an order in January and one in February, and a rival that publishes within a backfill."""

    def __init__(self, lake: Lakehouse, spark: SparkSession, fresh: Fresh) -> None:
        self.lake = lake
        suffix = fresh.table().name[2:]
        self.pipeline, self.names = make_shop(suffix), names(suffix)
        orders = [[1, at(1, 5), Decimal(10)], [2, at(2, 5), Decimal(20)]]
        rows = values(spark, "id bigint, at timestamp, amount decimal(10,2)", orders)
        write_rows(lake, self.pipeline[self.names["bronze"]], rows)

    def backfill(self, say: Callable[[str], None] = lambda _line: None, **params: Any) -> list[RunResult]:
        return backfill_job.run(Params(**params), self.lake, self.pipeline, say)

    def with_rival(self, rival: dict[str, Any], after: str = "wrote", **params: Any) -> list[RunResult]:
        """A backfill in which another one publishes once `after` was said."""
        published: list[RunResult] = []

        def say(line: str) -> None:
            if not published and line.startswith(after):
                published.extend(self.backfill(**rival))

        return self.backfill(say, **params)

    def steps(self, result: RunResult) -> dict[str, list[str]]:
        record = RunRecords(self.lake.storage).attempts(result.run_id)[0].record
        return {step["table"]: step["intervals"] for step in record["params"]["steps"]}


@pytest.fixture
def shop(lake: Lakehouse, spark: SparkSession, fresh: Fresh) -> Shop:
    return Shop(lake, spark, fresh)


def test_after_a_conflict_only_what_is_still_missing_is_computed(shop: Shop) -> None:
    (result,) = shop.with_rival({"select": ("silver.*",), "window": JANUARY})
    silver, count = str(shop.names["silver"]), str(shop.names["count"])
    assert (result.status, result.attempt) == (Status.PUBLISHED, 2)
    assert result.tables[silver]["intervals"] == "2024-02-01/2024-03-01"
    assert shop.steps(result)[silver] == ["2024-02-01/2024-03-01"]
    assert rows_of(shop.lake, shop.names["silver"], "id") == [(1,), (2,)]
    assert rows_of(shop.lake, shop.names["count"]) == [(2,)]
    assert count in shop.steps(result)


def test_a_run_that_lost_everything_to_another_ends_unchanged(shop: Shop) -> None:
    (result,) = shop.with_rival({})
    assert (result.status, result.attempt, result.tables) == (Status.UNCHANGED, 2, {})
    assert shop.backfill() == []


def test_after_a_conflict_lineage_follows_what_was_really_computed(shop: Shop) -> None:
    (result,) = shop.with_rival({"select": ("silver.*",)})
    assert list(shop.steps(result)) == [str(shop.names["totals"]), str(shop.names["count"])]
    tree = lineage(shop.lake, shop.names["totals"], resolve(shop.lake, None))
    assert tree.run is not None
    assert tree.run.attempt.run_id == result.run_id
    (silver,) = tree.inputs
    assert silver.run is not None
    assert silver.run.attempt.run_id != result.run_id
    assert [node.table for node in silver.inputs] == [shop.names["bronze"]]


def test_a_range_that_was_asked_for_is_computed_after_a_conflict_too(shop: Shop) -> None:
    (result,) = shop.with_rival({"select": ("silver.*",)}, select=("silver.*",), window=JANUARY)
    assert (result.status, result.attempt) == (Status.PUBLISHED, 2)
    assert result.tables[str(shop.names["silver"])]["intervals"] == str(JANUARY)


def test_a_chunk_that_another_run_published_is_left_out(shop: Shop) -> None:
    first, second = shop.with_rival({}, after="run 2 of 2", intervals_per_run=1)
    assert (first.status, second.status) == (Status.PUBLISHED, Status.UNCHANGED)


class Copies:
    """A table without intervals that is merged from others by id."""

    def __init__(self, lake: Lakehouse, spark: SparkSession, fresh: Fresh) -> None:
        self.lake, self.spark = lake, spark
        self.first, self.second, self.target = fresh.table("bronze"), fresh.table("bronze"), fresh.table()
        self.publish(self.first)
        self.publish(self.second)

    def publish(self, source: TableName) -> None:
        pipeline = Pipeline("sources")
        pipeline.source(str(source))
        write_rows(self.lake, pipeline[source], values(self.spark, "id bigint", [[1]]))

    def declared(self, mode: str, function: Callable[..., DataFrame], *inputs: TableName) -> Pipeline:
        pipeline = Pipeline("copies")
        for source in inputs:
            pipeline.source(str(source))
        parameters = dict(zip(("first", "second"), map(str, inputs), strict=False))
        pipeline.table(str(self.target), inputs=parameters, mode=mode, keys=["id"])(function)
        return pipeline

    def backfill(self, pipeline: Pipeline) -> list[Status]:
        return [result.status for result in backfill_job.run(Params(), self.lake, pipeline, lambda _line: None)]


@pytest.fixture
def copies(lake: Lakehouse, spark: SparkSession, fresh: Fresh) -> Copies:
    return Copies(lake, spark, fresh)


def one(first: DataFrame) -> DataFrame:
    return first.distinct()


def two(first: DataFrame, second: DataFrame) -> DataFrame:
    return first.union(second).distinct()


@pytest.mark.parametrize("mode", ["replace", "merge"])
def test_an_input_that_was_declared_since_makes_a_table_stale_once(copies: Copies, mode: str) -> None:
    assert copies.backfill(copies.declared(mode, one, copies.first)) == [Status.PUBLISHED]
    wider = copies.declared(mode, two, copies.first, copies.second)
    ((step,),) = backfill_job.plan(copies.lake, wider, Params()).runs
    assert step.reason == f"its inputs changed: {copies.second}"
    assert copies.backfill(wider) == [Status.PUBLISHED]
    assert copies.backfill(wider) == []


def test_a_merge_that_changes_no_row_notes_its_inputs_and_is_not_planned_again(copies: Copies) -> None:
    pipeline = copies.declared("merge", one, copies.first)
    copies.backfill(pipeline)
    before = state(copies)
    copies.publish(copies.first)
    assert copies.backfill(pipeline) == [Status.PUBLISHED]
    assert state(copies).snapshot_id == before.snapshot_id
    assert copies.backfill(pipeline) == []
    assert rows_of(copies.lake, copies.target) == [(1,)]


def state(copies: Copies) -> TableState:
    return TableState.load(copies.lake.content(copies.target, "main").metadata_location, copies.lake.settings)
