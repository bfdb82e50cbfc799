"""Files and branches that vanish under a run: said in words, with the exit code of a failed run."""

import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from pyspark.sql import SparkSession
from tests.conftest import Fresh
from tests.support.runs import declared, run_work, values, write_rows

from asgard.common.errors import AsgardError, RunError, ServiceError, UnknownReferenceError
from asgard.lakehouse.catalog.files import TableState
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.catalog.snapshots import resolve
from asgard.lakehouse.runs.attempt import Attempt
from asgard.lakehouse.runs.history import list_runs


def local(address: str) -> Path:
    return Path(unquote(urlsplit(address).path))


def state_of(lake: Lakehouse, attempt: Attempt, name: object) -> TableState:
    (content,) = [found for table, found in lake.nessie.entries(attempt.branch).items() if table == name]
    return TableState.load(content.metadata_location, lake.settings)


def drop_branch(lake: Lakehouse, attempt: Attempt) -> None:
    lake.nessie.delete(lake.nessie.reference(attempt.branch))


@pytest.mark.parametrize("point", ["after-write", "after-audit"])
def test_a_branch_that_vanishes_fails_the_run_and_is_no_mistake_of_the_caller(
    lake: Lakehouse, spark: SparkSession, fresh: Fresh, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    table, seen = declared(fresh.table()), list[Attempt]()
    monkeypatch.setattr(
        "asgard.lakehouse.runs.run.failpoint", lambda name: drop_branch(lake, seen[0]) if name == point else None
    )

    def work(attempt: Attempt) -> None:
        seen.append(attempt)
        attempt.write(table, values(spark, "id bigint", [[1]]))

    with pytest.raises(RunError, match="vanished while run") as caught:
        run_work(lake, work)
    assert caught.value.exit_code == 1
    assert "vanished" in str(list_runs(lake, run_id=seen[0].run_id)[0].to_json()["error"])
    with pytest.raises(UnknownReferenceError) as unknown:
        resolve(lake, "no_such_branch")
    assert unknown.value.exit_code == 2


def remove_metadata(lake: Lakehouse, attempt: Attempt, name: object) -> None:
    (content,) = [found for table, found in lake.nessie.entries(attempt.branch).items() if table == name]
    local(content.metadata_location).unlink()


def remove_manifests(lake: Lakehouse, attempt: Attempt, name: object) -> None:
    snapshot = state_of(lake, attempt, name).table.current_snapshot()
    assert snapshot is not None
    local(snapshot.manifest_list).unlink()


def damage_manifests(lake: Lakehouse, attempt: Attempt, name: object) -> None:
    snapshot = state_of(lake, attempt, name).table.current_snapshot()
    assert snapshot is not None
    local(snapshot.manifest_list).write_bytes(b"Obj")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (remove_manifests, r"The list of files of .*, snapshot \d+, can't be read: .*No such file or directory"),
        (damage_manifests, r"The list of files of .*, snapshot \d+, can't be read: EOF: read 1 bytes"),
        (remove_metadata, r"The audit of run \S+ failed: NotFoundException: .*\.metadata\.json"),
    ],
)
def test_files_that_are_gone_before_the_audit_are_named(
    lake: Lakehouse,
    spark: SparkSession,
    fresh: Fresh,
    monkeypatch: pytest.MonkeyPatch,
    damage: Callable[[Lakehouse, Attempt, object], None],
    message: str,
) -> None:
    table, seen = declared(fresh.table()), list[Attempt]()
    monkeypatch.setattr(
        "asgard.lakehouse.runs.run.failpoint",
        lambda name: damage(lake, seen[0], table.name) if name == "after-write" else 0,
    )

    def work(attempt: Attempt) -> None:
        seen.append(attempt)
        attempt.write(table, values(spark, "id bigint", [[1]]))

    with pytest.raises(AsgardError) as caught:
        run_work(lake, work)
    assert caught.value.exit_code == 1
    assert "\tat " not in str(caught.value)
    assert re.match(message, caught.value.message)


def test_an_input_whose_metadata_is_gone_is_named(lake: Lakehouse, spark: SparkSession, fresh: Fresh) -> None:
    table = declared(fresh.table())
    write_rows(lake, table, values(spark, "id bigint", [[1]]))
    location = local(lake.content(table.name, "main").metadata_location)
    kept = location.read_bytes()
    location.unlink()
    try:
        with pytest.raises(RunError, match=f"Reading {table.name}") as caught:
            run_work(lake, lambda attempt: attempt.write(declared(fresh.table()), attempt.read(table.name)))
    finally:
        location.write_bytes(kept)
    assert "\tat " not in str(caught.value)


def test_properties_that_cannot_be_set_are_named(lake: Lakehouse, spark: SparkSession, fresh: Fresh) -> None:
    table = declared(fresh.table(), owner="data-team")

    def work(attempt: Attempt) -> None:
        attempt.write(table, values(spark, "id bigint", [[1]]))
        drop_branch(lake, attempt)
        attempt._on_branch(table).set_properties({"asgard.owner": "data-team"})

    with pytest.raises(RunError, match=f"Setting the properties of {table.name}"):
        run_work(lake, work)


def test_a_ledger_whose_file_is_gone_is_named(lake: Lakehouse, spark: SparkSession, fresh: Fresh) -> None:
    table = declared(fresh.table())
    write_rows(lake, table, values(spark, "id bigint", [[1]]))
    state = TableState.load(lake.content(table.name, "main").metadata_location, lake.settings)
    assert state.rows(("id",)) == [{"id": 1}]
    for file in state.live_files():
        local(file.path).unlink()
    with pytest.raises(ServiceError, match="can't be read"):
        state.rows(("id",))
