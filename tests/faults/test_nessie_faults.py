"""Faults 9, 15, 16: answers that are lost, a Nessie that dies and comes back, and one that is another."""

import os
import shutil
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pandas as pd
import pytest
from pyspark.sql import SparkSession
from tests.conftest import Fresh
from tests.support.failpoints import FAILPOINTS, at_failpoints, publishes
from tests.support.proxy import LossyProxy
from tests.support.runs import declared, rows_of, values, write_rows
from tests.support.worker import ROWS, two_tables

from asgard.common.errors import RunError, ServiceUnreachableError, WarehouseMismatchError
from asgard.common.names import RunId, TableName, audit_branch, parse_audit_branch
from asgard.common.settings import Settings, load_settings
from asgard.lakehouse.catalog.lake import CATALOG, Lakehouse
from asgard.lakehouse.catalog.nessie import _READ_RETRIES
from asgard.lakehouse.runs.attempt import Attempt
from asgard.lakehouse.runs.run import RunRequest, Status, execute
from asgard.local.services import services


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs ask a Nessie that stays away again at once, and a few times only."""
    monkeypatch.setattr("asgard.lakehouse.runs.publish._PATIENCE_SECONDS", (0.01, 0.01))
    monkeypatch.setattr("asgard.lakehouse.catalog.nessie._READ_RETRIES", _READ_RETRIES.new(backoff_factor=0.01))


def through(lake: Lakehouse, proxy: LossyProxy) -> Lakehouse:
    """The same lakehouse, its Nessie reached through a proxy (Spark's own catalog goes straight)."""
    return Lakehouse.connect(replace(lake.settings, nessie_uri=proxy.url), "asgard tests")


@pytest.mark.parametrize("times", [1, 3])
def test_a_publish_whose_answer_is_lost_happens_once(
    lake: Lakehouse, spark: SparkSession, fresh: Fresh, times: int
) -> None:
    table = declared(fresh.table(), mode="append")
    write_rows(lake, table, values(spark, "id bigint", [[0]]))
    with LossyProxy(lake.nessie.uri).running() as proxy:
        proxied = through(lake, proxy)
        proxy.lose, proxy.remaining = "history/commit", times
        result = write_rows(proxied, table, values(spark, "id bigint", [[1]]))
        assert proxy.lost
    assert result.status in (Status.PUBLISHED, Status.ALREADY_PUBLISHED)
    assert rows_of(lake, table.name) == [(0,), (1,)]
    assert len([e for e in lake.nessie.log("main") if e.properties.get("asgard.run-id") == result.run_id]) == 1


def test_a_publish_that_never_arrived_is_tried_again(lake: Lakehouse, spark: SparkSession, fresh: Fresh) -> None:
    table = declared(fresh.table(), mode="append")
    with LossyProxy(lake.nessie.uri).running() as proxy:
        proxied = through(lake, proxy)
        proxy.refuse, proxy.remaining = "history/commit", 2
        result = write_rows(proxied, table, values(spark, "id bigint", [[1]]))
        assert len(proxy.lost) == 2
    assert result.status is Status.PUBLISHED
    assert rows_of(lake, table.name) == [(1,)]


@pytest.mark.parametrize("moment", FAILPOINTS)
def test_nessie_may_restart_between_any_two_steps(
    lake: Lakehouse, fresh: Fresh, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    tables = (fresh.table(), fresh.table())
    work, run_id = two_tables(*tables), run_id_of(tables[0])
    reached: list[str] = []

    def restart(name: str) -> None:
        reached.append(name)
        if name == moment and reached.count(name) == 1:
            kill_nessie(lake.settings)
            services.up(lake.settings, only=["nessie"])

    at_failpoints(monkeypatch, restart)
    result = execute(lake, RunRequest("test", run_id), work)
    assert list(dict.fromkeys(reached)) == list(FAILPOINTS)
    assert (result.status, result.attempt) == (Status.PUBLISHED, 1)
    expect_one_effect(lake, run_id, tables)
    assert branches_of(lake, run_id) == set()


def test_a_nessie_that_dies_before_the_publish_and_stays_away(
    lake: Lakehouse, fresh: Fresh, monkeypatch: pytest.MonkeyPatch, impatient: None
) -> None:
    tables = (fresh.table(), fresh.table())
    work, run_id = two_tables(*tables), run_id_of(tables[0])
    head = lake.nessie.head("main")
    with dead_nessie(lake, monkeypatch, "before-publish"):
        with pytest.raises(ServiceUnreachableError, match=r"did not say whether run .* was published") as caught:
            execute(lake, RunRequest("test", run_id), work)
        assert run_id in caught.value.hint
    assert lake.nessie.head("main") == head
    assert execute(lake, RunRequest("test", run_id), work).status is Status.PUBLISHED
    expect_one_effect(lake, run_id, tables)


def test_a_nessie_that_dies_after_the_publish_and_stays_away(
    lake: Lakehouse, fresh: Fresh, monkeypatch: pytest.MonkeyPatch, impatient: None
) -> None:
    tables = (fresh.table(), fresh.table())
    work, run_id = two_tables(*tables), run_id_of(tables[0])
    said: list[str] = []
    with dead_nessie(lake, monkeypatch, "after-publish"):
        assert execute(lake, RunRequest("test", run_id), work, said.append).status is Status.PUBLISHED
    assert "could not be dropped" in said[-1]
    assert execute(lake, RunRequest("test", run_id), work).status is Status.ALREADY_PUBLISHED
    expect_one_effect(lake, run_id, tables)


def test_a_nessie_that_dies_while_spark_writes(lake: Lakehouse, fresh: Fresh) -> None:
    table = declared(fresh.table(), mode="append")
    run_id, head, nessie = run_id_of(table.name), lake.nessie.head("main"), nessie_pid(lake.settings)

    def kill_in_a_task(batches: Iterable[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        for batch in batches:
            os.kill(nessie, signal.SIGKILL)
            yield batch

    def work(attempt: Attempt) -> None:
        rows = attempt.session.range(0, ROWS, 1, 1)
        attempt.write(table, rows if attempt.number > 1 else rows.mapInPandas(kill_in_a_task, "id bigint"))

    try:
        with pytest.raises(RunError, match="Nessie stopped answering while Spark was working") as caught:
            execute(lake, RunRequest("test", run_id), work)
    finally:
        services.up(lake.settings, only=["nessie"])
    assert "\tat " not in str(caught.value)
    assert lake.nessie.head("main") == head
    assert execute(lake, RunRequest("test", run_id), work).status is Status.PUBLISHED
    expect_one_effect(lake, run_id, (table.name,))


def test_a_lost_answer_to_the_creation_of_a_branch_leaves_a_name_and_the_run_id_goes_on(
    lake: Lakehouse, fresh: Fresh
) -> None:
    tables = (fresh.table(), fresh.table())
    work, run_id = two_tables(*tables), run_id_of(tables[0])
    head = lake.nessie.head("main")
    with LossyProxy(lake.nessie.uri).running() as proxy:
        proxied = through(lake, proxy)
        proxy.lose = "POST /api/v2/trees?name=audit_"
        with pytest.raises(ServiceUnreachableError, match="did not answer POST") as caught:
            execute(proxied, RunRequest("test", run_id), work)
        assert caught.value.hint
        assert len(proxy.lost) == 1
        assert branches_of(lake, run_id) == {1}  # it was made all the same
        assert lake.nessie.head("main") == head

        again = execute(proxied, RunRequest("test", run_id), work)
    assert (again.status, again.attempt) == (Status.PUBLISHED, 2)
    expect_one_effect(lake, run_id, tables)
    assert lake.nessie.head(audit_branch(run_id, 1)) == head  # a branch of an earlier attempt is never written


def test_a_lost_answer_to_the_drop_of_a_branch_fails_nothing(lake: Lakehouse, fresh: Fresh) -> None:
    tables = (fresh.table(), fresh.table())
    run_id = run_id_of(tables[0])
    with LossyProxy(lake.nessie.uri).running() as proxy:
        proxied = through(lake, proxy)
        proxy.lose = "DELETE /api/v2/trees/audit_"
        assert execute(proxied, RunRequest("test", run_id), two_tables(*tables)).status is Status.PUBLISHED
        assert len(proxy.lost) == 1
    expect_one_effect(lake, run_id, tables)
    assert branches_of(lake, run_id) == set()


@pytest.mark.parametrize("nth", [1, 2, 3], ids=["create", "append", "properties"])
def test_a_lost_answer_to_a_commit_of_sparks_own_on_the_branch_publishes_nothing_twice(
    lake: Lakehouse, fresh: Fresh, nth: int
) -> None:
    table = declared(fresh.table(), mode="append", owner="data-team")
    run_id = run_id_of(table.name)
    head = lake.nessie.head("main")
    with LossyProxy(lake.nessie.uri).running() as proxy:

        def work(attempt: Attempt) -> None:
            attempt.session.conf.set(f"spark.sql.catalog.{CATALOG}.uri", f"{proxy.url}/api/v2")
            if attempt.number == 1:
                proxy.skip, proxy.lose = nth - 1, "history/commit"
            attempt.write(table, values(attempt.session, "id bigint", [[1], [1], [2]]))

        with pytest.raises(RunError) as caught:
            execute(lake, RunRequest("test", run_id), work)
        assert "\tat " not in str(caught.value)
        assert len(proxy.lost) == 1
        assert lake.nessie.head("main") == head
        again = execute(lake, RunRequest("test", run_id), work)
    assert (again.status, again.attempt) == (Status.PUBLISHED, 2)
    assert rows_of(lake, table.name) == [(1,), (1,), (2,)]
    assert len(publishes(lake, run_id)) == 1


def test_a_nessie_that_stays_away_is_said_in_words_and_the_run_id_finds_out(
    lake: Lakehouse, spark: SparkSession, fresh: Fresh, impatient: None
) -> None:
    table = declared(fresh.table(), mode="append")
    write_rows(lake, table, values(spark, "id bigint", [[0]]))
    run_id = f"20260101t000000-away-{table.name.name[2:]}"
    with LossyProxy(lake.nessie.uri).running() as proxy:
        proxied = through(lake, proxy)

        def work(attempt: Attempt) -> None:
            attempt.write(table, values(spark, "id bigint", [[1]]))

        def go_away(line: str) -> None:
            if line == "auditing":
                proxy.refuse, proxy.remaining = "/", 1000

        with pytest.raises(ServiceUnreachableError, match=r"did not (answer|say)"):
            execute(proxied, RunRequest("test", run_id), work, go_away)  # type: ignore[arg-type]
    again = write_rows(lake, table, values(spark, "id bigint", [[1]]), run_id=run_id)
    assert again.status is Status.PUBLISHED
    assert rows_of(lake, table.name) == [(0,), (1,)]


def test_another_nessie_than_the_warehouse_was_made_by_is_refused(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("other")
    settings = load_settings({"project_dir": str(folder)})
    try:
        services.up(settings, only=["nessie"])
        settings = load_settings({"project_dir": str(folder)})
        Lakehouse.connect(settings)
        services.down(settings)
        shutil.rmtree(next(path for path in folder.rglob("*") if path.is_dir() and "rocks" in path.name))
        services.up(settings, only=["nessie"])
        with pytest.raises(WarehouseMismatchError, match="was created at") as caught:
            Lakehouse.connect(load_settings({"project_dir": str(folder)}))
        assert "in-memory" in caught.value.hint
    finally:
        services.down(settings)


def nessie_pid(settings: Settings) -> int:
    found = next(status for status in services.status(settings) if status.name == "nessie")
    assert found.pid is not None
    return found.pid


def kill_nessie(settings: Settings) -> None:
    os.kill(nessie_pid(settings), signal.SIGKILL)


@contextmanager
def dead_nessie(lake: Lakehouse, monkeypatch: pytest.MonkeyPatch, moment: str) -> Iterator[None]:
    """Nessie dies when a run comes to a failpoint, and comes back after the block."""
    killed: list[str] = []

    def die(name: str) -> None:
        if name == moment and not killed:
            killed.append(name)
            kill_nessie(lake.settings)

    at_failpoints(monkeypatch, die)
    try:
        yield
    finally:
        services.up(lake.settings, only=["nessie"])
    assert killed


def run_id_of(table: TableName) -> RunId:
    return RunId(f"20260101t000000-nessie-{table.name[2:]}")


def branches_of(lake: Lakehouse, run_id: RunId) -> set[int]:
    """The attempts of a run that have a branch."""
    owners = [parse_audit_branch(ref.name) for ref in lake.nessie.references("audit_")]
    return {owner[1] for owner in owners if owner and owner[0] == run_id}


def expect_one_effect(lake: Lakehouse, run_id: RunId, tables: tuple[TableName, ...]) -> None:
    """Main holds what an undisturbed run leaves there, by one commit."""
    for table in tables:
        assert rows_of(lake, table) == sorted(((number,) for number in range(ROWS)), key=repr)
    (commit,) = publishes(lake, run_id)
    changed = lake.nessie.diff(f"main@{commit.parent}", f"main@{commit.hash}")
    assert {change.key for change in changed if len(change.key) > 1} == {(t.layer, t.name) for t in tables}
