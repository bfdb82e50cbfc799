"""Statistics, scan and a naive answer in Python agree, on random data and random checks.

Each example draws a few files (nulls, NaN, infinities, -0.0, long text, decimals, moments; some files or
columns empty or all null), their statistics with gaps, and some hundred checks whose bounds lie on, beside
and between the values that occur.
"""

import math
import random
import re
import struct
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from pyspark.sql import DataFrame, SparkSession

from asgard.validation import checks as c
from asgard.validation import rules
from asgard.validation.batch import AuditedTable, Batch, Relation
from asgard.validation.checks import Check, Scope
from asgard.validation.results import AnsweredBy, CheckResult
from asgard.validation.schema import Schema
from asgard.validation.statistics import ColumnStatistics, FileStatistics
from asgard.validation.validator import audit

AS_OF = datetime(2024, 6, 1, tzinfo=UTC)
Row = dict[str, Any]

ARROW = pa.schema(
    {
        "i": pa.int32(),
        "l": pa.int64(),
        "d": pa.float64(),
        "f": pa.float32(),
        "m": pa.decimal128(9, 2),
        "s": pa.string(),
        "t": pa.timestamp("us", tz="UTC"),
        "n": pa.timestamp("us"),
        "dt": pa.date32(),
        "b": pa.bool_(),
    }
)
FLOATS = ("d", "f")
NUMBERS = ("i", "l", "d", "f", "m")
MOMENTS = ("t", "n", "dt")
PATTERNS = ("[a-z]*", "a[a-zé]+|b", "(?s).{3,}", r"[^\\']*", r"\p{L}*", "", r"\S*", r"[^@\s]+", r"\d*")


# Random data


def float32(value: float) -> float:
    return struct.unpack("f", struct.pack("f", value))[0]


def random_value(column: str, r: random.Random) -> Any:
    moment = datetime(2024, 5, 25, tzinfo=UTC) + timedelta(microseconds=r.randrange(10**12))
    match column:
        case "i":
            return r.choice([r.randint(-5, 5), r.randint(-(2**31), 2**31 - 1), 2**31 - 1, -(2**31)])
        case "l":
            return r.choice([r.randint(-5, 5), 2**53 + r.randint(-2, 2), -(2**63), 2**63 - 1])
        case "d":
            return r.choice([r.uniform(-5, 5), 0.0, -0.0, 0.1, math.nan, math.inf, -math.inf, 1e300])
        case "f":
            return float32(r.choice([r.uniform(-5, 5), 0.0, -0.0, 0.1, math.nan, math.inf, -math.inf]))
        case "m":
            return Decimal(r.choice([r.randint(-500, 500), 10, 999999999, -999999999])).scaleb(-2)
        case "s":
            alphabet = r.choice(
                ["ab", "aé", "ab'\\\n${x}", "a\xa0\x85\u2028\u3000\u200b\u0663", "\U0001f600\U0010ffff", "\U0010ffff"]
            )
            return "".join(r.choices(alphabet, k=r.choice([0, 1, 2, 3, 15, 16, 17, 40])))
        case "t":
            return moment
        case "n":
            return moment.replace(tzinfo=None)
        case "dt":
            return moment.date()
        case _:
            return r.random() < 0.5


def random_file(r: random.Random) -> list[Row]:
    rates = {column: r.choice([0.0, 0.0, 0.3, 1.0]) for column in ARROW.names}
    pools = {column: [random_value(column, r) for _ in range(r.choice([1, 4]))] for column in ARROW.names}
    return [
        {column: None if r.random() < rates[column] else r.choice(pools[column]) for column in ARROW.names}
        for _ in range(r.choice([0, 1, 3, 8]))
    ]


def real_statistics(path: str, rows: Sequence[Row], r: random.Random) -> FileStatistics:
    """What Iceberg would keep of a file: text bounds cut to 16 characters, NaN apart; with gaps drawn in."""
    columns = {}
    for column in ARROW.names:
        values = [row[column] for row in rows if row[column] is not None]
        known = [value for value in values if not is_nan(value)]
        lower, upper = (min(known), max(known)) if known else (None, None)
        exact = True
        if column == "s" and known:
            exact = len(lower) <= 16 and len(upper) <= 16
            lower, upper = lower[:16], upper if len(upper) <= 16 else cut_up(upper)
        nans = len(values) - len(known) if column in FLOATS else None
        statistics = ColumnStatistics(len(rows) - len(values), nans, lower, upper, exact)
        gap = r.choice(["", "", "", "null_count", "nan_count", "lower", "upper", "all", "inexact"])
        if gap == "inexact":
            statistics = replace(statistics, exact_bounds=False)
        elif gap in ("null_count", "nan_count", "lower", "upper"):
            statistics = replace(statistics, **{gap: None})
        if gap != "all":
            columns[column] = statistics
    return FileStatistics(path, len(rows), columns)


def cut_up(text: str) -> str | None:
    """The least text of at most 16 characters that is above all texts of the same beginning."""
    for end in range(16, 0, -1):
        if text[end - 1] != "\U0010ffff":
            return text[: end - 1] + chr(ord(text[end - 1]) + 1)
    return None


# Random checks


def bound_near(column: str, rows: Sequence[Row], r: random.Random) -> Any:
    present = [row[column] for row in rows if row[column] is not None and not is_nan(row[column])]
    value = r.choice(present) if present and r.random() < 0.7 else random_value(column, r)
    if is_nan(value):
        value = 0.0
    match column:
        case "i" | "l":
            return r.choice([value, value + 0.5, Decimal(value) - Decimal("0.5"), float(value), 10**30, -math.inf])
        case "d" | "f":
            return r.choice([value, value + 1, int(value) if math.isfinite(value) else 3, Decimal("0.1")])
        case "m":
            return r.choice([value, float(value), value + Decimal("0.005"), int(value), Decimal("1e12")])
        case "s":
            return r.choice([value, value + "a", value[:16], value[:-1]])
        case "t" | "n":
            value = value.replace(tzinfo=UTC)
            return r.choice([value, value + timedelta(microseconds=1), value - timedelta(days=1)])
        case "dt":
            return value + timedelta(days=r.choice([-1, 0, 0, 1]))
        case _:
            return value


def two_bounds(column: str, rows: Sequence[Row], r: random.Random) -> tuple[Any, Any]:
    low, high = sorted(bound_near(column, rows, r) for _ in range(2))
    return r.choice([(low, high), (low, high), (low, None), (None, high)])


def random_check(rows: Sequence[Row], r: random.Random) -> Check:
    ordered = [name for name in ARROW.names if name != "b"]
    any_column, number, moment = r.choice(ARROW.names), r.choice(NUMBERS), r.choice(MOMENTS)
    column = r.choice(ordered)
    makers: list[Callable[[], Check]] = [
        lambda: c.not_null(any_column),
        lambda: c.null_rate(any_column, r.choice([0, 0.1, 0.25, 0.5, 1])),
        lambda: c.accepted_values(any_column, fitting_values(any_column, rows, r)),
        *[lambda: c.between(column, *two_bounds(column, rows, r), allow_nan=r.random() < 0.3)] * 6,
        lambda: c.matches("s", r.choice(PATTERNS) or "a"),
        lambda: c.length("s", *r.choice([(0, 3), (None, 16), (2, None), (1, 1)])),
        lambda: c.row_count(*r.choice([(1, None), (None, 5), (3, 9)])),
        lambda: c.freshness(moment, timedelta(days=r.choice([0, 1, 3, 7])), max_ahead=timedelta(days=r.randrange(3))),
        lambda: c.mean_between(number, *r.choice([(-1, 1), (None, 0.3), (0.7, None)]), allow_empty=r.random() < 0.5),
        *[lambda: random_quantile(r.choice(NUMBERS + MOMENTS), rows, r)] * 2,
        lambda: c.expression("e", r.choice(["i > 0", "i > 0 OR s IS NULL", "b", "m >= 0 -- comment"])),
    ]
    return r.choice(makers)()


def random_key_check(r: random.Random) -> Check:
    """A check that takes a pass of its own."""
    columns = r.sample(ARROW.names, r.choice([1, 2]))
    return r.choice([c.unique(*columns), c.references(columns, "silver.other")])


def random_quantile(column: str, rows: Sequence[Row], r: random.Random) -> Check:
    return c.quantile_between(column, r.choice([0, 0.1, 0.5, 0.95, 1]), *two_bounds(column, rows, r))


def fitting_values(column: str, rows: Sequence[Row], r: random.Random) -> list[Any]:
    present = [row[column] for row in rows if row[column] is not None and not is_nan(row[column])]
    values = r.sample(present, min(len(present), r.choice([1, 3, 20]))) or [random_value(column, r)]
    values = [value.replace(tzinfo=UTC) if column == "n" else value for value in values if not is_nan(value)]
    return values or [0.0]


# The naive answer


def is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def as_column(column: str, bound: Any) -> Any:
    """A bound as the documentation of `between` says that a column of this type reads it."""
    if bound is None or isinstance(bound, str | bool):
        return bound
    if column == "n":
        return bound.replace(tzinfo=None)
    if column == "d":
        return float(bound)
    if column == "f":
        return float32(float(bound)) if abs(float(bound)) < 3e38 else math.copysign(math.inf, bound)
    return Decimal(repr(bound)) if column == "m" and isinstance(bound, float) else bound


def inside(value: Any, low: Any, high: Any) -> bool:
    return (low is None or value >= low) and (high is None or value <= high)


def row_fails(rule: rules.Rule, row: Row, others: Sequence[Row]) -> bool:
    if isinstance(rule, rules.Expression):
        return {
            "i > 0": row["i"] is not None and row["i"] <= 0,
            "i > 0 OR s IS NULL": row["i"] is not None and row["i"] <= 0 and row["s"] is not None,
            "b": row["b"] is False,
            "m >= 0 -- comment": row["m"] is not None and row["m"] < 0,
        }[str(rule.condition)]
    if isinstance(rule, rules.References):
        own = tuple(key_part(row[column]) for column in rule.columns)
        there = {tuple(key_part(other[column]) for column in rule.target_columns) for other in others}
        return None not in own and own not in there
    assert not isinstance(rule, rules.RowCount | rules.Unique)
    value = row[rule.column]
    if value is None or isinstance(rule, rules.NotNull | rules.NullRate):
        return value is None and isinstance(rule, rules.NotNull | rules.NullRate)
    match rule:
        case rules.Between(column=column, low=low, high=high):
            if is_nan(value):
                return not rule.allow_nan
            return not inside(value, as_column(column, low), as_column(column, high))
        case rules.AcceptedValues(column=column, values=values):
            return value not in [as_column(column, each) for each in values]
        case rules.Matches(pattern=pattern):
            return not re.fullmatch(pattern.replace(r"\p{L}", r"[^\W\d_]"), value)
        case rules.Length(low=low, high=high):
            return not inside(len(value), low, high)
    raise AssertionError(rule)


def key_part(value: Any) -> Any:
    return "NaN" if is_nan(value) else value


@dataclass(frozen=True)
class Naive:
    passed: bool
    failing_rows: int | None = None
    measured: tuple[str, Any] | None = None


def naive(check: Check, rows: Sequence[Row], others: Sequence[Row]) -> Naive:
    rule = check.rule
    if isinstance(rule, rules.RowCount):
        return Naive(inside(len(rows), rule.low, rule.high), None, ("rows", len(rows)))
    if isinstance(rule, rules.Unique):
        keys = Counter(
            key for row in rows if None not in (key := tuple(key_part(row[column]) for column in rule.columns))
        )
        failing = sum(times for times in keys.values() if times > 1)
        return Naive(failing == 0, failing, ("shared_keys", sum(times > 1 for times in keys.values())))
    if isinstance(rule, rules.Freshness | rules.MeanBetween | rules.QuantileBetween):
        return naive_of_values(rule, [row[rule.column] for row in rows if row[rule.column] is not None])
    failing = sum(row_fails(rule, row, others) for row in rows)
    if isinstance(rule, rules.NullRate):
        rate = failing / len(rows) if rows else 0.0
        return Naive(rate <= rule.max_rate, failing, ("null_rate", rate))
    return Naive(failing == 0, failing)


def naive_of_values(rule: rules.Freshness | rules.MeanBetween | rules.QuantileBetween, values: list[Any]) -> Naive:
    if not values:
        return Naive(rule.allow_empty)
    if isinstance(rule, rules.Freshness):
        newest = max(values)
        moment = datetime(newest.year, newest.month, newest.day) if type(newest) is date else newest
        moment = moment.replace(tzinfo=UTC)
        assert rule.max_ahead is not None
        passed = AS_OF - moment <= rule.max_age and moment - AS_OF <= rule.max_ahead
        return Naive(passed, None, ("newest", moment))
    if isinstance(rule, rules.MeanBetween):
        mean = sum(float(value) for value in values) / len(values)
        return Naive(inside(mean, rule.low, rule.high), None, ("mean", mean))
    quantile = next(
        value
        for value in sorted(values, key=lambda each: (is_nan(each), 0 if is_nan(each) else each))
        if sum(is_nan(value) or v <= value for v in values) >= Fraction(str(rule.q)) * len(values)
    )
    if is_nan(quantile):
        return Naive(rule.high is None)
    return Naive(inside(quantile, as_column(rule.column, rule.low), as_column(rule.column, rule.high)))


# The comparison


def assert_agrees(result: CheckResult, expected: Naive, check: Check, rows: Sequence[Row]) -> None:
    told = f"{check}\n{result}\n{expected}\n{rows}"
    assert result.error is None, told
    assert result.passed is expected.passed, told
    assert result.failing_rows == expected.failing_rows, told
    assert result.checked_rows == len(rows), told
    if expected.measured:
        name, value = expected.measured
        found = result.measured[name]
        if isinstance(value, float):
            assert float(found) == pytest.approx(value, rel=1e-6, abs=1e-6, nan_ok=True), told
        else:
            assert found == value, told


def write(path: Path, rows: Sequence[Row]) -> str:
    pq.write_table(pa.Table.from_pylist(list(rows), schema=ARROW), path)
    return str(path)


def reader(spark: SparkSession, empty: str, paths: Sequence[str]) -> Callable[[Sequence[str] | None], DataFrame]:
    def frame(files: Sequence[str] | None) -> DataFrame:
        chosen = paths if files is None else files
        assert set(chosen) <= set(paths)
        return spark.read.parquet(*(chosen or [empty]))

    return frame


@settings(max_examples=12, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(seed=st.integers(0, 2**32))
def test_statistics_scan_and_python_agree(
    spark: SparkSession, tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    r = random.Random(seed)
    folder = tmp_path_factory.mktemp("files")
    files = [random_file(r) for _ in range(r.choice([0, 1, 2, 4]))]
    paths = [write(folder / f"{index}.parquet", rows) for index, rows in enumerate(files)]
    frame = reader(spark, write(folder / "empty.parquet", []), paths)
    rows = [row for file in files for row in file]
    others = r.sample(rows, len(rows) // 2) + random_file(r)
    other = Relation(spark.read.parquet(write(folder / "other.parquet", others)), "other")
    drawn = [random_check(rows, r) for _ in range(200)] + [random_key_check(r) for _ in range(4)]
    checks = [check.named(f"{check.name} {index}").over("added") for index, check in enumerate(drawn)]
    statistics = [real_statistics(path, file, r) for path, file in zip(paths, files, strict=True)]
    blind = Batch(Schema.of(frame(None).schema), frame, "added")
    seeing = replace(blind, statistics=statistics)

    outcome = audit(
        [AuditedTable(f"silver.t{index}", checks, {Scope.ADDED: batch}) for index, batch in enumerate([blind, seeing])],
        as_of=AS_OF,
        relation=lambda name: other,
        sample_rows=0,
    )

    for table in outcome.tables:
        for check, result in zip(checks, table.results, strict=True):
            assert_agrees(result, naive(check, rows, others), check, rows)
    by_scan, by_statistics = ({result.answered_by for result in table.results} for table in outcome.tables)
    assert by_scan == {AnsweredBy.SCAN}
    assert AnsweredBy.STATISTICS in by_statistics
