"""Lineage from ledger and Nessie's history: all files, and what no recorded run accounts for."""

from pathlib import Path

import pyarrow as pa
import pytest
from pyspark.sql import SparkSession
from tests.conftest import Fresh
from tests.support.foreign import Foreign
from tests.support.runs import declared, rows_of, values, write_rows

from asgard.cli.explained import show_node
from asgard.common.names import TableName
from asgard.jobs import ingest_job
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.catalog.snapshots import resolve
from asgard.lakehouse.lineage.tree import lineage


def ingest(lake: Lakehouse, name: TableName, folder: Path, *files: str) -> None:
    for file in files:
        (folder / file).write_text(f"id,note\n{len(file)},{file}\n")
    sources = tuple(str(folder / file) for file in files)
    ingest_job.run(ingest_job.Params(ingest_job.bronze_table(str(name)), sources), lake, lambda _line: None)


def files_of_rows(lake: Lakehouse, name: TableName) -> set[str]:
    """The oracle: what each row itself says it came from."""
    return {Path(str(row[0])).name for row in rows_of(lake, name, "_source_file") if row[0]}


@pytest.mark.parametrize("one_snapshot", [False, True], ids=["INSERT", "append through a REST service"])
def test_files_are_all_listed_whatever_others_appended(
    lake: Lakehouse, spark: SparkSession, fresh: Fresh, tmp_path: Path, *, one_snapshot: bool
) -> None:
    name, foreign = fresh.table("bronze"), Foreign(lake)
    ingest(lake, name, tmp_path, "a.csv", "bb.csv")
    before = resolve(lake, None)
    stranger = pa.table({"id": pa.array([99], pa.int64())})
    foreign.append("main", name, stranger, one_snapshot=one_snapshot)
    top = lineage(lake, name, resolve(lake, None))
    assert (top.made_by_run, top.unrecorded) == (False, 1)
    assert top.run is not None
    assert top.to_json()["run_id"] is None
    assert {Path(file).name for file in top.files} == {"a.csv", "bb.csv"} == files_of_rows(lake, name)

    ingest(lake, name, tmp_path, "ccc.csv")
    foreign.append("main", name, stranger, one_snapshot=one_snapshot)
    ingest(lake, name, tmp_path, "dddd.csv")
    top = lineage(lake, name, resolve(lake, None))
    assert (top.made_by_run, top.unrecorded) == (True, 2)
    assert {Path(file).name for file in top.files} == files_of_rows(lake, name)
    assert [Path(file).name for file in top.files] == ["a.csv", "bb.csv", "ccc.csv", "dddd.csv"]
    earlier = lineage(lake, name, before)
    assert (earlier.unrecorded, [Path(file).name for file in earlier.files]) == (0, ["a.csv", "bb.csv"])


def test_a_replaced_table_has_nothing_of_what_was_before(lake: Lakehouse, spark: SparkSession, fresh: Fresh) -> None:
    table, foreign = declared(fresh.table()), Foreign(lake)
    write_rows(lake, table, values(spark, "id bigint", [[1]]))
    foreign.append("main", table.name, pa.table({"id": pa.array([99], pa.int64())}))
    assert lineage(lake, table.name, resolve(lake, None)).unrecorded == 1
    write_rows(lake, table, values(spark, "id bigint", [[2]]))
    assert lineage(lake, table.name, resolve(lake, None)).unrecorded == 0


def test_many_files_are_counted_and_not_listed(
    lake: Lakehouse, spark: SparkSession, fresh: Fresh, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = fresh.table("bronze")
    ingest(lake, name, tmp_path, *(f"{number:03}.csv" for number in range(300)))
    node = lineage(lake, name, resolve(lake, None))
    show_node(node, "")
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "csv" in line]
    assert "300 files" in line
    assert line.index("000.csv") < line.index("299.csv")
    assert len(node.to_json()["files"]) == 300
