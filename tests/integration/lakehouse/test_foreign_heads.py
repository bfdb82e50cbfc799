"""What others did to a table is named until it is accepted: by `tables`, `runs` and `lineage`."""

import json
from collections.abc import Callable

import pyarrow as pa
import pytest
from pyiceberg.expressions import EqualTo
from pyspark.sql import SparkSession
from tests.conftest import Fresh
from tests.support.foreign import Foreign
from tests.support.runs import days, declared, run_work, values, write_rows

from asgard import Daily
from asgard.cli.app import main
from asgard.common.names import TableName
from asgard.lakehouse.catalog.files import TableState
from asgard.lakehouse.catalog.lake import Lakehouse, identifier
from asgard.lakehouse.catalog.snapshots import resolve
from asgard.lakehouse.declaring.declaration import Table
from asgard.lakehouse.runs.foreign_heads import ForeignHead, foreign_heads
from asgard.lakehouse.runs.foreign_words import in_words

ROW = pa.table({"id": pa.array([666], pa.int64())})


class Made:
    """A table that runs wrote, as others find it."""

    def __init__(self, lake: Lakehouse, spark: SparkSession, table: Table) -> None:
        self.lake, self.spark, self.table, self.name = lake, spark, table, table.name
        self.foreign = Foreign(lake)
        self.run = ""

    def write(self, *numbers: int) -> None:
        rows = values(self.spark, "id bigint", [[each] for each in numbers]).coalesce(1)
        self.run = write_rows(self.lake, self.table, rows).run_id

    def sql(self, statement: str) -> None:
        self.lake.spark.sql(statement.format(identifier(self.name, "main")))

    @property
    def head(self) -> ForeignHead | None:
        found = [each for each in foreign_heads(self.lake, resolve(self.lake, None)) if each.table == self.name]
        return found[0] if found else None


@pytest.fixture
def made(lake: Lakehouse, spark: SparkSession, fresh: Fresh) -> Made:
    """Two runs appended a file each: rows 1, 2 and row 3."""
    made = Made(lake, spark, declared(fresh.table(), mode="append"))
    made.write(1, 2)
    made.write(3)
    assert made.head is None
    return made


def recreate(made: Made) -> None:
    made.foreign.drop("main", made.name)
    made.sql("CREATE TABLE {} (id bigint) USING iceberg")
    made.sql("INSERT INTO {} VALUES (9)")


def compact(made: Made) -> None:
    made.lake.spark.sql(
        f"CALL lake.system.rewrite_data_files(table => 'lake.{made.name.layer}.`{made.name.name}@main`', "
        "options => map('rewrite-all', 'true'))"
    )


def roll_back(made: Made) -> None:
    state = TableState.load(made.lake.content(made.name, "main").metadata_location, made.lake.settings)
    made.lake.spark.sql(
        f"CALL lake.system.rollback_to_snapshot('lake.{made.name.layer}.`{made.name.name}@main`', "
        f"{min(state.snapshot_ids - {state.snapshot_id})})"
    )


WORDS: dict[str, tuple[Callable[[Made], object], str]] = {
    "append": (
        lambda made: made.foreign.append("main", made.name, ROW),
        "1 snapshot since run {} (+1 -0 files, +1 -0 rows)",
    ),
    "append through a REST service": (
        lambda made: made.foreign.append("main", made.name, ROW, one_snapshot=True),
        "an unknown number of snapshots since run {} (+1 -0 files, +1 -0 rows)",
    ),
    "two snapshots": (
        lambda made: (made.sql("INSERT INTO {} SELECT explode(array(7, 8))"), made.sql("DELETE FROM {} WHERE id = 2")),
        "2 snapshots since run {} (+2 -1 files, +3 -2 rows)",
    ),
    "what comes and goes": (
        lambda made: (
            made.foreign.append("main", made.name, ROW),
            made.foreign.change("main", made.name, lambda table: table.delete(EqualTo("id", 666))),
        ),
        "2 snapshots since run {} (no file differs)",
    ),
    "compaction": (compact, "1 snapshot since run {}, rewritten, same number of rows (+1 -2 files, +3 -3 rows)"),
    "rollback": (roll_back, "moved back by 1 snapshot since run {} (+0 -1 files, +0 -1 rows)"),
    "replacement": (
        lambda made: made.sql("CREATE OR REPLACE TABLE {} USING iceberg AS SELECT 5 AS id"),
        "replaced since run {} (+1 -2 files, +1 -3 rows)",
    ),
    "drop and create": (recreate, "dropped and created again since run {} (+1 -0 files, +1 -0 rows)"),
}


@pytest.mark.parametrize("what", WORDS)
def test_what_others_did_is_said_until_it_is_accepted(
    made: Made, capsys: pytest.CaptureFixture[str], what: str
) -> None:
    act, words = WORDS[what]
    act(made)
    assert made.head is not None
    assert in_words(made.head) == words.format(made.run)
    folder = ["--dir", str(made.lake.settings.project_dir)]
    line = f"not made by any run: {made.name}, {words.format(made.run)}"
    commands = (["tables"], ["runs"], ["lineage", str(made.name)])
    for command in commands:
        assert main([*command, *folder]) == 0
        captured = capsys.readouterr()
        assert line in captured.err
        assert "`asgard accept TABLE --why ...`" in captured.err
    for command in commands:
        assert main([*command, *folder, "--json"]) == 0
        answer = json.loads(capsys.readouterr().out)
        (found,) = (
            [each for each in answer["foreign"] if each["table"] == str(made.name)]
            if command == ["runs"]
            else [answer["foreign"]]
            if "foreign" in answer
            else [each["foreign"] for each in answer["tables"] if each["table"] == str(made.name)]
        )
        assert found == made.head.to_json()
    assert main(["accept", str(made.name), "--why", "it is right", *folder]) == 0
    assert made.head is None
    assert main(["accept", str(made.name), "--why", "again", *folder]) == 2


def test_the_days_that_others_changed_are_named(lake: Lakehouse, spark: SparkSession, fresh: Fresh) -> None:
    table = declared(fresh.table(), interval=Daily("at"))
    rows = spark.sql("SELECT id, timestamp'2024-01-01' + make_interval(0, 0, 0, int(id), 1) AS at FROM range(9)")
    write_rows(lake, table, rows, days("2024-01-01", "2024-01-10"))
    made = Made(lake, spark, table)
    made.sql("DELETE FROM {} WHERE id IN (1, 2, 5)")
    assert made.head is not None
    assert made.head.intervals == ("2024-01-02..2024-01-03", "2024-01-06")
    assert in_words(made.head).endswith("(+0 -3 files, +0 -3 rows), in 2024-01-02..2024-01-03, 2024-01-06")


def test_changed_partitions_are_named(lake: Lakehouse, spark: SparkSession, fresh: Fresh) -> None:
    table = declared(fresh.table(), partitioned_by=["region"])
    write_rows(lake, table, values(spark, "id bigint, region string", [[1, "eu"], [2, "us"], [3, "us"]]))
    made = Made(lake, spark, table)
    made.sql("UPDATE {} SET id = 4 WHERE id = 2")
    assert made.head is not None
    assert made.head.partitions == ("region=us",)
    assert "rewritten, same number of rows (+1 -1 files, +2 -2 rows), in partitions region=us" in in_words(made.head)


def test_a_table_that_no_run_wrote_is_no_foreign_head(lake: Lakehouse, spark: SparkSession, fresh: Fresh) -> None:
    made = Made(lake, spark, declared(fresh.table()))
    run_work(lake, lambda attempt: attempt.write(declared(fresh.table()), values(spark, "id bigint", [[1]])))
    made.sql("CREATE TABLE {} (id bigint) USING iceberg")
    assert made.head is None
    made.sql("INSERT INTO {} VALUES (9)")
    assert made.head is None


def test_a_table_of_an_older_version_is_judged_by_its_snapshots(made: Made) -> None:
    made.sql("ALTER TABLE {} UNSET TBLPROPERTIES ('asgard.state')")
    assert made.head is None
    made.foreign.append("main", made.name, ROW)
    assert made.head is not None
    assert in_words(made.head) == f"1 snapshot since run {made.run} (+1 -0 files, +1 -0 rows)"
    assert not made.head.is_stored


def test_names_of_others_are_no_obstacle(lake: Lakehouse, spark: SparkSession, made: Made) -> None:
    content = {key: value for key, value in made.foreign.content("main", made.name).items() if key != "id"}
    made.foreign.put("main", (made.name.layer, f"{made.name.name.upper()}"), content)
    assert TableName(made.name.layer, made.name.name.upper()) not in {
        each.table for each in foreign_heads(lake, resolve(lake, None))
    }
