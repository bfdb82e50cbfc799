"""Pipelines that print, and pipelines that end the process: on real runs."""

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from pyspark.sql import SparkSession
from tests.conftest import Fresh
from tests.support.runs import declared, values, write_rows

from asgard.cli.app import main
from asgard.common.names import TableName
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.runs.history import list_runs

PIPELINE = """
import os, subprocess, sys
from asgard import Pipeline
from asgard.validation.checks import not_null
print("at module level")
shop = Pipeline("shop")
shop.source("{source}")

@shop.table("{target}", inputs={{"rows": "{source}"}}, checks=[not_null("id")])
def target(rows):
    print("in the function")
    os.write(1, b"past Python\\n")
    subprocess.run(["echo", "by a process"])
    {body}
"""
UDF = """from pyspark.sql.functions import udf
    @udf("bigint")
    def leave(value):
        sys.exit(0)
    return rows.select(leave("id").alias("id"))"""
PANDAS = """def leave(batches):
        for batch in batches:
            sys.exit(0)
            yield batch
    return rows.mapInPandas(leave, "id bigint")"""
BODIES = {"exit": "sys.exit(0)", "raise": "raise SystemExit", "udf": UDF, "pandas": PANDAS}
Writer = Callable[[str], tuple[str, TableName]]


@pytest.fixture
def pipeline(lake: Lakehouse, spark: SparkSession, fresh: Fresh, tmp_path: Path) -> Writer:
    """Writes a pipeline with one table, whose function ends with the given lines."""
    source, target = fresh.table("bronze"), fresh.table()
    write_rows(lake, declared(source, mode="append"), values(spark, "id bigint", [[1]]))

    def write(body: str) -> tuple[str, TableName]:
        path = tmp_path / f"pipeline_{target.name}.py"
        path.write_text(PIPELINE.format(source=source, target=target, body=body))
        return str(path), target

    return write


def backfill(lake: Lakehouse, path: str, *arguments: str) -> int:
    return main(["backfill", "-p", path, "--dir", str(lake.settings.project_dir), *arguments])


def test_stdout_holds_one_object_whatever_is_printed(
    lake: Lakehouse, pipeline: Writer, capfd: pytest.CaptureFixture[str]
) -> None:
    path, target = pipeline("return rows")
    capfd.readouterr()
    assert backfill(lake, path, "--json") == 0
    captured = capfd.readouterr()
    (run,) = json.loads(captured.out)["runs"]
    assert (run["status"], list(run["tables"])) == ("published", [str(target)])
    assert {"at module level", "in the function", "past Python", "by a process"} <= set(captured.err.splitlines())


def test_a_failed_audit_is_one_object_too(lake: Lakehouse, pipeline: Writer, capfd: pytest.CaptureFixture[str]) -> None:
    path, target = pipeline("return rows.selectExpr('nullif(id, 1) AS id')")
    capfd.readouterr()
    assert backfill(lake, path, "--json") == 3
    found = json.loads(capfd.readouterr().out)
    assert found["exit_code"] == 3
    assert f"{target}: not_null(id)" in found["error"]
    assert "asgard runs" in found["hint"]


def test_an_audit_that_fails_gives_its_result_and_the_error_in_one_object(
    lake: Lakehouse, spark: SparkSession, fresh: Fresh, capfd: pytest.CaptureFixture[str]
) -> None:
    table = fresh.table("bronze")
    write_rows(lake, declared(table, mode="append"), values(spark, "id bigint", [[1]]))
    capfd.readouterr()
    directory = str(lake.settings.project_dir)
    assert main(["audit", str(table), "--check", "between(id, 5, 9)", "--json", "--dir", directory]) == 3
    found = json.loads(capfd.readouterr().out)
    assert found["exit_code"] == 3
    assert "between(id)" in found["error"]
    assert found["tables"][0]["results"][0]["passed"] is False


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_a_function_that_ends_the_process_fails_the_run(
    body: str, lake: Lakehouse, pipeline: Writer, capfd: pytest.CaptureFixture[str]
) -> None:
    path, _ = pipeline(body)
    head = lake.nessie.head("main")
    assert backfill(lake, path) == 1
    said = capfd.readouterr().err
    line = next(n for n, text in enumerate(Path(path).read_text().splitlines(), 1) if "exit" in text.lower())
    assert f"line {line}" in said
    assert Path(path).name in said
    assert "hint: " in said
    assert "Traceback" not in said
    assert lake.nessie.head("main") == head
    assert list_runs(lake, limit=1)[0].status == "failed"


def test_a_session_of_its_own_in_a_function_is_the_one_that_there_is(lake: Lakehouse, pipeline: Writer) -> None:
    path, _ = pipeline(
        "from pyspark.sql import SparkSession\n    return SparkSession.builder.appName('mine').getOrCreate().range(3)"
    )
    assert backfill(lake, path) == 0


def test_what_a_run_leaves_is_readable_by_whom_the_umask_says(lake: Lakehouse, pipeline: Writer) -> None:
    path, _ = pipeline("return rows")
    before = os.umask(0o027)
    try:
        assert backfill(lake, path) == 0
    finally:
        os.umask(before)
    run = list_runs(lake, limit=1)[0].attempt.run_id
    root = Path(lake.settings.warehouse.removeprefix("file://")) / "_asgard"
    modes = {stat.S_IMODE(file.stat().st_mode) for file in root.glob(f"runs/{run}/*.json")}
    assert modes == {0o640}
