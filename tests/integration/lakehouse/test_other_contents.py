"""What other tools keep in the same Nessie: named by the commands that look, and no reason to fail."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from pyspark.sql import SparkSession
from tests.conftest import Fresh
from tests.support.foreign import Foreign, local
from tests.support.runs import declared, rows_of, run_work, values, write_rows

from asgard.cli import inspect
from asgard.common.errors import AsgardError, ServiceError, UnknownTableError
from asgard.common.names import TableName
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.catalog.snapshots import resolve
from asgard.lakehouse.declaring.pipeline import Pipeline
from asgard.lakehouse.freshness.facts import read_facts
from asgard.lakehouse.lineage.tree import lineage
from asgard.lakehouse.runs.history import describe_contents, differences
from asgard.report.facts import TableFact, gather

VIEW = {"type": "ICEBERG_VIEW", "metadataLocation": "file:/none", "versionId": 1, "schemaId": 1}
DELTA = {"type": "DELTA_LAKE_TABLE", "metadataLocationHistory": [], "checkpointLocationHistory": []}


class Zoo:
    """A branch with everything on it that others may keep."""

    def __init__(self, lake: Lakehouse, spark: SparkSession) -> None:
        self.foreign, fresh = Foreign(lake), Fresh()
        self.mine, self.broken = fresh.table(), fresh.table()
        self.before = f"before_{self.mine.name}"
        self.ref = f"zoo_{self.mine.name}"
        write_rows(lake, declared(self.mine), values(spark, "id bigint", [[1], [2]]))
        write_rows(lake, declared(self.broken), values(spark, "id bigint", [[1]]))
        head = self.foreign.head("main")
        for name in (self.before, self.ref):
            self.foreign.call(
                "POST", f"/trees?name={name}&type=BRANCH", {"type": "BRANCH", "name": "main", "hash": head}
            )
        content = {key: each for key, each in self.foreign.content("main", self.mine).items() if key != "id"}
        self.foreign.put(self.ref, ("Deep",), {"type": "NAMESPACE", "elements": ["Deep"]})
        self.foreign.put(self.ref, ("Deep", "er"), {"type": "NAMESPACE", "elements": ["Deep", "er"]})
        self.foreign.put(self.ref, ("Deep", "er", "nested"), content)
        self.foreign.put(self.ref, ("silver", f"view_{self.mine.name}"), VIEW)
        self.foreign.put(self.ref, ("silver", f"delta_{self.mine.name}"), DELTA)
        gone = dict(self.foreign.content("main", self.broken))
        gone["metadataLocation"] = gone["metadataLocation"].replace("/metadata/", "/metadata/gone-")
        self.foreign.put(self.ref, ("silver", self.broken.name), gone)


@pytest.fixture(scope="module")
def zoo(lake: Lakehouse, spark: SparkSession) -> Iterator[Zoo]:
    found = Zoo(lake, spark)
    yield found
    for name in (found.before, found.ref):
        found.foreign.call("DELETE", f"/trees/{name}@{found.foreign.head(name)}?type=BRANCH")


def test_tables_names_all_there_is(lake: Lakehouse, zoo: Zoo) -> None:
    tables, others = describe_contents(lake, resolve(lake, zoo.ref))
    entries = zoo.foreign.call("GET", f"/trees/{zoo.ref}/entries?max-records=1000")["entries"]
    keys = {".".join(each["name"]["elements"]) for each in entries if each["type"] != "NAMESPACE"}
    assert {each["table"] for each in tables} | {each.name for each in others} == keys
    assert next(each["rows"] for each in tables if each["table"] == str(zoo.mine)) == 2
    found = {each.name: each for each in others}
    assert found["Deep.er.nested"].problem == "in the namespace Deep.er, which layer.name can't address; 2 rows"
    assert found[f"silver.view_{zoo.mine.name}"].kind == "Iceberg view"
    assert found[f"silver.delta_{zoo.mine.name}"].kind == "Delta Lake table"
    assert "can't be read" in found[str(zoo.broken)].problem


def test_diff_names_what_it_cannot_read(lake: Lakehouse, zoo: Zoo) -> None:
    one, other = resolve(lake, zoo.before), resolve(lake, zoo.ref)
    there = {row["table"]: row for row in differences(lake, one, other)}
    back = {row["table"]: row for row in differences(lake, other, one)}
    view, delta = f"silver.view_{zoo.mine.name}", f"silver.delta_{zoo.mine.name}"
    assert set(there) == set(back) == {"Deep.er.nested", view, delta, str(zoo.broken)}
    assert (there["Deep.er.nested"]["rows_before"], there["Deep.er.nested"]["rows_after"]) == (0, 2)
    assert (there[view]["change"], back[view]["change"], there[view]["rows_after"]) == ("added", "dropped", None)
    assert (there[str(zoo.broken)]["change"], there[str(zoo.broken)]["rows_before"]) == ("changed", 1)
    assert there[str(zoo.broken)]["rows_after"] is None
    assert "can't be read" in there[str(zoo.broken)]["problem"]
    assert "Delta Lake table" in there[delta]["problem"]


def test_the_commands_print_them(
    lake: Lakehouse, zoo: Zoo, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inspect, "_lake", lambda *_: lake)
    inspect.tables(ref=zoo.ref)
    printed = capsys.readouterr().out
    assert "Deep.er.nested" in printed
    assert f"silver.delta_{zoo.mine.name}" in printed
    inspect.tables(ref=zoo.ref, as_json=True)
    assert len(json.loads(capsys.readouterr().out)["others"]) == 4
    inspect.diff(zoo.before, zoo.ref)
    assert "added (Delta Lake table)" in capsys.readouterr().out


def test_what_looks_at_one_name_says_what_it_is(lake: Lakehouse, spark: SparkSession, zoo: Zoo) -> None:
    for name, kind in (("view", "Iceberg view"), ("delta", "Delta Lake table")):
        table = TableName("silver", f"{name}_{zoo.mine.name}")
        with pytest.raises(UnknownTableError, match=f"another kind \\({kind}\\)"):
            lineage(lake, table, resolve(lake, zoo.ref))
        with pytest.raises(ServiceError, match=f"Expected an Iceberg table in Nessie, but found this: {kind}"):
            read_facts(lake, [declared(table)], zoo.ref)


def reported(lake: Lakehouse, name: TableName) -> TableFact:
    """What the report of a pipeline with just this table knows of it."""
    zoo = Pipeline("zoo")
    zoo.source(str(name))
    return gather(lake, zoo, datetime.now(UTC)).tables[0]


def test_a_run_does_not_write_over_another_tools_table(lake: Lakehouse, spark: SparkSession, fresh: Fresh) -> None:
    name, foreign = fresh.table(), Foreign(lake)
    write_rows(lake, declared(fresh.table()), values(spark, "id bigint", [[1]]))  # makes the namespace
    foreign.put("main", (name.layer, name.name), DELTA)
    try:
        with pytest.raises(AsgardError, match="Delta Lake table"):
            run_work(lake, lambda attempt: attempt.write(declared(name), values(spark, "id bigint", [[1]])))
        assert "Delta Lake table" in reported(lake, name).problem
    finally:
        foreign.drop("main", name)


def test_rows_that_delete_files_delete_do_not_count(
    lake: Lakehouse, spark: SparkSession, fresh: Fresh, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = declared(fresh.table(), mode="append", partitioned_by=["kind"])
    rows = [[n, "ab"[n % 2]] for n in range(10)]
    write_rows(lake, table, values(spark, "id bigint, kind string", rows))
    sql = f"lake.silver.`{table.name.name}@main`"
    spark.sql(f"ALTER TABLE {sql} SET TBLPROPERTIES ('write.delete.mode' = 'merge-on-read')")
    before = resolve(lake, None)
    spark.sql(f"DELETE FROM {sql} WHERE id IN (1, 2)")
    spark.sql(f"DELETE FROM {sql} WHERE id IN (3, 4, 5)")
    after, oracle = resolve(lake, None), len(rows_of(lake, table.name))

    def counted() -> tuple[int, int, int]:
        (row,) = [row for row in differences(lake, before, after) if row["table"] == str(table.name)]
        (shown,) = [row for row in describe_contents(lake, after)[0] if row["table"] == str(table.name)]
        return shown["rows"], row["rows_before"], row["rows_after"]

    assert oracle == 5
    assert counted() == (5, 10, 5)
    assert reported(lake, table.name).rows is None  # a report reads no files of rows
    monkeypatch.setattr(
        "asgard.lakehouse.catalog.files.TableState.row_count", lambda _self: None
    )  # as for equality deletes
    (row,) = [row for row in differences(lake, before, after) if row["table"] == str(table.name)]
    assert (row["rows_before"], row["rows_after"]) == (10, 5)


def test_a_writer_that_leaves_no_totals_is_counted_by_its_files(
    lake: Lakehouse, spark: SparkSession, fresh: Fresh
) -> None:
    from tests.support.foreign import edited

    name, foreign = fresh.table(), Foreign(lake)
    write_rows(lake, declared(name), values(spark, "id bigint", [[1], [2], [3]]))
    content = foreign.content("main", name)
    silent = edited(
        content["metadataLocation"], lambda metadata: metadata["snapshots"][-1].update(summary={"operation": "append"})
    )
    foreign.put("main", (name.layer, name.name), {**content, "metadataLocation": silent})
    (shown,) = [row for row in describe_contents(lake, resolve(lake, None))[0] if row["table"] == str(name)]
    assert shown["rows"] == 3
    assert local(silent).exists()
