"""The README's pipeline and the bad rows of getting started, on a real lakehouse, line by line as they are shown."""

import ast
import importlib.util
import re
import shlex
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession
from tests.support.documents import block, section
from tests.support.runs import rows_of

from asgard.cli.app import main
from asgard.common.names import TableName
from asgard.common.settings import Settings
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.declaring.intervals import TimeRange
from asgard.lakehouse.declaring.sql_files import read_sql_file
from asgard.model.artifacts.artifact import Artifact, ModelSpec, hash_of
from asgard.model.artifacts.formats import Format
from asgard.model.artifacts.segments import ModelFile, Segment, Segments, UnknownSegment, file_of
from asgard.model.artifacts.signature import Column, Signature

Run = Callable[[str], tuple[int, str]]


def commands(text: str) -> list[str]:
    """The lines of a section's console blocks that work on the lakehouse."""
    lines = [line for console in re.findall(r"```console\n(.*?)```", text, re.DOTALL) for line in console.splitlines()]
    return [line[2:] for line in lines if line.startswith("$ asgard ") and line != "$ asgard up"]


@pytest.fixture
def run(
    project: Settings,
    lake: Lakehouse,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Run:
    """Runs a line as it is shown, in a folder of its own; gives the exit code and all that was printed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))

    def execute(line: str) -> tuple[int, str]:
        sys.modules.pop("shop", None)  # each line is a process of its own
        code = main([*shlex.split(line)[1:], "--dir", str(project.project_dir)])
        captured = capsys.readouterr()
        return code, captured.out + captured.err

    return execute


def test_the_pipeline_of_the_readme_and_its_bad_rows(
    run: Run, lake: Lakehouse, repository_root: Path, tmp_path: Path
) -> None:
    readme = section(repository_root / "README.md", "A pipeline")
    (tmp_path / "shop.py").write_text(block(readme, "python"), encoding="utf-8")
    (tmp_path / "orders.csv").write_text(block(readme, "csv"), encoding="utf-8")
    for line in commands(readme):
        code, printed = run(line)
        assert code == 0, f"{line}: {printed}"
    assert "silver.orders_cleaned" in printed  # the lineage
    assert "gold.sales_daily" in (tmp_path / "report.html").read_text(encoding="utf-8")
    expected = [
        (datetime(2024, 1, 5, tzinfo=UTC).date(), 2, Decimal("19.75")),
        (datetime(2024, 1, 6, tzinfo=UTC).date(), 1, Decimal("30.00")),
    ]
    sales = TableName("gold", "sales_daily")
    assert rows_of(lake, sales, "date(day)", "orders", "sales") == expected

    bad = section(repository_root / "docs" / "getting-started.md", "Bad rows")
    (tmp_path / "late.csv").write_text(block(bad, "csv"), encoding="utf-8")
    ingest, backfill, *_, audit = commands(bad)
    assert run(ingest)[0] == 0
    head = lake.nessie.head("main")
    code, printed = run(backfill)
    assert code == 3
    assert "not_null(id)" in printed
    assert "between(amount)" in printed
    assert lake.nessie.head("main") == head
    branch = re.search(r"branch (audit_\S+)", printed)
    assert branch is not None
    code, printed = run(audit.replace("BRANCH", branch[1]))
    assert code == 3
    assert "SELECT" in printed

    (tmp_path / "shop.py").write_text(block(bad, "python"), encoding="utf-8")
    assert run(backfill)[0] == 0
    assert rows_of(lake, TableName("silver", "orders_cleaned"), "id") == [(1,), (2,), (3,)]


def test_the_query_of_the_sql_file_fits_its_input(spark: SparkSession, repository_root: Path, tmp_path: Path) -> None:
    text = section(repository_root / "docs" / "declaring-tables.md", "SQL files")
    (tmp_path / "table.sql").write_text(block(text, "sql"), encoding="utf-8")
    orders = spark.createDataFrame([], "id bigint, customer string, ordered_at timestamp, amount decimal(10,2)")
    declared = read_sql_file(tmp_path / "table.sql")
    rows = declared.function(orders=orders, interval=TimeRange.parse("2024-01-01", "2025-01-01"))
    assert rows.columns == ["customer", "year", "orders", "sales"]


def by_category(one: Artifact) -> Artifact:
    """The same model for food and for toys, and none for anything else."""
    files = {file_of(place, one.spec.format): one.content for place in range(2)}
    kept = [ModelFile(path, one.spec.format, hash_of(content)) for path, content in files.items()]
    segments = (Segment("food", 1, kept[0]), Segment("toys", 1, kept[1]))
    plain = one.spec.signature
    inputs = (*plain.inputs, Column("category", "string"))
    signature = Signature(inputs, plain.task, plain.classes, "category", nullable=True)
    content = Segments("category", "string", UnknownSegment.NULL, segments).content
    return Artifact.of(ModelSpec("demand", Format.SEGMENTS, signature), content, segments=files)


def test_predictions_as_they_are_shown(spark: SparkSession, repository_root: Path) -> None:
    text = (repository_root / "docs" / "predicting.md").read_text(encoding="utf-8")
    shown = re.findall(r"^```python( no-run)?\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {"__name__": "documented"}
    shared = "customer_id bigint, country string, spent_7d double, spent_90d double"
    names["customers"] = spark.createDataFrame([(1, "no", 10.0, 90.0), (2, "is", 300.0, 400.0)], shared)
    names["products"] = spark.createDataFrame(
        [(1, "food", 1.0, 2.0), (2, "toys", 3.0, 4.0), (3, "cars", 5.0, 6.0)],
        "product_id bigint, category string, spent_7d double, spent_90d double",
    )
    frames = []
    for remark, block_text in shown:
        if "import torch" in block_text and importlib.util.find_spec("torch") is None:
            continue  # an extra that no lock file has
        if remark:
            names["demand"] = by_category(names["churn"])
        for statement in ast.parse(block_text).body:
            if isinstance(statement, ast.Expr):
                value = eval(compile(ast.Expression(statement.value), "predicting.md", "eval"), names)  # noqa: S307
                frames += [value] if isinstance(value, DataFrame) else []
            else:
                exec(compile(ast.Module([statement], []), "predicting.md", "exec"), names)  # noqa: S102
    by_name, in_order, by_struct, countries, whole, segments = (frame.collect() for frame in frames)
    assert by_name == in_order == by_struct == whole
    assert [row["country"] for row in countries] == ["is"]
    assert [row["product_id"] for row in segments if row["prediction"] is None] == [3]
