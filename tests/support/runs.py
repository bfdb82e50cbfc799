"""Runs and tables in one line each, for tests."""

from collections.abc import Callable, Sequence
from typing import Any

from pyspark.sql import DataFrame

from asgard.common.names import RunId, TableName
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.declaring.declaration import Table, declare_table
from asgard.lakehouse.declaring.intervals import TimeRange
from asgard.lakehouse.runs.attempt import Attempt
from asgard.lakehouse.runs.run import RunRequest, RunResult, execute


def declared(name: TableName, **properties: Any) -> Table:
    """Declare a table whose rows the test writes itself."""
    return declare_table(str(name), lambda raw: raw, inputs={"raw": "bronze.anything"}, **properties)


def write_rows(
    lake: Lakehouse,
    table: Table,
    rows: DataFrame,
    interval: TimeRange | None = None,
    run_id: str | None = None,
) -> RunResult:
    """Publish rows to one table by one run."""
    return run_work(lake, lambda attempt: attempt.write(table, rows, interval), run_id)


def run_work(lake: Lakehouse, work: Callable[[Attempt], None], run_id: str | None = None, **options: Any) -> RunResult:
    """Execute work as a run."""
    return execute(lake, RunRequest("test", RunId(run_id) if run_id else None, **options), work)


def rows_of(lake: Lakehouse, name: TableName, *columns: str, ref: str = "main") -> list[tuple[Any, ...]]:
    """The rows of a table, sorted."""
    frame = lake.frame(name, ref)
    picked = frame.selectExpr(*columns) if columns else frame
    return sorted((tuple(row) for row in picked.collect()), key=repr)


def days(first: str, last: str) -> TimeRange:
    """A range of days; the last is not included."""
    return TimeRange.parse(first, last)


def values(spark: Any, ddl: str, rows: Sequence[Sequence[Any]]) -> DataFrame:
    """A small DataFrame."""
    return spark.createDataFrame([tuple(row) for row in rows], ddl)
