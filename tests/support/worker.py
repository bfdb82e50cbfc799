"""A separate process that makes one run over two tables, for tests that kill it.

`python -m tests.support.worker PROJECT_DIR RUN_ID FIRST SECOND [BLOCK_FILE]`
"""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
from pyspark.sql import DataFrame, SparkSession
from tests.support.processes import environment
from tests.support.runs import declared

from asgard.common.names import TableName, check_run_id
from asgard.common.settings import Settings, load_settings
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.runs.attempt import Attempt
from asgard.lakehouse.runs.run import RunRequest, RunResult, execute
from asgard.validation.checks import between, not_null

ROWS = 1000


def two_tables(first: TableName, second: TableName, block: str | None = None) -> "Work":
    """Return work that appends the same rows to two tables; with `block`, a task stops in the middle of the first."""
    return Work(first, second, block)


class Work:
    def __init__(self, first: TableName, second: TableName, block: str | None) -> None:
        checks = [not_null("id"), between("id", 0, ROWS)]
        self.first = declared(first, mode="append", checks=checks)
        self.second = declared(second, mode="append", checks=checks)
        self.block = block

    def __call__(self, attempt: Attempt) -> None:
        rows = numbers(attempt.session)
        attempt.write(self.first, blocking(rows, self.block) if self.block else rows)
        attempt.write(self.second, rows)


def numbers(spark: SparkSession) -> DataFrame:
    return spark.range(ROWS)


def blocking(rows: DataFrame, block: str) -> DataFrame:
    """Return the same rows; half-way through a partition the task creates file `block`, and waits to be killed."""

    def stop_half_way(batches: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        for batch in batches:
            yield batch.head(len(batch) // 2)
            Path(block).touch()
            time.sleep(600)
            yield batch.tail(len(batch) - len(batch) // 2)

    return rows.mapInPandas(stop_half_way, "id bigint")


def run(project_dir: str, run_id: str, first: str, second: str, block: str | None = None) -> RunResult:
    lake = Lakehouse.connect(load_settings({"project_dir": project_dir}), "asgard test worker")
    work = two_tables(TableName.parse(first), TableName.parse(second), block)
    return execute(lake, RunRequest("test", check_run_id(run_id)), work)


def start_worker(
    project: Settings,
    root: Path,
    run_id: str,
    tables: tuple[TableName, TableName],
    *,
    failpoint: str = "",
    block: str = "",
) -> "subprocess.Popen[bytes]":
    """Start this module as a program; it dies at `failpoint`, or its first write stops after creating file `block`."""
    command = [sys.executable, "-m", "tests.support.worker", str(project.project_dir), run_id, *map(str, tables)]
    return subprocess.Popen(
        [*command, *([block] if block else [])],
        cwd=root,
        env=environment(root, ASGARD_FAILPOINT=failpoint),
        start_new_session=True,
        stderr=subprocess.DEVNULL,
    )


if __name__ == "__main__":
    run(*sys.argv[1:])
