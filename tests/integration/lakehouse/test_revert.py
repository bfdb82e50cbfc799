"""Undo of one run: rows, what is known of the intervals, ledgers, what becomes stale, and what is refused.

The oracles: rows that PyIceberg reads at a commit, without Asgard or Spark; and a model in Python for the random walk.
"""

import json
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyiceberg.table import StaticTable
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from tests.conftest import Fresh
from tests.support.failpoints import FAILPOINTS, at_failpoints
from tests.support.foreign import Foreign, local
from tests.support.runs import days, declared, run_work, values, write_rows

from asgard import Daily, Monthly, Pipeline, TimeRange
from asgard.cli.app import main
from asgard.common.errors import AsgardError, ServiceError, UsageError
from asgard.common.names import RunId, TableName, ledger_name
from asgard.jobs import backfill_job, ingest_job
from asgard.jobs.backfill_job import Params
from asgard.jobs.counted import PublishedRuns
from asgard.lakehouse.catalog.files import TableHead
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.runs.history import list_runs
from asgard.lakehouse.runs.revert import revert
from asgard.lakehouse.runs.run import RunAuditFailedError, RunResult, Status
from asgard.validation.checks import row_count, unique

NOW = datetime(2024, 3, 10, tzinfo=UTC)


def day(number: int, month: int = 1) -> datetime:
    return datetime(2024, month, number, 12, tzinfo=UTC)


def quiet(_line: str) -> None:
    pass


def undo(lake: Lakehouse, run: RunResult | str, **options: Any) -> RunResult:
    return revert(lake, RunId(run if isinstance(run, str) else run.run_id), quiet, **options)


def rows_at(lake: Lakehouse, name: TableName, ref: str = "main") -> list[dict[str, Any]] | None:
    """The oracle: a table's rows on a ref, read by PyIceberg; None if it is not there."""
    foreign = Foreign(lake)
    try:
        location = foreign.content(ref, name)["metadataLocation"]
    except (OSError, IndexError):
        return None
    rows = StaticTable.from_metadata(location).scan().to_arrow().to_pylist()
    return sorted(rows, key=lambda row: json.dumps(row, default=str, sort_keys=True))


class Shop:
    """bronze.raw -> silver.clean (daily) -> gold.month, gold.total."""

    def __init__(self, lake: Lakehouse, spark: SparkSession, fresh: Fresh) -> None:
        self.lake, self.spark = lake, spark
        suffix = fresh.table().name[2:]
        layers = {"raw": "bronze", "clean": "silver", "month": "gold", "total": "gold"}
        self.names = {name: TableName(layer, f"{name}_{suffix}") for name, layer in layers.items()}
        self.pipeline = self.declare()

    def declare(self, factor: int = 1) -> Pipeline:
        names = {key: str(name) for key, name in self.names.items()}
        shop = Pipeline("shop", start="2024-01-01", end="2024-03-01")
        shop.source(names["raw"], columns="id bigint, at timestamp, amount bigint", interval=Daily("at"))

        @shop.table(
            names["clean"], inputs={"raw": names["raw"]}, interval=Daily("at"), checks=[unique("id").over("table")]
        )
        def clean(raw: DataFrame, interval: TimeRange) -> DataFrame:
            inside = raw.where((F.col("at") >= F.lit(interval.start)) & (F.col("at") < F.lit(interval.end)))
            return inside.selectExpr("id", "at", f"amount * {factor} AS amount")

        @shop.table(names["month"], inputs={"clean": names["clean"]}, interval=Monthly("month"))
        def month(clean: DataFrame, interval: TimeRange) -> DataFrame:
            rows = clean.where((F.col("at") >= F.lit(interval.start)) & (F.col("at") < F.lit(interval.end)))
            return rows.groupBy(F.date_trunc("month", "at").alias("month")).agg(F.sum("amount").alias("amount"))

        @shop.table(names["total"], inputs={"clean": names["clean"]}, checks=[row_count(1, 1)])
        def total(clean: DataFrame) -> DataFrame:
            return clean.agg(F.sum("amount").alias("amount"))

        return shop

    def land(self, *rows: tuple[int, datetime, int]) -> RunResult:
        frame = values(self.spark, "id bigint, at timestamp, amount bigint", rows)
        return write_rows(self.lake, self.pipeline[self.names["raw"]], frame)

    def backfill(self, *names: str, **params: Any) -> RunResult:
        select = tuple(str(self.names[name]) for name in names)
        (result,) = backfill_job.run(Params(select, now=NOW, **params), self.lake, self.pipeline, quiet)
        return result

    def found(self) -> dict[str, list[str]]:
        """What a plan finds of each table: condition and interval."""
        by_name = {name: key for key, name in self.names.items()}
        found: dict[str, list[str]] = {}
        for each in backfill_job.plan(self.lake, self.pipeline, Params(now=NOW)).findings:
            found.setdefault(by_name[each.table], []).append(f"{each.condition} {each.interval}")
        return found

    def rows(self) -> dict[str, Any]:
        return {key: rows_at(self.lake, name) for key, name in self.names.items()}

    def records(self, name: str) -> dict[int, Any]:
        from asgard.lakehouse.freshness.facts import facts_of

        state = facts_of(self.lake, [self.names[name]], "main")[self.names[name]].state
        return dict(state.records) if state else {}


@pytest.fixture
def shop(lake: Lakehouse, spark: SparkSession, fresh: Fresh) -> Shop:
    made = Shop(lake, spark, fresh)
    made.land((1, day(5), 10), (2, day(20), 20), (3, day(5, 2), 30))
    made.backfill()
    assert made.found() == {}
    return made


def test_a_restated_interval_is_as_before_and_downstream_is_stale_exactly_as_computed(
    shop: Shop, lake: Lakehouse, capsys: pytest.CaptureFixture[str]
) -> None:
    before, records = shop.rows(), shop.records("clean")
    landed = shop.land((4, day(20), 5))
    restated = shop.backfill("clean", stale=True)
    assert set(shop.found()) == {"month", "total"}
    between = shop.rows()
    computed = shop.backfill("month", stale=True)  # January; total is still as computed before

    result = undo(lake, restated, pipeline=shop.pipeline, why="a wrong price")
    assert result.tables[str(shop.names["clean"])]["rows_added"] == 1
    assert shop.rows()["clean"] == before["clean"] != between["clean"]
    assert shop.records("clean") == records
    # total was computed before the run: its files are back. January was computed from the run's rows.
    assert shop.found() == {
        "clean": ["stale by data 2024-01-20/2024-01-21"],
        "month": ["stale by data 2024-01-01/2024-02-01"],
        "total": ["stale by input None"],
    }
    undo(lake, computed)
    undo(lake, landed)
    assert shop.found() == {}
    assert shop.rows() == before

    folder = ["--dir", str(lake.settings.project_dir)]
    assert main(["runs", restated.run_id, *folder]) == 0
    assert f"reverted by {result.run_id}" in capsys.readouterr().out
    assert main(["runs", result.run_id, *folder]) == 0
    assert f"reverts run {restated.run_id}: a wrong price" in capsys.readouterr().out
    stands = PublishedRuns(lambda: lake.nessie, print)
    assert (stands("main", restated.run_id), stands("main", result.run_id)) == (False, True)
    assert main(["history", str(shop.names["clean"]), "--json", *folder]) == 0
    states = json.loads(capsys.readouterr().out)["states"]
    assert [(each["job"], each["mode"], each["rows_added"], each["rows_removed"], each["rows"]) for each in states] == [
        ("revert", "revert", 1, 2, 3),
        ("backfill", "overwrite_interval", 2, 1, 4),
        ("backfill", "overwrite_interval", 3, 0, 3),
    ]
    assert [each["reverts"] or each["reverted_by"] for each in states] == [restated.run_id, result.run_id, ""]


def test_the_first_backfill_of_new_tables_is_undone_and_can_be_done_again(
    lake: Lakehouse, spark: SparkSession, fresh: Fresh
) -> None:
    shop = Shop(lake, spark, fresh)
    shop.land((1, day(5), 10), (2, day(20), 20))
    first = shop.backfill(window=TimeRange(day(1).replace(hour=0), day(10).replace(hour=0)))
    assert first.tables.keys() == {str(shop.names[name]) for name in ("clean", "month", "total")}
    missing = shop.found()
    result = undo(lake, first, pipeline=shop.pipeline)
    assert all(write["dropped"] for write in result.tables.values())
    assert {name: rows for name, rows in shop.rows().items() if rows is not None}.keys() == {"raw"}
    assert missing != shop.found()
    assert {each.split()[0] for found in shop.found().values() for each in found} == {"missing"}
    again = shop.backfill()
    assert [row["amount"] for row in shop.rows()["total"]] == [30]
    with pytest.raises(UsageError, match=f"Run {first.run_id} was reverted already, by run {result.run_id}"):
        undo(lake, first)
    with pytest.raises(UsageError, match="The run dropped"):
        undo(lake, result)
    assert undo(lake, again).status is Status.PUBLISHED


def test_an_interval_that_was_missing_is_missing_again_and_others_stay(shop: Shop, lake: Lakehouse) -> None:
    later = Shop(lake, shop.spark, Fresh())
    later.land((1, day(5), 10), (2, day(6), 20), (3, day(7), 30))
    for number in (5, 6, 7):
        window = TimeRange(day(number).replace(hour=0), day(number + 1).replace(hour=0))
        run = later.backfill("clean", window=window)
        if number == 6:
            sixth = run
    undo(lake, sixth)
    assert [row["id"] for row in later.rows()["clean"]] == [1, 3]
    intervals = TableHead.load(lake.content(later.names["clean"], "main").metadata_location, lake.settings).properties[
        "asgard.intervals"
    ]
    assert intervals == "2024-01-05/2024-01-06,2024-01-07/2024-01-08"
    assert "missing 2024-01-06/2024-01-07" in later.found()["clean"]
    assert "missing 2024-01-07/2024-01-08" not in later.found()["clean"]


def test_a_merge_is_undone_unless_its_files_were_rewritten(lake: Lakehouse, spark: SparkSession, fresh: Fresh) -> None:
    table = declared(fresh.table(), mode="merge", keys=["id"])

    def merge(*rows: tuple[int, int]) -> RunResult:
        return write_rows(lake, table, values(spark, "id bigint, amount bigint", rows))

    merge((1, 1), (2, 2))
    before = rows_at(lake, table.name)
    second = merge((2, 20), (3, 30))
    third = merge((3, 300))
    with pytest.raises(UsageError, match="can't be reverted alone") as refused:
        undo(lake, second)
    assert f"run {third.run_id}" in " ".join(refused.value.details)
    undo(lake, third)
    assert rows_at(lake, table.name) == [{"id": 1, "amount": 1}, {"id": 2, "amount": 20}, {"id": 3, "amount": 30}]
    reverted = undo(lake, second)
    assert rows_at(lake, table.name) == before
    undo(lake, reverted)  # the undo of an undo: the rows are there again, and so is the run
    assert rows_at(lake, table.name) == [{"id": 1, "amount": 1}, {"id": 2, "amount": 20}, {"id": 3, "amount": 30}]
    assert [run.status for run in list_runs(lake, run_id=second.run_id)] == ["published"]
    undo(lake, second)
    assert rows_at(lake, table.name) == before
