"""What is missing, stale or in doubt after the ordinary events of a lakehouse, and what a backfill does about it."""

from datetime import UTC, datetime
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from tests.conftest import Fresh
from tests.support.runs import rows_of, values, write_rows

from asgard import Daily, Monthly, Pipeline, TimeRange
from asgard.common.names import TableName
from asgard.jobs import backfill_job
from asgard.jobs.backfill_job import Params
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.freshness.planning import Plan

NOW = datetime(2024, 3, 10, tzinfo=UTC)


def day(month: int, number: int) -> datetime:
    return datetime(2024, month, number, 12, tzinfo=UTC)


class Shop:
    """bronze.raw (by day) -> silver.clean (daily) -> gold.week (7 days up to each day), gold.month, gold.total."""

    def __init__(self, lake: Lakehouse, spark: SparkSession, fresh: Fresh, **options: Any) -> None:
        self.lake, self.spark = lake, spark
        suffix = fresh.table().name[2:]
        self.options = {"start": "2024-01-01", "end": "2024-03-01", **options}
        self.names = {
            name: TableName(layer, f"{name}_{suffix}")
            for layer, name in (
                ("bronze", "raw"),
                ("silver", "clean"),
                ("gold", "week"),
                ("gold", "month"),
                ("gold", "total"),
            )
        }
        self.pipeline = self.declare()

    def declare(self, price: str = "amount", **options: Any) -> Pipeline:
        names = {key: str(name) for key, name in self.names.items()}
        shop = Pipeline("shop", **{**self.options, **options})
        shop.source(names["raw"], columns="id bigint, at timestamp, amount bigint", interval=Daily("at"))

        @shop.table(names["clean"], inputs={"raw": names["raw"]}, interval=Daily("at"))
        def clean(raw: DataFrame, interval: TimeRange) -> DataFrame:
            return raw.where((F.col("at") >= F.lit(interval.start)) & (F.col("at") < F.lit(interval.end))).selectExpr(
                "id", "at", f"{price} AS amount"
            )

        @shop.table(names["week"], inputs={"clean": names["clean"]}, interval=Daily("day"))
        def week(clean: DataFrame, interval: TimeRange) -> DataFrame:
            from datetime import timedelta

            days = clean.sparkSession.sql(
                f"SELECT explode(sequence(timestamp'{interval.start:%Y-%m-%d}', timestamp'{interval.end:%Y-%m-%d}' "
                "- interval 1 day, interval 1 day)) AS day"
            )
            since = interval.start - timedelta(days=6)
            rows = clean.where((F.col("at") >= F.lit(since)) & (F.col("at") < F.lit(interval.end)))
            near = (F.col("at") < F.col("day") + F.expr("interval 1 day")) & (
                F.col("at") >= F.col("day") - F.expr("interval 6 days")
            )
            return days.join(rows, near).groupBy("day").agg(F.sum("amount").alias("amount"))

        @shop.table(names["month"], inputs={"clean": names["clean"]}, interval=Monthly("month"))
        def month(clean: DataFrame, interval: TimeRange) -> DataFrame:
            rows = clean.where((F.col("at") >= F.lit(interval.start)) & (F.col("at") < F.lit(interval.end)))
            return rows.groupBy(F.date_trunc("month", "at").alias("month")).agg(F.sum("amount").alias("amount"))

        @shop.table(names["total"], inputs={"clean": names["clean"]})
        def total(clean: DataFrame) -> DataFrame:
            return clean.agg(F.sum("amount").alias("amount"))

        return shop

    def ingest(self, *rows: tuple[int, datetime, int]) -> None:
        frame = values(self.spark, "id bigint, at timestamp, amount bigint", [list(row) for row in rows])
        write_rows(self.lake, self.pipeline[self.names["raw"]], frame)

    def backfill(self, *said: str, **params: Any) -> list[str]:
        lines: list[str] = []
        backfill_job.run(Params(now=NOW, **params), self.lake, self.pipeline, lines.append)
        return lines

    def plan(self, **params: Any) -> Plan:
        return backfill_job.plan(self.lake, self.pipeline, Params(now=NOW, **params))

    def found(self, **params: Any) -> dict[str, list[str]]:
        """Of each table, its findings in order: condition and interval."""
        by_name = {name: key for key, name in self.names.items()}
        found: dict[str, list[str]] = {}
        for each in self.plan(**params).findings:
            found.setdefault(by_name[each.table], []).append(f"{each.condition} {each.interval}")
        return found

    def rows(self, name: str) -> list[Any]:
        return rows_of(self.lake, self.names[name])


@pytest.fixture
def shop(lake: Lakehouse, spark: SparkSession, fresh: Fresh) -> Shop:
    made = Shop(lake, spark, fresh)
    made.ingest((1, day(1, 5), 10), (2, day(1, 20), 20), (3, day(2, 5), 30))
    made.backfill()
    assert made.plan() == Plan(())
    return made


def test_a_late_row_makes_stale_exactly_what_read_its_day(shop: Shop) -> None:
    shop.ingest((4, day(1, 20), 5))
    week = [f"stale by input 2024-01-{number}/2024-01-{number + 1}" for number in range(20, 27)]
    assert shop.found() == {
        "clean": ["stale by data 2024-01-20/2024-01-21"],
        "week": week,
        "month": ["stale by input 2024-01-01/2024-02-01"],
        "total": ["stale by input None"],
    }
    assert shop.rows("total") == [(60,)]
    shop.backfill(stale=True)
    assert shop.plan() == Plan(())
    assert shop.rows("total") == [(65,)]
    assert sorted(shop.rows("month"))[0][1] == 35
