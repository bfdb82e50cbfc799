"""A backfill in chunks ends with nothing stale by its own runs, and computes nothing more often than needed."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from tests.conftest import Fresh
from tests.support.runs import rows_of, values, write_rows

from asgard import Daily, Monthly, Pipeline, TimeRange, Weekly
from asgard.common.names import RunId, TableName
from asgard.jobs import backfill_job
from asgard.jobs.backfill_job import Params
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.declaring.intervals import RangeSet
from asgard.lakehouse.freshness.interval_reads import intervals_of
from asgard.lakehouse.freshness.planning import Plan
from asgard.lakehouse.freshness.staleness import Condition

NOT_LEFT = (Condition.MISSING, Condition.DATA)
NOW = datetime(2024, 5, 10, tzinfo=UTC)


def between(frame: DataFrame, start: datetime, end: datetime) -> DataFrame:
    return frame.where((F.col("at") >= F.lit(start)) & (F.col("at") < F.lit(end)))


class Chunked:
    """bronze.raw -> silver.clean (daily, lookback) -> gold.ahead (7 days on), gold.week, gold.month, gold.total."""

    def __init__(self, lake: Lakehouse, spark: SparkSession, fresh: Fresh) -> None:
        self.lake, self.spark, self.suffix = lake, spark, fresh.table().name[2:]
        self.pipeline = self.declare("2024-03-01")
        self.said: list[str] = []

    def name(self, key: str) -> str:
        layer = {"raw": "bronze", "clean": "silver"}.get(key, "gold")
        return f"{layer}.{key}_{self.suffix}"

    def declare(self, end: str) -> Pipeline:
        shop = Pipeline(f"chunked_{self.suffix}", start="2024-01-01", end=end)
        shop.source(self.name("raw"), columns="id bigint, at timestamp", interval=Daily("at"))
        clean = {"clean": self.name("clean")}

        @shop.table(self.name("clean"), inputs={"raw": self.name("raw")}, interval=Daily("at", lookback=2))
        def clean_rows(raw: DataFrame, interval: TimeRange) -> DataFrame:
            return between(raw, interval.start, interval.end).select("id", "at")

        @shop.table(self.name("ahead"), inputs=clean, interval=Daily("day"))
        def ahead(clean: DataFrame, interval: TimeRange) -> DataFrame:
            rows = between(clean, interval.start, interval.end + timedelta(days=7))
            days = rows.select(F.explode(F.expr("sequence(0, 7)")).alias("n"), "at")
            each = days.select((F.date_trunc("day", "at") - F.expr("make_dt_interval(n)")).alias("day"))
            inside = (F.col("day") >= F.lit(interval.start)) & (F.col("day") < F.lit(interval.end))
            return each.where(inside).groupBy("day").count()

        @shop.table(self.name("week"), inputs=clean, interval=Weekly("week"))
        def week(clean: DataFrame, interval: TimeRange) -> DataFrame:
            rows = between(clean, interval.start, interval.end)
            return rows.groupBy(F.date_trunc("week", "at").alias("week")).count()

        @shop.table(self.name("month"), inputs={"week": self.name("week")}, interval=Monthly("month"))
        def month(week: DataFrame, interval: TimeRange) -> DataFrame:
            inside = (F.col("week") >= F.lit(interval.start)) & (F.col("week") < F.lit(interval.end))
            return (
                week.where(inside).groupBy(F.date_trunc("month", "week").alias("month")).agg(F.sum("count").alias("n"))
            )

        @shop.table(self.name("total"), inputs=clean)
        def total(clean: DataFrame) -> DataFrame:
            return clean.groupBy().count()

        return shop

    def ingest(self, *days: str) -> None:
        rows = [[number, datetime.fromisoformat(each).replace(tzinfo=UTC)] for number, each in enumerate(days)]
        write_rows(self.lake, self.pipeline[self.name("raw")], values(self.spark, "id bigint, at timestamp", rows))

    def backfill(self, **params: Any) -> dict[str, Counter[str]]:
        """How often each interval of each table was computed."""
        self.said.clear()
        results = backfill_job.run(Params(now=NOW, **params), self.lake, self.pipeline, self.said.append)
        computed: dict[str, Counter[str]] = {}
        for result in results:
            for name, write in result.tables.items():
                cadence, key = self.pipeline[name].interval, name.partition(".")[2].removesuffix(f"_{self.suffix}")
                parts = RangeSet.parse(write["intervals"])
                intervals = [each for part in parts for each in intervals_of(cadence, part)] if cadence else [None]
                computed.setdefault(key, Counter()).update(map(str, intervals))
        return computed

    def plan(self) -> Plan:
        return backfill_job.plan(self.lake, self.pipeline, Params(now=NOW))

    def rows(self) -> dict[str, list[Any]]:
        return {key: rows_of(self.lake, TableName.parse(self.name(key))) for key in ("ahead", "week", "month", "total")}

    def expected(self) -> dict[str, list[Any]]:
        """An obvious loop over the rows of bronze."""
        end = self.pipeline[self.name("clean")].end or NOW
        moments = [
            at for _, at in rows_of(self.lake, TableName.parse(self.name("raw")), "id", "at") if at < _plain(end)
        ]
        ahead, weeks, months = Counter[datetime](), Counter[datetime](), Counter[datetime]()
        for at in moments:
            day = at.replace(hour=0)
            ahead.update(day - timedelta(days=back) for back in range(8))
            weeks[day - timedelta(days=day.weekday())] += 1
        for week, count in weeks.items():
            months[week.replace(day=1)] += count
        start = datetime(2024, 1, 1)
        by_key = {"ahead": {day: n for day, n in ahead.items() if day >= start}, "week": weeks, "month": months}
        found = {key: sorted(each.items(), key=repr) for key, each in by_key.items()}
        return {**found, "total": [(len(moments),)]}


def _plain(moment: datetime) -> datetime:
    return moment.replace(tzinfo=None)


@pytest.fixture
def chunked(lake: Lakehouse, spark: SparkSession, fresh: Fresh) -> Chunked:
    made = Chunked(lake, spark, fresh)
    made.ingest("2024-01-10T08:00", "2024-01-30T08:00", "2024-02-01T08:00", "2024-02-05T09:00", "2024-02-20T08:00")
    return made


def test_what_later_chunks_change_under_earlier_ones_is_computed_at_the_end(chunked: Chunked) -> None:
    computed = chunked.backfill(intervals_per_run=1)
    assert chunked.plan() == Plan(())
    assert chunked.backfill() == {}
    assert chunked.rows() == chunked.expected()
    twice = {key: sorted(each for each, times in counts.items() if times > 1) for key, counts in computed.items()}
    # A week or a month is computed when all of its days are. Only what reads days of the next month comes again.
    assert twice == {
        "clean": [],
        "week": [],
        "month": [],
        "total": [],
        "ahead": [
            f"2024-01-{day}/2024-{following}" for day, following in ((29, "01-30"), (30, "01-31"), (31, "02-01"))
        ],
    }
    assert {key: len(counts) for key, counts in computed.items()} == {
        "clean": 60, "ahead": 60, "week": 9, "month": 2, "total": 1
    }  # fmt: skip


def test_what_was_declined_before_stays_so_and_a_lookback_reaches_back(chunked: Chunked) -> None:
    """A late row of January is left; those within the lookback are restated, and what reads them follows."""
    chunked.backfill()
    chunked.ingest("2024-01-10T09:00", "2024-02-28T08:00", "2024-02-29T08:00", "2024-03-01T08:00")
    chunked.pipeline = chunked.declare("2024-04-01")
    computed = chunked.backfill(intervals_per_run=1)
    by_data = [(str(each.table), str(each.interval)) for each in chunked.plan().findings if each.condition in NOT_LEFT]
    assert by_data == [(chunked.name("clean"), "2024-01-10/2024-01-11")]
    assert not any("2024-01-10" in str(interval) for interval in computed["clean"])
    assert sorted(computed["clean"])[:3] == [
        f"2024-02-{day}/2024-{end}" for day, end in ((28, "02-29"), (29, "03-01"))
    ] + ["2024-03-01/2024-03-02"]
    assert max(computed["clean"].values()) == max(computed["month"].values()) == 1
    computed = chunked.backfill(stale=True, intervals_per_run=1)
    assert chunked.plan() == Plan(())
    assert chunked.rows() == chunked.expected()
    assert sorted(computed["clean"]) == ["2024-01-10/2024-01-11"]


def test_a_range_in_chunks_computes_nothing_outside_of_it(chunked: Chunked) -> None:
    run_id = RunId(f"20240510t000000-{chunked.suffix}")
    params = {"window": TimeRange.parse("2024-01-29", "2024-02-05"), "intervals_per_run": 3, "run_id": run_id}
    select = (chunked.name("clean"), chunked.name("ahead"))
    computed = chunked.backfill(select=select, **params)
    days = [str(each) for each in intervals_of(Daily("at"), TimeRange.parse("2024-01-29", "2024-02-05"))]
    assert {key: sorted(counts) for key, counts in computed.items()} == {"clean": days, "ahead": days}
    data = [each for each in chunked.plan().findings if each.condition == "stale by data"]
    assert data == []
    assert "computing again what later runs of this backfill changed: " + chunked.name("ahead") in chunked.said
    head = chunked.lake.nessie.head("main")
    chunked.backfill(select=select, **params)  # a restart of the same work publishes nothing
    assert chunked.lake.nessie.head("main") == head
