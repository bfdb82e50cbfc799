"""Backfills on real services: what is missing, ranges, chunks, restarts."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from pyspark.sql import SparkSession
from tests.conftest import Fresh
from tests.support.runs import rows_of, values, write_rows
from tests.support.shop import at, make_shop, names

from asgard.common.errors import RunError, UsageError
from asgard.common.names import RunId
from asgard.jobs import backfill_job
from asgard.jobs.backfill_job import Params
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.catalog.snapshots import resolve
from asgard.lakehouse.declaring.intervals import TimeRange
from asgard.lakehouse.declaring.pipeline import Pipeline
from asgard.lakehouse.lineage.tree import lineage
from asgard.lakehouse.runs.history import differences
from asgard.lakehouse.runs.run import RunAuditFailedError, Status

ORDERS = "id bigint, at timestamp, amount decimal(10,2)"


class Shop:
    """The shop with its own table names, and three orders in bronze."""

    def __init__(self, lake: Lakehouse, spark: SparkSession, fresh: Fresh) -> None:
        self.lake, self.spark = lake, spark
        suffix = fresh.table().name[2:]
        self.pipeline = make_shop(suffix)
        self.names = names(suffix)
        self.order(1, at(1, 5), 10)
        self.order(2, at(1, 31, 23), 20)
        self.order(3, at(2, 1, 0), 30)

    def order(self, number: int, moment: datetime, amount: int) -> None:
        row = values(self.spark, ORDERS, [[number, moment, Decimal(amount)]])
        write_rows(self.lake, self.pipeline[self.names["bronze"]], row)

    def backfill(self, **params: object) -> list[backfill_job.RunResult]:
        return backfill_job.run(Params(**params), self.lake, self.pipeline, lambda _line: None)  # type: ignore[arg-type]

    def totals(self) -> list[tuple[str, Decimal]]:
        found = rows_of(self.lake, self.names["totals"], "date_format(month, 'yyyy-MM')", "total")
        return [(month, total) for month, total in found]


@pytest.fixture
def shop(lake: Lakehouse, spark: SparkSession, fresh: Fresh) -> Shop:
    return Shop(lake, spark, fresh)


def test_a_backfill_computes_what_is_missing_and_then_nothing(shop: Shop) -> None:
    (first,) = shop.backfill()
    assert first.status is Status.PUBLISHED
    assert set(first.tables) == {str(shop.names[name]) for name in ("silver", "totals", "count")}
    assert rows_of(shop.lake, shop.names["silver"], "id") == [(1,), (2,), (3,)]
    assert rows_of(shop.lake, shop.names["count"]) == [(3,)]
    assert shop.totals() == [("2024-01", Decimal(30)), ("2024-02", Decimal(30))]
    assert shop.backfill() == []


def test_only_missing_intervals_are_computed(shop: Shop) -> None:
    shop.backfill(window=TimeRange.parse("2024-01-01", "2024-02-01"))
    assert rows_of(shop.lake, shop.names["silver"], "id") == [(1,), (2,)]
    (second,) = shop.backfill()
    assert second.tables[str(shop.names["silver"])]["intervals"] == "2024-02-01/2024-03-01"
    assert shop.totals() == [("2024-01", Decimal(30)), ("2024-02", Decimal(30))]


def test_a_range_computes_again_what_was_there(shop: Shop) -> None:
    shop.backfill()
    shop.order(4, at(1, 6), 5)  # late: its interval is done already
    assert shop.backfill(select=("silver.*", "gold.order_totals*")) == []
    shop.backfill(window=TimeRange.parse("2024-01-01", "2024-02-01"))
    assert shop.totals() == [("2024-01", Decimal(35)), ("2024-02", Decimal(30))]


def test_a_table_without_intervals_follows_its_inputs(shop: Shop) -> None:
    shop.backfill()
    window = TimeRange.parse("2024-01-05", "2024-01-06")
    shop.backfill(select=("silver.*",), window=window)  # a new snapshot of the same rows
    assert shop.backfill() == []
    shop.order(4, at(1, 5), 5)
    shop.backfill(select=("silver.*",), window=window)
    (result,) = shop.backfill()
    assert list(result.tables) == [str(shop.names["count"])]


def test_chunks_publish_one_after_the_other_and_resume(shop: Shop) -> None:
    shop.order(5, at(2, 10), 1000)  # breaks between(amount, 0, 100) in February
    with pytest.raises(RunAuditFailedError):
        shop.backfill(select=("silver.*",), intervals_per_run=31)
    assert rows_of(shop.lake, shop.names["silver"], "id") == [(1,), (2,)]
    planned = backfill_job.plan(shop.lake, shop.pipeline, Params(select=("silver.*",)))
    assert [str(window) for window in planned.runs[0][0].ranges] == ["2024-02-01/2024-03-01"]


def test_a_restart_with_the_same_run_id_publishes_each_chunk_once(shop: Shop) -> None:
    run_id = RunId("20260101t000000-" + shop.names["silver"].name[-8:])
    params = {"run_id": run_id, "window": TimeRange.parse("2024-01-01", "2024-03-01"), "intervals_per_run": 1}
    first = shop.backfill(**params)
    again = shop.backfill(**params)
    assert [result.status for result in first] == [Status.PUBLISHED] * 2
    assert [result.status for result in again] == [Status.ALREADY_PUBLISHED] * 2
    assert [result.commit for result in first] == [result.commit for result in again]


def test_the_future_is_not_computed(shop: Shop) -> None:
    shop.backfill(select=("silver.*",), now=datetime(2024, 1, 10, 15, tzinfo=UTC))
    planned = backfill_job.plan(shop.lake, shop.pipeline, Params(select=("silver.*",)))
    assert [str(window) for window in planned.runs[0][0].ranges] == ["2024-01-10/2024-03-01"]


def test_a_range_within_an_interval_computes_the_whole_of_it(shop: Shop) -> None:
    (result,) = shop.backfill(window=TimeRange.parse("2024-01-05T01:00:00", "2024-01-05T05:00:00"))
    written = {name: result.tables[str(shop.names[name])]["intervals"] for name in ("silver", "totals")}
    assert written == {"silver": "2024-01-05/2024-01-06", "totals": "2024-01-01/2024-02-01"}
    with pytest.raises(UsageError, match="touches no complete interval"):
        shop.backfill(window=TimeRange.parse("2023-01-01", "2023-02-01"))


def test_a_function_that_raises_is_named_and_nothing_is_published(lake: Lakehouse, shop: Shop) -> None:
    broken = Pipeline("broken")
    broken.source(str(shop.names["bronze"]))
    inputs = {"orders": str(shop.names["bronze"])}
    broken.table("silver.broken_column", inputs=inputs)(lambda orders: orders.select("amonut"))
    broken.table("silver.broken_value", inputs=inputs)(lambda orders: orders.selectExpr("1 / (id - id) AS x"))
    broken.table("silver.broken_type", inputs=inputs)(lambda orders: 7)  # type: ignore[arg-type, return-value]
    head = lake.nessie.head("main")
    for table, words in (("column", "amonut"), ("value", "Division by zero|DIVIDE_BY_ZERO"), ("type", "returned int")):
        with pytest.raises(RunError, match=words) as caught:
            backfill_job.run(Params(select=(f"silver.broken_{table}",)), lake, broken, lambda _line: None)
        assert "\tat " not in str(caught.value)
        assert f"silver.broken_{table}" in caught.value.message
    assert lake.nessie.head("main") == head


def test_lineage_goes_back_to_bronze_and_diff_shows_the_tables(shop: Shop) -> None:
    before = resolve(shop.lake, None)
    (result,) = shop.backfill()
    tree = lineage(shop.lake, shop.names["totals"], resolve(shop.lake, None))
    assert tree.run is not None
    assert tree.run.attempt.run_id == result.run_id
    assert [node.table for node in tree.inputs] == [shop.names["silver"]]
    assert [node.table for node in tree.inputs[0].inputs] == [shop.names["bronze"]]
    changed = differences(shop.lake, before, resolve(shop.lake, None))
    assert {row["table"]: (row["change"], row["rows_after"]) for row in changed} == {
        str(shop.names["silver"]): ("added", 3),
        str(shop.names["totals"]): ("added", 2),
        str(shop.names["count"]): ("added", 1),
    }
