"""What another tool does on an audit branch before the seal is never published under the run's name."""

from collections.abc import Callable

import pyarrow as pa
import pytest
from pyiceberg.expressions import AlwaysTrue
from pyiceberg.types import StringType
from pyspark.sql import SparkSession
from tests.conftest import Fresh
from tests.support.foreign import Foreign
from tests.support.runs import declared, rows_of, run_work, values, write_rows

from asgard.common.errors import RunError
from asgard.common.names import TableName
from asgard.lakehouse.catalog.lake import Lakehouse, identifier
from asgard.lakehouse.runs.attempt import Attempt
from asgard.lakehouse.runs.run import Status

ROW = pa.table({"id": pa.array([666], pa.int64())})
Action = Callable[[Foreign, str, TableName], object]


def create(foreign: Foreign, ref: str, name: TableName) -> None:
    content = {key: value for key, value in foreign.content(ref, name).items() if key != "id"}
    foreign.put(ref, (name.layer, f"{name.name}_foreign"), content)


def create_and_drop(foreign: Foreign, ref: str, name: TableName) -> None:
    create(foreign, ref, name)
    foreign.drop(ref, TableName(name.layer, f"{name.name}_foreign"))


ACTIONS: dict[str, Action] = {
    "append": lambda foreign, ref, name: foreign.append(ref, name, ROW),
    "append through a REST service": lambda foreign, ref, name: foreign.append(ref, name, ROW, one_snapshot=True),
    "properties": lambda foreign, ref, name: foreign.change(
        ref, name, lambda table: table.transaction().set_properties(owner="stranger").commit_transaction()
    ),
    "schema": lambda foreign, ref, name: foreign.change(
        ref, name, lambda table: table.update_schema().add_column("note", StringType()).commit()
    ),
    "delete of whole files": lambda foreign, ref, name: foreign.change(
        ref, name, lambda table: table.delete(AlwaysTrue())
    ),
    "back to the base": lambda foreign, ref, name: foreign.put(
        ref, (name.layer, name.name), foreign.content("main", name)
    ),
    "another table": create,
    "a table that comes and goes": create_and_drop,
    "drop": lambda foreign, ref, name: foreign.drop(ref, name),
}


@pytest.mark.parametrize("what", ACTIONS)
def test_a_foreign_commit_between_a_runs_tables_is_refused(
    lake: Lakehouse, spark: SparkSession, foreign_table: TableName, what: str
) -> None:
    table, foreign = declared(foreign_table, mode="append"), Foreign(lake)
    before = foreign.head("main")
    branches: list[str] = []

    def work(attempt: Attempt) -> None:
        attempt.write(table, values(spark, "id bigint", [[1]]))
        branches.append(attempt.branch)
        ACTIONS[what](foreign, attempt.branch, table.name)

    with pytest.raises(RunError, match=r"has changes that run .* did not make: .*a stranger") as caught:
        run_work(lake, work)
    assert caught.value.exit_code == 1
    assert foreign.head("main") == before
    assert branches[0] in caught.value.message
    assert foreign.head(branches[0]), "the branch is kept to look at"


@pytest.fixture(scope="module")
def foreign_table(lake: Lakehouse, spark: SparkSession) -> TableName:
    """A table with a row, which these tests never change."""
    name = Fresh().table()
    write_rows(lake, declared(name, mode="append"), values(spark, "id bigint", [[0]]))
    return name


@pytest.mark.parametrize("point", ["after-write", "after-audit", "before-publish"])
def test_a_foreign_commit_after_the_seal_is_never_published(
    lake: Lakehouse, spark: SparkSession, fresh: Fresh, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    table, foreign, seen = declared(fresh.table(), mode="append"), Foreign(lake), list[Attempt]()

    def meddle(name: str) -> None:
        if name == point:
            foreign.append(seen[0].branch, table.name, ROW)

    for module in ("run", "publish"):
        monkeypatch.setattr(f"asgard.lakehouse.runs.{module}.failpoint", meddle)

    def work(attempt: Attempt) -> None:
        seen.append(attempt)
        attempt.write(table, values(spark, "id bigint", [[1]]))

    if point == "before-publish":  # too late to matter: what was audited is published, and nothing else
        assert run_work(lake, work).status is Status.PUBLISHED
        assert rows_of(lake, table.name) == [(1,)]
    else:
        with pytest.raises(RunError, match=r"moved from .* after its audit"):
            run_work(lake, work)
        assert lake.nessie.content("main", table.name) is None


def test_every_kind_of_write_of_a_run_is_its_own(lake: Lakehouse, spark: SparkSession, fresh: Fresh) -> None:
    """Creates, new columns, wider types, renames, empty batches, merges that change nothing: all are accounted for."""
    merged = declared(fresh.table(), mode="merge", keys=["id"], owner="me")
    appended = declared(fresh.table(), mode="append", renames={"x": "y"})
    replaced = declared(fresh.table("gold"))

    def work(attempt: Attempt) -> None:
        attempt.write(merged, values(spark, "id bigint, x int", [[1, 1]]))
        for _ in range(2):  # the second merge changes nothing
            attempt.write(merged, values(spark, "id bigint, x bigint, s struct<a: int>", [[1, 2, None]]))
        attempt.write(appended, values(spark, "id bigint, x int", []))
        attempt.write(appended, values(spark, "id bigint, y int", [[1, 1]]))
        for rows in ([[1]], []):
            attempt.write(replaced, values(spark, "id bigint", rows))

    assert run_work(lake, work).status is Status.PUBLISHED
    assert rows_of(lake, appended.name) == [(1, 1)]
    assert rows_of(lake, merged.name, "id", "x") == [(1, 2)]


def test_the_same_session_without_the_runs_name_is_a_stranger_too(
    lake: Lakehouse, spark: SparkSession, fresh: Fresh
) -> None:
    table = declared(fresh.table(), mode="append")

    def work(attempt: Attempt) -> None:
        attempt.write(table, values(spark, "id bigint", [[1]]))
        values(spark, "id bigint", [[2]]).writeTo(identifier(table.name, attempt.branch)).append()

    with pytest.raises(RunError, match="did not make: snapshot"):
        run_work(lake, work)
