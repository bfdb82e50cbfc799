"""Faults 12, 14, 17: runs that really overlap, one run id started twice at the same moment, all or nothing."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pyspark.sql import DataFrame, SparkSession
from tests.conftest import Fresh
from tests.support.failpoints import at_failpoints, publishes
from tests.support.runs import declared, rows_of, run_work, values, write_rows
from tests.support.waiting import PATIENCE_SECONDS, wait_until
from tests.support.worker import ROWS, start_worker, two_tables

from asgard.common.names import RunId, TableName
from asgard.common.settings import Settings
from asgard.lakehouse.catalog.lake import Lakehouse, identifier
from asgard.lakehouse.runs.attempt import Attempt
from asgard.lakehouse.runs.history import list_runs
from asgard.lakehouse.runs.run import RunRequest, RunResult, Status, execute

NUMBERS = sorted(((number,) for number in range(ROWS)), key=repr)


def test_two_processes_with_one_run_id_that_publish_at_the_same_moment_have_one_effect(
    lake: Lakehouse,
    project: Settings,
    repository_root: Path,
    fresh: Fresh,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tables = (fresh.table(), fresh.table())
    run_id = RunId(f"20260101t000000-same-{tables[0].name[2:]}")
    go = tmp_path / "go"
    head = lake.nessie.head("main")
    worker = start_worker(project, repository_root, run_id, tables, failpoint=f"before-publish:wait:{go}")
    met: list[str] = []

    def meet(name: str) -> None:
        if name == "before-publish" and not met:
            wait_until(
                lambda: worker.poll() is not None or go.with_name("go.reached").exists(),
                "the other is ready to publish",
            )
            met.append(name)
            assert lake.nessie.head("main") == head
            go.touch()

    at_failpoints(monkeypatch, meet)
    mine = execute(lake, RunRequest("test", run_id), two_tables(*tables))
    assert worker.wait(PATIENCE_SECONDS) == 0
    assert met
    expect_one_effect(lake, run_id, tables)
    assert mine.status in (Status.PUBLISHED, Status.ALREADY_PUBLISHED)
    assert len({run.attempt.attempt for run in list_runs(lake, run_id=run_id)}) >= 2


@pytest.mark.parametrize("moment", ["after-branch", "before-publish"])
@pytest.mark.parametrize("mode", ["append", "replace"])
def test_two_threads_with_one_run_id_that_meet_at_a_step_have_one_effect(
    lake: Lakehouse, fresh: Fresh, monkeypatch: pytest.MonkeyPatch, moment: str, mode: str
) -> None:
    table = declared(fresh.table(), mode=mode)
    run_id = RunId(f"20260101t000000-same-{table.name.name[2:]}")
    at_failpoints(monkeypatch, meeting(moment, 2))

    def start() -> RunResult:
        return execute(lake, RunRequest("test", run_id), lambda attempt: attempt.write(table, numbers(attempt)))

    first, second = at_once(start, start)
    assert {first.status, second.status} == {Status.PUBLISHED, Status.ALREADY_PUBLISHED}
    assert first.commit == second.commit
    expect_one_effect(lake, run_id, (table.name,))


def test_runs_on_different_tables_that_are_ready_to_publish_at_the_same_moment_both_land(
    lake: Lakehouse, spark: SparkSession, fresh: Fresh, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = declared(fresh.table(), mode="append"), declared(fresh.table(), mode="append")
    write_rows(lake, old, values(spark, "id bigint", [[-1]]))
    begun, ready = meeting("after-branch", 2), meeting("before-publish", 2)

    def meet(name: str) -> None:
        begun(name)
        ready(name)

    at_failpoints(monkeypatch, meet)

    def starter(name: str, table: TableName) -> Callable[[], RunResult]:
        def work(attempt: Attempt) -> None:
            attempt.write(old if table == old.name else new, numbers(attempt))

        run_id = RunId(f"20260101t000000-{name}-{table.name[2:]}")
        return lambda: execute(lake, RunRequest("test", run_id), work)

    results = at_once(starter("old", old.name), starter("new", new.name))
    assert [(result.status, result.attempt) for result in results] == [(Status.PUBLISHED, 1)] * 2
    assert rows_of(lake, old.name) == sorted([(-1,), *NUMBERS], key=repr)
    assert rows_of(lake, new.name) == NUMBERS
    for result, table in zip(results, (old, new), strict=True):
        (commit,) = publishes(lake, result.run_id)
        assert changed_by(lake, commit.parent, commit.hash) == {table.name}


@pytest.mark.parametrize("moved", [0, 1])
def test_a_publish_that_one_of_its_tables_stops_is_computed_again_for_all(
    lake: Lakehouse, spark: SparkSession, fresh: Fresh, moved: int
) -> None:
    tables = [declared(fresh.table()) for _ in range(2)]

    def both(attempt: Attempt) -> None:
        for table in tables:
            attempt.write(table, values(spark, "n bigint", [[0]]))

    run_work(lake, both)
    run_id = RunId(f"20260101t000000-all-{tables[0].name.name[2:]}")

    def sum_into_both(attempt: Attempt) -> None:
        frames = [attempt.read(table.name) for table in tables]
        total = (
            frames[0].crossJoin(frames[1].withColumnRenamed("n", "m")).selectExpr("n + m + 1 AS n").localCheckpoint()
        )
        for table in tables:
            attempt.write(table, total)
        if attempt.number == 1:
            write_rows(lake, tables[moved], values(spark, "n bigint", [[10]]))

    result = execute(lake, RunRequest("test", run_id), sum_into_both)
    assert (result.status, result.attempt) == (Status.PUBLISHED, 2)
    assert [rows_of(lake, table.name) for table in tables] == [[(11,)], [(11,)]]
    (commit,) = publishes(lake, run_id)
    assert changed_by(lake, commit.parent, commit.hash) == {table.name for table in tables}
    before = [spark.table(identifier(table.name, f"main#{commit.parent}")).collect() for table in tables]
    assert before == [[(10 if table is tables[moved] else 0,)] for table in tables]  # no half of attempt 1


def numbers(attempt: Attempt) -> DataFrame:
    return attempt.session.range(ROWS)


def meeting(moment: str, parties: int) -> Callable[[str], None]:
    """A hook that holds runs at a failpoint until so many of them are there; it does so once."""
    barrier = threading.Barrier(parties)
    arrived: list[str] = []

    def meet(name: str) -> None:
        if name == moment and len(arrived) < parties:
            arrived.append(name)
            barrier.wait(PATIENCE_SECONDS)

    return meet


def at_once(*starts: Callable[[], RunResult]) -> list[RunResult]:
    with ThreadPoolExecutor(len(starts)) as pool:
        return [future.result() for future in [pool.submit(start) for start in starts]]


def changed_by(lake: Lakehouse, before: str, after: str) -> set[TableName]:
    changes = lake.nessie.diff(f"main@{before}", f"main@{after}")
    return {TableName(*change.key) for change in changes if len(change.key) > 1}


def expect_one_effect(lake: Lakehouse, run_id: RunId, tables: tuple[TableName, ...]) -> None:
    """Main holds what one undisturbed run leaves there, by one commit; no branch is left."""
    for table in tables:
        assert rows_of(lake, table) == NUMBERS
    (commit,) = publishes(lake, run_id)
    assert changed_by(lake, commit.parent, commit.hash) == set(tables)
    assert not [ref.name for ref in lake.nessie.references(f"audit_{run_id}_")]
