"""Failing rows of a check, the SQL that finds them, and tables with very many columns."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from pyspark.sql import DataFrame, SparkSession

from asgard.validation import checks as c
from asgard.validation.batch import AuditedTable, Batch, Relation
from asgard.validation.checks import Check, Scope
from asgard.validation.results import AnsweredBy, CheckResult, TableAudit
from asgard.validation.scan import MAX_AGGREGATES
from asgard.validation.schema import Schema
from asgard.validation.statistics import ColumnStatistics, FileStatistics
from asgard.validation.validator import MAX_SAMPLED, audit

AS_OF = datetime(2024, 1, 10, tzinfo=UTC)


def batch_of(frame: DataFrame, sql_name: str, sql_filter: str | None = None) -> Batch:
    return Batch(Schema.of(frame.schema), lambda files: frame, sql_name, sql_filter)


def audited(batch: Batch, *checks: Check, other: Relation | None = None, sample_rows: int = 5) -> TableAudit:
    def relation(name: str) -> Relation:
        assert other is not None
        return other

    table = AuditedTable("silver.t", checks, dict.fromkeys(Scope, batch))
    return audit([table], as_of=AS_OF, relation=relation, sample_rows=sample_rows).tables[0]


@pytest.fixture
def baskets(spark: SparkSession) -> DataFrame:
    rows = [
        (1, "a", Decimal("1.00"), 1.0, datetime(2024, 1, 1, 12, tzinfo=UTC), (1, "x")),
        (1, "a", Decimal("2.00"), -1.0, datetime(2024, 1, 2, 12, tzinfo=UTC), (2, None)),
        (2, None, None, None, datetime(2024, 7, 3, 12, tzinfo=UTC), None),
        (3, "lo" * 400, Decimal("4.00"), 4.0, None, (4, "y")),
    ]
    schema = "id int, s string, m decimal(10,2), d double, t timestamp, n struct<i:int, s:string>"
    frame = spark.createDataFrame(rows, schema)
    frame.createOrReplaceTempView("baskets")
    return frame


ROW_CHECKS = (
    c.not_null("s"),
    c.null_rate("m", 0.1),
    c.accepted_values("id", [1, 2]),
    c.between("d", 0, 3),
    c.matches("s", "a"),
    c.length("s", 2),
    c.expression("m and d agree", "m = d -- within a cent"),
    c.between("n.i", 1, 2),
    c.references("id", "silver.o"),
)


@pytest.mark.parametrize("check", ROW_CHECKS, ids=str)
def test_the_sql_of_a_failed_check_finds_its_rows(spark: SparkSession, baskets: DataFrame, check: Check) -> None:
    spark.range(1, 3).selectExpr("CAST(id AS int) AS id").createOrReplaceTempView("other_ids")
    other = Relation(spark.table("other_ids"), "other_ids")
    for batch in (batch_of(baskets, "baskets"), batch_of(baskets.where("id > 0"), "baskets", "id > 0")):
        (result,) = audited(batch, check, other=other).results

        assert (result.passed, result.error) == (False, None)
        assert result.sample_sql is not None
        found = spark.sql(result.sample_sql)
        assert found.columns == baskets.columns
        assert [row["id"] for row in found.collect()] == [row["id"] for row in result.sample]
        assert len(result.sample) == result.failing_rows
        json.dumps(result.to_json(), allow_nan=False)


def test_a_filter_limits_the_sql_of_a_batch(spark: SparkSession, baskets: DataFrame) -> None:
    (result,) = audited(batch_of(baskets.where("id = 3"), "baskets", "id = 3"), c.between("m", 0, 1)).results
    assert result.sample_sql is not None
    assert result.failing_rows == spark.sql(result.sample_sql).count() == 1


def test_repeated_keys_are_shown_with_their_number(spark: SparkSession, baskets: DataFrame) -> None:
    several, result = audited(batch_of(baskets, "baskets"), c.unique("id", "s", "n.i"), c.unique("id")).results

    assert several.passed
    assert (result.failing_rows, result.measured) == (2, {"shared_keys": 1, "surplus_rows": 1})
    assert result.sample == ({"id": 1, "rows": 2},)
    assert result.sample_sql is not None
    assert [row.asDict() for row in spark.sql(result.sample_sql).collect()] == [{"id": 1, "rows": 2}]


@pytest.mark.parametrize(
    ("check", "shown"),
    [
        (c.row_count(9), 4),
        (c.mean_between("d", 9), 4 / 3),
        (c.quantile_between("d", 0.5, 2), 1.0),
        (c.quantile_between("d", 1, None, 3), 4.0),
        (c.freshness("t", timedelta(days=1), max_ahead=timedelta(0)), None),
    ],
    ids=str,
)
def test_the_sql_of_a_measure_shows_it(spark: SparkSession, baskets: DataFrame, check: Check, shown: object) -> None:
    (result,) = audited(batch_of(baskets, "baskets"), check).results

    assert (result.passed, result.error, result.failing_rows, result.sample) == (False, None, None, ())
    assert result.sample_sql is not None
    value = spark.sql(result.sample_sql).first()
    assert value is not None
    assert shown is None or value[0] == pytest.approx(shown)


def test_sample_values_are_plain_utc_and_short(baskets: DataFrame) -> None:
    (result,) = audited(batch_of(baskets, "baskets"), c.between("d", 9)).results

    first, last = result.sample[0], result.sample[-1]
    assert first["t"] == datetime(2024, 1, 1, 12, tzinfo=UTC)
    assert (first["n"], first["m"]) == ({"i": 1, "s": "x"}, Decimal("1.00"))
    assert len(str(last["s"])) == 301


def test_samples_are_limited(spark: SparkSession) -> None:
    checks = [c.between("id", -9, -1).named(f"check {index}") for index in range(MAX_SAMPLED + 2)]
    results = audited(batch_of(spark.range(9), "range(9)"), *checks, sample_rows=2).results

    assert [len(result.sample) for result in results] == [2] * MAX_SAMPLED + [0, 0]
    assert all(result.sample_sql for result in results)


def test_a_condition_given_as_a_column_has_a_sample_but_no_sql(spark: SparkSession) -> None:
    from pyspark.sql import functions as F

    (result,) = audited(batch_of(spark.range(3), "t"), c.expression("below 2", lambda: F.col("id") < 2)).results
    assert (result.failing_rows, result.sample, result.sample_sql) == (1, ({"id": 2},), None)


def test_a_table_may_refer_to_itself(spark: SparkSession) -> None:
    frame = spark.createDataFrame([(1, None), (2, 1), (3, 9)], "id int, parent int")
    check = c.references("parent", "silver.t", "id")
    (result,) = audited(batch_of(frame, "t"), check, other=Relation(frame, "t")).results
    assert (result.failing_rows, result.sample) == (1, ({"id": 3, "parent": 9},))


def test_scopes_read_their_own_rows_and_shared_ones_once(spark: SparkSession) -> None:
    reads: list[Sequence[str] | None] = []

    def batch(rows: int) -> Batch:
        def frame(files: Sequence[str] | None) -> DataFrame:
            reads.append(files)
            return spark.range(rows)

        return Batch(Schema.of({"id": "bigint"}), frame, "t")

    everything = batch(10)
    table = AuditedTable(
        "silver.t",
        [c.row_count(1), c.not_null("id"), c.row_count(1).over("table").named("total"), c.mean_between("id", 0)],
        {Scope.ADDED: batch(3), Scope.INTERVAL: everything, Scope.TABLE: everything},
    )
    results = audit([table], as_of=AS_OF).tables[0].results

    assert [result.checked_rows for result in results] == [10, 3, 10, 3]
    assert reads == [None, None]


def test_a_sample_reads_only_the_files_that_break_the_range(spark: SparkSession) -> None:
    reads: list[Sequence[str] | None] = []
    statistics = [
        FileStatistics(f"f{index}", 10, {"id": ColumnStatistics(0, None, index * 10, index * 10 + 9, True)})
        for index in range(5)
    ]

    def frame(files: Sequence[str] | None) -> DataFrame:
        reads.append(files)
        return spark.range(40, 50)

    batch = Batch(Schema.of({"id": "bigint"}), frame, "t", None, statistics)
    (result,) = audited(batch, c.between("id", 0, 44)).results

    assert reads == [("f4",), ("f4",)]
    assert (result.failing_rows, result.checked_rows, result.scanned_files) == (5, 50, 1)
    assert result.measured == {"failing_share": 0.1, "min": 0, "max": 49}


def test_a_thousand_columns(spark: SparkSession) -> None:
    width = 1000
    names = [f"c{index}" for index in range(width)]
    frame = spark.range(20).selectExpr(*(f"nullif(id, {index}) AS {name}" for index, name in enumerate(names)))
    checks = [c.not_null(name) for name in names] + [c.between(name, 0, 18) for name in names[:100]]
    checks.append(c.expression("broken", "1 / c500 > 0"))
    found = audited(batch_of(frame, "t"), *checks, sample_rows=0)

    def failing(results: Sequence[CheckResult]) -> list[int | None]:
        return [result.failing_rows for result in results]

    assert failing(found.results[:width]) == [1] * 20 + [0] * (width - 20)
    assert failing(found.results[width:-1]) == [0 if index == 19 else 1 for index in range(100)]
    assert found.results[-1].answered_by is AnsweredBy.ERROR
    assert width > 10 * MAX_AGGREGATES
