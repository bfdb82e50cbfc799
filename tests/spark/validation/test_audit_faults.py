"""Audits of bad data and bad checks: faults 30, 31, 34, 35 and 54 of the fault list."""

import math
import re
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from tests.support.audits import AS_OF, run, whole

from asgard.common.errors import UnknownTableError, UsageError
from asgard.validation import checks as c
from asgard.validation.batch import AuditedTable, Batch, Relation
from asgard.validation.checks import Check, Scope
from asgard.validation.results import AnsweredBy, CheckResult
from asgard.validation.schema import Schema
from asgard.validation.validator import audit


def verdicts(results: dict[str, CheckResult]) -> dict[str, bool]:
    return {name: result.passed for name, result in results.items()}


# 30. NaN and infinities


def test_nan_fails_unless_allowed_and_infinities_are_numbers(spark: SparkSession) -> None:
    frame = spark.createDataFrame([(math.nan,), (math.inf,), (-math.inf,), (-0.0,), (None,)], "d double")
    results = run(
        frame,
        c.between("d", -math.inf, math.inf).named("any number"),
        c.between("d", -math.inf, math.inf, allow_nan=True).named("anything"),
        c.between("d", 0).named("low"),
        c.between("d", None, 0, allow_nan=True).named("high"),
        c.accepted_values("d", [0.0, *range(1, 20)]).named("zero only"),
        c.mean_between("d", -1e308, 1e308),
        c.not_null("d"),
        c.expression("positive or NaN", "d >= 0"),
    )
    assert {name: result.failing_rows for name, result in results.items()} == {
        "any number": 1,
        "anything": 0,
        "low": 2,
        "high": 1,
        "zero only": 3,
        "mean_between(d)": None,
        "not_null(d)": 1,
        "positive or NaN": 1,
    }
    assert math.isnan(float(str(results["mean_between(d)"].measured["mean"])))
    assert not results["mean_between(d)"].passed


# 31. A column all null; no rows at all


ABOUT_VALUES = (
    c.between("v", 0, 1),
    c.accepted_values("v", [1]),
    c.unique("v"),
    c.references("v", "silver.o", "id"),
    c.expression("v is positive", "v > 0"),
    c.mean_between("v", 0, allow_empty=True).named("mean, if any"),
    c.quantile_between("v", 0.5, 0, allow_empty=True).named("median, if any"),
    c.freshness("t", timedelta(days=1), allow_empty=True).named("fresh, if any"),
    c.mean_between("v", 0),
    c.quantile_between("v", 0.5, 0),
    c.freshness("t", timedelta(days=1)),
)
NEEDS_A_VALUE = {"mean_between(v)", "quantile_between(v, 0.5)", "freshness(t)"}


@pytest.mark.parametrize("rows", [[(None, None)] * 3, []], ids=["all null", "no rows"])
def test_without_values_only_checks_that_need_one_fail(spark: SparkSession, rows: list[tuple[None, None]]) -> None:
    frame = spark.createDataFrame(rows, "v int, t timestamp")
    others = Relation(spark.range(3), "others")
    results = run(
        frame, *ABOUT_VALUES, c.not_null("v"), c.null_rate("v", 0.5), c.row_count(1), relation=lambda name: others
    )

    failed = {name for name, passed in verdicts(results).items() if not passed}
    assert failed == NEEDS_A_VALUE | ({"not_null(v)", "null_rate(v)"} if rows else {"row_count"})
    assert all(result.error is None for result in results.values())


# 34. A check that raises


def raising() -> Column:
    raise ValueError("no such threshold")


def not_a_column() -> Column:
    return 3  # type: ignore[return-value]


BROKEN: list[tuple[str, str | Callable[[], Column], str]] = [
    ("divides", "1 / v > 0", "[DIVIDE_BY_ZERO] Division by zero."),
    ("casts", "CAST(s AS INT) > 0", "[CAST_INVALID_INPUT] The value '"),
    ("unknown function", "nope(v)", "[UNRESOLVED_ROUTINE] Cannot resolve routine `nope`"),
    ("unknown column", "nope > 0", "[UNRESOLVED_COLUMN.WITH_SUGGESTION]"),
    ("syntax", "v >", "[PARSE_SYNTAX_ERROR] Syntax error"),
    ("no condition", "v + 1", "[DATATYPE_MISMATCH"),
    ("aggregate", "sum(v) > 0", "[NESTED_AGGREGATE_FUNCTION]"),
    ("raises", raising, "ValueError: no such threshold"),
    ("no column", not_a_column, "should be a Column or str, got int"),
    ("python worker", lambda: F.udf(lambda v: 1 / v > 0, "boolean")("v"), "ZeroDivisionError: division by zero"),
]


def test_a_check_that_raises_fails_the_audit_and_hides_no_other(
    spark: SparkSession, capfd: pytest.CaptureFixture[str]
) -> None:
    frame = spark.createDataFrame([(0, "x"), (5, "y")], "v int, s string")
    sound = (c.between("v", 0, 3), c.not_null("s"), c.expression("small", "v < 9"), c.row_count(2), c.unique("v"))
    broken = [c.expression(name, condition).warn() for name, condition, _ in BROKEN]
    capfd.readouterr()

    results = run(frame, *broken[:5], *sound, *broken[5:])

    for name, _, message in BROKEN:
        result = results[name]
        assert (result.passed, result.blocks, result.answered_by) == (False, True, AnsweredBy.ERROR)
        assert result.error is not None
        assert message in result.error
        assert "\n" not in result.error
        assert "\tat " not in result.error
        assert len(result.error) <= 500
    assert {name: results[name].passed for name in results if name not in {each[0] for each in BROKEN}} == {
        "between(v)": False,
        "not_null(s)": True,
        "small": True,
        "row_count": True,
        "unique(v)": True,
    }
    assert results["between(v)"].failing_rows == 1
    assert "QueryContextLogger" not in capfd.readouterr().err


def test_a_batch_that_cannot_be_read_fails_every_check_of_it(spark: SparkSession) -> None:
    def unreadable(files: Sequence[str] | None) -> DataFrame:
        raise OSError("disk gone")

    readable = spark.createDataFrame([(1,)], "v int")
    batches = {**whole(readable), Scope.ADDED: Batch(Schema.of(readable.schema), unreadable, "t")}
    table = AuditedTable("silver.t", [c.not_null("v"), c.between("v", 0), c.row_count(1)], batches)
    results = audit([table], as_of=AS_OF).tables[0].results

    said = [
        re.sub(r" \(.*test_audit_faults\.py, line \d+, in unreadable\)$", " (here)", each.error or "")
        for each in results
    ]
    assert said == ["OSError: disk gone (here)"] * 2 + [""]
    assert results[2].passed


# 35. A check on a column that does not exist, or of another type


def test_a_check_that_does_not_fit_the_table_fails_and_hides_no_other(spark: SparkSession) -> None:
    frame = spark.createDataFrame([(1, "x", date(2024, 1, 9))], "household_id int, s string, day date")
    others = {"silver.o": Relation(spark.createDataFrame([("1",)], "household_id string"), "o")}

    def relation(name: str) -> Relation:
        if name not in others:
            raise UnknownTableError(f"There is no table {name}.", hint="Declare it.")
        return others[name]

    results = run(
        frame,
        c.not_null("houshold_id"),
        c.between("s", 0, 1),
        c.between("household_id", "0", "9"),
        c.between("day", AS_OF),
        c.matches("household_id", "x"),
        c.mean_between("s", 0, 1),
        c.freshness("s", timedelta(days=1)),
        c.unique("s", "nope"),
        c.references("household_id", "silver.o"),
        c.references("s", "silver.o"),
        c.references("s", "silver.gone"),
        c.not_null("household_id"),
        c.freshness("day", timedelta(days=1)),
        relation=relation,
    )
    errors = {name: result.error for name, result in results.items() if result.error}
    assert errors == {
        "not_null(houshold_id)": "There is no column 'houshold_id'; the columns are household_id, s, day."
        " Did you mean 'household_id'?",
        "between(s)": "s is string, which compares with text values, not with 0."
        " Give values of the column's type, or cast the column in the table's function.",
        "between(household_id)": "household_id is int, which compares with number values, not with '0'."
        " Give values of the column's type, or cast the column in the table's function.",
        "between(day)": f"day is date, which compares with date values, not with {AS_OF!r}."
        " Give values of the column's type, or cast the column in the table's function.",
        "matches(household_id)": "household_id is int; matches reads strings. Cast the column in the table's function.",
        "mean_between(s)": "s is string; mean_between reads decimal or floating-point number or whole number columns."
        " Cast the column in the table's function.",
        "freshness(s)": "s is string; freshness reads date or timestamp or timestamp without time zone columns."
        " Cast the column in the table's function.",
        "unique(s, nope)": "There is no column 'nope'; the columns are household_id, s, day."
        " Names must match exactly, also in letter case.",
        "references(household_id, silver.o)": "household_id is int, but silver.o.household_id is string."
        " Cast one of them in its table's function.",
        "references(s, silver.o)": "silver.o: There is no column 's'; the columns are household_id."
        " Names must match exactly, also in letter case.",
        "references(s, silver.gone)": "There is no table silver.gone. Declare it.",
    }
    assert all(results[name].blocks for name in errors)
    assert results["not_null(household_id)"].passed
    assert results["freshness(day)"].passed


# 54. Injection through names, values and patterns


NAMES = ["a b", "a`b", "a.b", "x) OR (1=1", "'; DROP TABLE t; --", "naïve", "$(x)", '"', "a\\b", "select"]
VALUES = [
    "it's",
    "') OR ('1'='1",
    "\\",
    "\\'",
    "${env:PATH}",
    "$${x}",
    "a\nb",
    "--",
    "/*",
    "`",
    '"',
    "\\u0041",
    "%",
    "",
]


def checks_of(name: str, value: str) -> list[Check]:
    return [
        c.accepted_values(name, [value]).named(f"{name!r} is {value!r}"),
        c.between(name, value, value).named(f"{name!r} equals {value!r}"),
        c.matches(name, "\\Q" + value + "\\E").named(f"{name!r} matches {value!r}"),
    ]


def test_names_and_values_mean_themselves(spark: SparkSession) -> None:
    columns = ", ".join(f"c{index} string" for index in range(len(NAMES)))
    frame = spark.createDataFrame([(value,) * len(NAMES) for value in VALUES], columns).toDF(*NAMES)
    frame.createOrReplaceTempView("`names and values`")
    checks = [check for value in VALUES for check in checks_of("a`b", value)]
    checks += [check for name in NAMES if name != "a`b" for check in checks_of(name, "it's")[:1]]
    table = AuditedTable("silver.t", checks, whole(frame, "`names and values`"))
    (found,) = audit([table], as_of=AS_OF, sample_rows=0).tables

    assert [result.error for result in found.results] == [None] * len(checks)
    assert {result.failing_rows for result in found.results} == {len(VALUES) - 1}
    # The SQL of a result finds the same rows as the audit did, also where Spark substitutes ${...} in statements.
    statements = [result.sample_sql for result in found.results[:18]]
    assert None not in statements
    counts = " UNION ALL ".join(f"SELECT count(*) FROM ({each})" for each in statements)
    assert {row[0] for row in spark.sql(counts).collect()} == {len(VALUES) - 1}


def test_quoting_holds_with_double_quoted_identifiers(spark: SparkSession) -> None:
    frame = spark.createDataFrame([(value,) for value in VALUES], "v string")
    spark.conf.set("spark.sql.ansi.doubleQuotedIdentifiers", "true")
    try:
        results = run(frame, *(c.accepted_values("v", [value]).named(repr(value)) for value in VALUES))
    finally:
        spark.conf.unset("spark.sql.ansi.doubleQuotedIdentifiers")
    assert {result.failing_rows for result in results.values()} == {len(VALUES) - 1}


def test_a_parser_that_misreads_raw_literals_is_refused(spark: SparkSession) -> None:
    spark.conf.set("spark.sql.parser.escapedStringLiterals", "true")
    try:
        (result,) = run(spark.createDataFrame([("a",)], "v string"), c.matches("v", r"\w")).values()
    finally:
        spark.conf.unset("spark.sql.parser.escapedStringLiterals")
    assert result.blocks
    assert result.error == "spark.sql.parser.escapedStringLiterals is on, so Spark would misread r'...'. Turn it off."


# Types


def test_comparisons_are_exact_across_types(spark: SparkSession) -> None:
    frame = spark.createDataFrame(
        [(2**53 + 1, Decimal("0.10"), 0.1)], "l bigint, m decimal(10,2), d double"
    ).withColumn("f", F.expr("CAST(0.1 AS FLOAT)"))
    results = run(
        frame,
        c.between("l", None, float(2**53)).named("a double would round"),
        c.between("m", 0.1, 0.1),
        c.between("d", Decimal("0.1"), Decimal("0.1")),
        c.between("f", 0.1, 0.1),
        c.accepted_values("m", [0.1]),
        c.accepted_values("f", [0.1]),
        c.mean_between("m", 0.1, 0.1),
    )
    assert [name for name, passed in verdicts(results).items() if not passed] == ["a double would round"]


def test_moments_do_not_depend_on_the_sessions_time_zone(spark: SparkSession) -> None:
    frame = spark.range(1).selectExpr(
        "TIMESTAMP_LTZ '2024-01-09T23:30:00Z' AS t",
        "TIMESTAMP_NTZ '2024-01-09T23:30:00' AS n",
        "DATE '2024-01-09' AS d",
    )
    moment = datetime(2024, 1, 9, 23, 30, tzinfo=UTC)
    checks = [
        *(c.between(column, moment, moment) for column in "tn"),
        *(c.accepted_values(column, [moment]) for column in "tn"),
        *(c.freshness(column, timedelta(minutes=30)) for column in "tn"),
        c.freshness("d", timedelta(days=1)),
        *(c.freshness(column, timedelta(minutes=29)).named(f"too old: {column}") for column in "tn"),
        c.freshness("d", timedelta(hours=23)).named("too old: d"),
    ]
    spark.conf.set("spark.sql.session.timeZone", "America/Los_Angeles")
    try:
        results = run(frame, *checks)
    finally:
        spark.conf.set("spark.sql.session.timeZone", "UTC")
    assert [name for name, passed in verdicts(results).items() if not passed] == [
        f"too old: {column}" for column in "tnd"
    ]
    assert results["freshness(t)"].measured == {"newest": moment, "age": timedelta(minutes=30)}


def test_a_newest_value_beyond_the_calendar_is_measured(spark: SparkSession) -> None:
    frame = spark.sql("SELECT timestamp_micros(9223372036854775807L) AS t, date_from_unix_date(90000000) AS d")
    results = run(frame, *(c.freshness(column, timedelta(days=1), max_ahead=timedelta(days=1)) for column in "td"))
    assert [result.error for result in results.values()] == [None, None]
    assert not any(verdicts(results).values())


def test_as_of_needs_a_time_zone(spark: SparkSession) -> None:
    with pytest.raises(UsageError, match="without a time zone"):
        audit([AuditedTable("silver.t", [], {})], as_of=AS_OF.replace(tzinfo=None))
