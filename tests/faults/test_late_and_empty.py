"""Faults 21, 23, 25: rows that come late, days that become empty, and functions that give no row."""

from datetime import UTC, datetime

import pytest
from pyspark.sql import DataFrame, SparkSession
from tests.conftest import Fresh
from tests.support.runs import days, rows_of, values, write_rows

from asgard import Daily, Pipeline
from asgard.common.names import TableName
from asgard.jobs import backfill_job
from asgard.jobs.backfill_job import Params
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.runs.run import RunAuditFailedError, RunResult, Status

Event = tuple[int, datetime]
FEBRUARY = datetime(2024, 2, 1, tzinfo=UTC)


def day(number: int, hour: int = 12) -> datetime:
    """A moment of January 2024."""
    return datetime(2024, 1, number, hour, tzinfo=UTC)


class Events:
    """bronze -> silver (daily, less what was taken back) -> gold (rows by day), with table names of its own."""

    def __init__(self, lake: Lakehouse, spark: SparkSession, fresh: Fresh, *, lookback: int = 0, on_empty: str) -> None:
        self.lake, self.spark = lake, spark
        self.bronze, self.silver, self.gold = fresh.table("bronze"), fresh.table(), fresh.table("gold")
        self.pipeline = Pipeline("events", start="2024-01-01", end="2024-02-01")
        self.pipeline.source(str(self.bronze), columns="id bigint, at timestamp")
        self.pipeline.table(
            str(self.silver),
            inputs={"events": str(self.bronze)},
            interval=Daily("at", lookback=lookback),
            on_empty=on_empty,
        )(standing)
        self.pipeline.table(str(self.gold), inputs={"events": str(self.silver)})(by_day)

    def arrive(self, *events: Event) -> None:
        write_rows(self.lake, self.pipeline[self.bronze], values(self.spark, "id bigint, at timestamp", events))

    def backfill(self, now: datetime = FEBRUARY, **params: object) -> list[RunResult]:
        return backfill_job.run(Params(now=now, **params), self.lake, self.pipeline, lambda _line: None)  # type: ignore[arg-type]

    def ids(self, table: TableName) -> list[int]:
        return sorted(row[0] for row in rows_of(self.lake, table, "id"))

    def counts(self) -> dict[str, int]:
        return {str(date): count for date, count in rows_of(self.lake, self.gold, "date", "events")}


def standing(events: DataFrame) -> DataFrame:
    """The events that were not taken back: an event -7 takes 7 back."""
    taken_back = events.where("id < 0").selectExpr("-id AS id")
    return events.where("id > 0").join(taken_back, "id", "left_anti")


def by_day(events: DataFrame) -> DataFrame:
    """How many events each day has."""
    return events.groupBy(events["at"].cast("date").alias("date")).count().withColumnRenamed("count", "events")


@pytest.mark.parametrize("intervals_per_run", [None, 1])
def test_late_rows_land_within_the_lookback_and_older_ones_when_a_range_asks(
    lake: Lakehouse, spark: SparkSession, fresh: Fresh, intervals_per_run: int | None
) -> None:
    events = Events(lake, spark, fresh, lookback=2, on_empty="pass")
    on_time = [(number, day(number)) for number in range(1, 6)]
    events.arrive(*on_time)
    events.backfill(now=day(6))
    late = [(13, day(3, 23)), (14, day(4, 0)), (15, day(5))]
    events.arrive(*late)
    assert events.backfill(now=day(6, 23)) == []  # no new day is complete: late rows wait for it

    sixth = (6, day(6))
    events.arrive(sixth)
    results = events.backfill(now=day(7), intervals_per_run=intervals_per_run)
    assert [result.status for result in results] == [Status.PUBLISHED] * (3 if intervals_per_run else 1)
    written = [result.tables[str(events.silver)]["intervals"] for result in results]
    assert written[0].startswith("2024-01-04/")
    assert written[-1].endswith("/2024-01-07")
    assert events.ids(events.silver) == [1, 2, 3, 4, 5, 6, 14, 15]  # 13 is a day too old

    events.backfill(window=days("2024-01-03", "2024-01-04"))
    expected = [(number, f"{moment:%Y-%m-%d %H}") for number, moment in (*on_time, *late, sixth)]
    assert rows_of(lake, events.silver, "id", "date_format(at, 'yyyy-MM-dd HH')") == sorted(expected, key=repr)
    assert events.counts() == {f"2024-01-0{number}": 2 if number in (3, 4, 5) else 1 for number in range(1, 7)}


def test_where_empty_passes_a_day_without_rows_is_done_and_a_day_that_became_empty_is_cleared(
    lake: Lakehouse, spark: SparkSession, fresh: Fresh
) -> None:
    events = Events(lake, spark, fresh, on_empty="pass")
    events.arrive((1, day(1)), (3, day(3)))
    (first,) = events.backfill(now=day(3))  # the second day has no row
    assert first.tables[str(events.silver)]["intervals"] == "2024-01-01/2024-01-03"
    assert events.backfill(now=day(3)) == []
    assert events.ids(events.silver) == [1]

    events.arrive((-1, day(1)))
    (cleared,) = events.backfill(window=days("2024-01-01", "2024-01-02"))
    assert cleared.status is Status.PUBLISHED
    assert events.ids(events.silver) == []
    assert events.counts() == {}

    events.backfill(now=day(4))
    assert events.ids(events.silver) == [3]
    assert events.counts() == {"2024-01-03": 1}


def test_where_empty_fails_a_day_without_rows_stays_missing_until_it_has_some(
    lake: Lakehouse, spark: SparkSession, fresh: Fresh
) -> None:
    events = Events(lake, spark, fresh, on_empty="fail")
    events.arrive((3, day(3)))
    with pytest.raises(RunAuditFailedError, match=r"not_empty"):
        events.backfill(now=day(2))
    assert not lake.nessie.contents("main", [events.silver, events.gold])

    events.arrive((1, day(1)))
    events.backfill(now=day(2))
    head = lake.nessie.head("main")
    with pytest.raises(RunAuditFailedError, match=r"not_empty"):
        events.backfill(now=day(3))
    assert lake.nessie.head("main") == head
    ((step, _),) = backfill_job.plan(lake, events.pipeline, Params(now=day(3))).runs
    assert list(map(str, step.ranges)) == ["2024-01-02/2024-01-03"]

    events.arrive((2, day(2)))
    events.backfill(now=day(4))
    assert events.ids(events.silver) == [1, 2, 3]
    assert events.counts() == {"2024-01-01": 1, "2024-01-02": 1, "2024-01-03": 1}


def test_where_empty_fails_a_day_that_became_empty_keeps_its_rows(
    lake: Lakehouse, spark: SparkSession, fresh: Fresh
) -> None:
    events = Events(lake, spark, fresh, on_empty="fail")
    events.arrive((1, day(1)), (2, day(2)))
    events.backfill(now=day(3))
    events.arrive((-2, day(2)))
    with pytest.raises(RunAuditFailedError, match=r"not_empty") as caught:
        events.backfill(window=days("2024-01-02", "2024-01-03"))
    assert events.ids(events.silver) == [1, 2]
    branch = caught.value.result.branch
    assert branch is not None
    assert rows_of(lake, events.silver, "id", ref=branch) == [(1,)]  # the rows to look at are on the branch only
