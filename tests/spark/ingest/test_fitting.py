"""Values as their columns' types: exactly what was said, or null and the text beside it (faults 22, 29, 30, 31)."""

import math
import random
import struct
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal, localcontext
from fractions import Fraction
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyspark.sql import Column, SparkSession
from pyspark.sql import functions as F

from asgard.common.errors import UsageError
from asgard.ingest.exact_numbers import exact_numbers
from asgard.ingest.fitting import NANOSECONDS, FittedColumn, fitted_columns, value_of_text
from asgard.ingest.inference import Guess
from asgard.ingest.own_columns import RAW
from asgard.ingest.plain_values import plain_values

INF = float("inf")


def fit_texts(spark: SparkSession, kind: str, texts: list[str | None], pattern: str | None = None) -> list[Any]:
    """For each text its value, or `Unfit` where the text was kept instead."""
    rows = spark.createDataFrame([(place, text) for place, text in enumerate(texts)], "place int, v string")
    fitted = fitted_columns(rows, [FittedColumn("v", "string", kind)], pattern).orderBy("place").collect()
    for row, text in zip(fitted, texts, strict=True):
        assert row[RAW] is None or row[RAW] == {"v": text}
    return [(row["v"], "kept") if row[RAW] else row["v"] for row in fitted]


KEPT = (None, "kept")


@pytest.mark.parametrize(
    ("kind", "texts", "values"),
    [
        ("bigint", ["1", " -7\t", "007", "+5", "12.0", "", "  ", None], [1, -7, 7, 5, 12, None, None, None]),
        ("bigint", ["9223372036854775808", "1.5", "1e3", "x", "1_0", ".0"], [KEPT] * 6),
        ("int", ["2147483647", "2147483648", "-2147483649"], [2147483647, KEPT, KEPT]),
        ("smallint", ["32767", "32768"], [32767, KEPT]),
        ("decimal(5,2)", ["1.5", "1.50000", "-999.99", "1e2"], [Decimal(t) for t in ("1.5", "1.5", "-999.99", "100")]),
        ("decimal(5,2)", ["1.239", "1000", "1.005", "NaN", "x", "1e400"], [KEPT] * 6),
        ("decimal(38,0)", ["9" * 38, "1" + "0" * 38, "0.1"], [Decimal("9" * 38), KEPT, KEPT]),
        ("double", ["1.5", "-1e3", ".5", "1.", "inf", "-Infinity"], [1.5, -1000.0, 0.5, 1.0, INF, -INF]),
        ("double", ["1.5f", "0x1p3", "1d", "1e400", "-1e400", "1,5", "x"], [KEPT] * 7),
        ("double", ["9007199254740993", "9223372036854775807", "0.1", "0.100000000000000001"], [KEPT, KEPT, 0.1, KEPT]),
        ("float", ["1.5", "1e39", "16777217"], [1.5, KEPT, KEPT]),
        ("boolean", ["true", "FALSE", "1", "no", "x"], [True, False, True, False, KEPT]),
        ("date", ["2024-02-29", "2024-2-9", "2023-02-29"], [date(2024, 2, 29), date(2024, 2, 9), KEPT]),
        ("date", ["2024-02-29T10:00", "today", "2024", "20240229"], [KEPT] * 4),
        ("binary", ["ü"], [bytearray("ü".encode())]),
        ("string", ["", " x ", None], ["", " x ", None]),
    ],
)
def test_texts(spark: SparkSession, kind: str, texts: list[str | None], values: list[Any]) -> None:
    assert fit_texts(spark, kind, texts) == values


def test_nan(spark: SparkSession) -> None:
    assert all(math.isnan(value) for value in fit_texts(spark, "double", ["NaN", "nan"]))


def test_times_in_text_with_offsets_and_a_daylight_saving_change(spark: SparkSession) -> None:
    texts = {
        "2024-10-27T02:30:00+02:00": datetime(2024, 10, 27, 0, 30),  # before Berlin's clocks go back
        "2024-10-27T02:30:00+01:00": datetime(2024, 10, 27, 1, 30),  # the same hour once more
        "2024-03-31 02:30:00 Europe/Berlin": datetime(2024, 3, 31, 1, 30),  # an hour that was skipped there
        "2024-03-31 02:30": datetime(2024, 3, 31, 2, 30),  # no offset: UTC
        "2024-03-31T02:30:00.123456Z": datetime(2024, 3, 31, 2, 30, 0, 123456),
        "2024-03-31": datetime(2024, 3, 31),
        "1969-12-31 23:59:59.999999": datetime(1969, 12, 31, 23, 59, 59, 999999),
    }
    assert fit_texts(spark, "timestamp", list(texts)) == list(texts.values())


def test_texts_that_only_leniency_takes_for_times_are_kept(spark: SparkSession) -> None:
    texts: list[str | None] = ["today", "now", "12:30", "T12:30:00", "2024", "2024-01", "2024-02-30", "1711852200"]
    assert fit_texts(spark, "timestamp", texts) == [KEPT] * len(texts)


def test_a_time_finer_than_a_microsecond_is_cut_and_kept(spark: SparkSession) -> None:
    texts: list[str | None] = ["2024-01-01 10:00:00.123456789", "2024-01-01 10:00:00.123456000"]
    cut = datetime(2024, 1, 1, 10, 0, 0, 123456)
    assert fit_texts(spark, "timestamp", texts) == [(cut, "kept"), cut]


def test_a_time_without_a_zone_is_kept_where_it_has_one(spark: SparkSession) -> None:
    texts: list[str | None] = ["2024-01-01 10:00:00", "2024-01-01 10:00:00+02:00"]
    assert fit_texts(spark, "timestamp_ntz", texts) == [datetime(2024, 1, 1, 10), KEPT]


def test_a_pattern_for_times(spark: SparkSession) -> None:
    texts: list[str | None] = ["31.03.2024 02:30", "2024-03-31", "32.03.2024 02:30", None]
    found = fit_texts(spark, "timestamp", texts, "dd.MM.yyyy HH:mm")
    assert found == [datetime(2024, 3, 31, 2, 30), KEPT, KEPT, None]
    assert fit_texts(spark, "timestamp_ntz", texts, "dd.MM.yyyy HH:mm") == found
    zoned: list[str | None] = ["31.03.2024 02:30+02:00"]
    assert fit_texts(spark, "timestamp", zoned, "dd.MM.yyyy HH:mmXXX") == [datetime(2024, 3, 31, 0, 30)]
    assert fit_texts(spark, "timestamp_ntz", zoned, "dd.MM.yyyy HH:mmXXX") == [KEPT]


def test_a_pattern_finer_than_a_microsecond(spark: SparkSession) -> None:
    texts: list[str | None] = ["01.02.24 03:04:05,123456789", "01.02.24 03:04:05,123456000"]
    cut = datetime(2024, 2, 1, 3, 4, 5, 123456)
    assert fit_texts(spark, "timestamp", texts, "dd.MM.yy HH:mm:ss,SSSSSSSSS") == [(cut, "kept"), cut]


def scaled(values: list[Any], kind: str) -> list[Any]:
    """Decimals as a column of this type has them."""
    scale = Decimal(1).scaleb(-int(kind[:-1].split(",")[1])) if kind.startswith("decimal") else Decimal(1)
    with localcontext(prec=40):
        return [value.quantize(scale) if isinstance(value, Decimal) else value for value in values]


NUMERIC = ("tinyint", "smallint", "int", "bigint", "float", "double", "decimal(38,0)", "decimal(38,18)", "decimal(9,2)")
EDGES = [
    sign * (2**power + step) for power in (7, 15, 24, 31, 53, 60, 63, 64) for step in (-1, 0, 1) for sign in (1, -1)
]


def random_number(kind: str, r: random.Random) -> Any:
    """A value of a numeric column."""
    if kind in ("float", "double"):
        value = r.choice([
            float(r.choice(EDGES)), r.choice(EDGES) / 2, round(r.uniform(-10, 10), r.randrange(7)), r.gauss(0, 1), INF,
            -INF, 10.0 ** r.randrange(-40, 39),
        ])  # fmt: skip
        return float(np.float32(value)) if kind == "float" else value
    if kind.startswith("decimal"):
        precision, scale = map(int, kind[8:-1].split(","))
        digits = r.choice([abs(r.choice(EDGES)) * 10**scale, r.randrange(10 ** r.randrange(1, precision + 1))])
        return Decimal((r.randrange(2), tuple(map(int, str(digits % 10**precision))), -scale))
    limit = 2 ** ({"tinyint": 8, "smallint": 16, "int": 32, "bigint": 64}[kind] - 1)
    return max(min(r.choice([*EDGES, r.randrange(-999, 999)]), limit - 1), -limit)


def meanings(value: Any, kind: str) -> set[Fraction]:
    """What a number says: what it equals, and for a floating-point number also its shortest text."""
    if not math.isfinite(value):
        return set()
    exactly = {Fraction(value)}
    if kind not in ("float", "double"):
        return exactly
    shortest = Fraction(str(np.float32(value) if kind == "float" else np.float64(value)))
    return exactly | {shortest}


def test_numbers_of_all_types_into_all_types_are_exact_or_null(spark: SparkSession) -> None:
    r = random.Random(13)
    for source in NUMERIC:
        given = [random_number(source, r) for _ in range(400)]
        targets = [kind for kind in NUMERIC if kind != source]
        rows = spark.createDataFrame([(place, value) for place, value in enumerate(given)], f"place int, v {source}")
        frame = rows.select("place", *(F.col("v").alias(kind) for kind in targets))
        fitted = (
            fitted_columns(frame, [FittedColumn(kind, source, kind) for kind in targets]).orderBy("place").collect()
        )
        for row, value in zip(fitted, given, strict=True):
            for target in targets:
                found, told = row[target], (source, value, target, row[target])
                assert (found is None) == (target in (row[RAW] or {})), told
                if found is None:
                    plain = math.isfinite(value) and abs(value) < 128 and value == int(value)
                    assert not plain, told  # each type holds small whole numbers
                elif math.isinf(value):
                    assert found == value, told
                else:
                    assert meanings(found, target) & meanings(value, source), told
                    if source not in ("float", "double") and target not in ("float", "double"):
                        assert found == value, told


def reading(kind: str) -> Callable[[Column], Column]:
    """How a part of a nested value is read; Spark counts a lambda's parameters, so it has one."""
    return lambda text: value_of_text(text, kind)


def test_parts_of_nested_values_are_read_as_columns_are(spark: SparkSession) -> None:
    """By Spark's own functions; only whole numbers that a floating-point number equals otherwise may be left out."""
    plain = ["1", "-0.5", "007", "12.0", "1e2", "0.1", "1.005", "1e-18", "inf", "x", "1.5f", "1e400", "1e-400", " 7 "]
    texts = [*plain, *map(str, EDGES), "0.10000000000000001", "1e99999999999", "0e5", "1" * 40, "0.000"]
    rows = spark.createDataFrame([(texts,)], "v array<string>")
    found = rows.select(*(F.transform("v", reading(kind)) for kind in NUMERIC)).collect()[0]
    for place, kind in enumerate(NUMERIC):
        expected = exact_numbers(pa.array(texts, pa.string()), kind).to_pylist()
        for text, value, wanted in zip(texts, found[place], expected, strict=True):
            if value != wanted:
                assert (kind in ("double", "float"), value) == (True, None), (text, kind)
                assert abs(float(text)) > 2**24 or text == "0.10000000000000001"


def test_the_shortest_texts_of_nested_doubles_are_read(spark: SparkSession) -> None:
    """Java before 19 prints some of them with more digits; the last three are the texts of no double."""
    draw = random.Random(7)
    values = [struct.unpack("<d", draw.randbytes(8))[0] for _ in range(20_000)] + [5e-324, 2e23, 6.044835170513039e16]
    values = [value for value in values if math.isfinite(value)]
    unfit = ["9007199254740993", "1e400", "3e-324"]
    rows = spark.createDataFrame([([*map(repr, values), *unfit],)], "v array<string>")
    found = rows.select(F.transform("v", reading("double"))).collect()[0][0]
    assert found == values + [None] * len(unfit)


def test_texts_of_a_database_are_read_as_those_of_files(spark: SparkSession) -> None:
    """On Spark's columns of text as in a worker that reads a file: one function for both."""
    texts: list[str | None] = [None, "", " 7 ", "1e2", "12.0", *map(str, EDGES), "0.1", "1.005", "1e-18", "inf", "x"]
    rows = spark.createDataFrame([(place, text) for place, text in enumerate(texts)], "place int, v string")
    frame = rows.select("place", *(F.col("v").alias(kind) for kind in NUMERIC))
    fitted = fitted_columns(frame, [FittedColumn(kind, "string", kind) for kind in NUMERIC]).orderBy("place").collect()
    for kind in NUMERIC:
        expected = exact_numbers(pa.array(texts, pa.string()), kind).to_pylist()
        assert [row[kind] for row in fitted] == expected
        kept = [
            text if value is None and text and text.strip() else None
            for value, text in zip(expected, texts, strict=True)
        ]
        assert [(row[RAW] or {}).get(kind) for row in fitted] == kept


@pytest.mark.parametrize("kind", ["struct<a:int>", "array<int>", "map<string,int>"])
def test_text_is_not_taken_apart(spark: SparkSession, kind: str) -> None:
    with pytest.raises(UsageError, match="Column v: text can't be read as"):
        fit_texts(spark, kind, ["{}"])


@pytest.mark.parametrize(
    ("source", "target", "values", "expected"),
    [
        ("bigint", "int", [1, 2**31, None], [1, KEPT, None]),
        ("double", "bigint", [2.0, 2.5, float("nan"), 1e300], [2, KEPT, KEPT, KEPT]),
        ("bigint", "double", [2**53, 2**53 + 1, 2**63 - 1, -(2**63)], [2.0**53, KEPT, KEPT, -(2.0**63)]),
        ("bigint", "float", [2**24, 2**24 + 1, 2**63 - 1], [2.0**24, KEPT, KEPT]),
        ("int", "float", [2**31 - 1, -(2**31)], [KEPT, -(2.0**31)]),
        ("double", "bigint", [2.0**63, -(2.0**63), 2.0**60], [KEPT, -(2**63), 2**60]),
        ("float", "int", [2.0**31, -(2.0**31)], [KEPT, -(2**31)]),
        ("double", "float", [0.5, 0.1, 1e300, INF], [0.5, 0.10000000149011612, KEPT, INF]),
        ("double", "float", [0.1 + 0.2, 0.10000000149011612, 1e-46, -0.0], [KEPT, 0.10000000149011612, KEPT, -0.0]),
        ("double", "decimal(5,2)", [0.1, 1.005, 1e5], [Decimal("0.1"), KEPT, KEPT]),
        ("double", "decimal(38,0)", [2.0**60, 1e15, INF], [Decimal(2**60), Decimal(10**15), KEPT]),
        ("float", "decimal(38,18)", [0.1, 0.5], [Decimal("0.1"), Decimal("0.5")]),
        (
            "decimal(38,18)",
            "double",
            [Decimal("0.1"), Decimal("0.12345678901234568"), Decimal("9007199254740993")],
            [0.1, 0.12345678901234568, KEPT],
        ),
        ("decimal(38,0)", "double", [Decimal(2**60), Decimal(2**60 + 1), Decimal(9 * 10**37)], [2.0**60, KEPT, 9e37]),
        ("decimal(38,18)", "float", [Decimal("0.1"), Decimal("0.123456789")], [0.10000000149011612, KEPT]),
        ("decimal(38,18)", "decimal(38,2)", [Decimal("1.50"), Decimal("1.505")], [Decimal("1.5"), KEPT]),
        ("decimal(10,3)", "decimal(10,2)", [Decimal("1.500"), Decimal("1.239")], [Decimal("1.5"), KEPT]),
        ("timestamp", "date", [datetime(2024, 1, 1), datetime(2024, 1, 1, 10)], [date(2024, 1, 1), KEPT]),
        ("bigint", "string", [7, None], ["7", None]),
        ("timestamp_ntz", "timestamp", [datetime(2024, 3, 31, 2, 30)], [datetime(2024, 3, 31, 2, 30)]),
    ],
)
def test_values_of_other_types(
    spark: SparkSession, source: str, target: str, values: list[Any], expected: list[Any]
) -> None:
    rows = spark.createDataFrame([(place, value) for place, value in enumerate(values)], f"place int, v {source}")
    fitted = fitted_columns(rows, [FittedColumn("v", source, target)]).orderBy("place").collect()
    found = [(None, "kept") if row[RAW] else row["v"] for row in fitted]
    assert list(map(str, found)) == list(map(str, scaled(expected, target)))  # -0.0 is not 0.0
    assert all(row["v"] is None for row in fitted if row[RAW])


def test_nanoseconds(spark: SparkSession) -> None:
    values = [0, 1_704_103_200_123_456_000, 1_704_103_200_123_456_789, -1_000, -1, None]
    rows = spark.createDataFrame([(place, value) for place, value in enumerate(values)], "place int, v bigint")
    fitted = fitted_columns(rows, [FittedColumn("v", NANOSECONDS, "timestamp")]).orderBy("place").collect()
    assert [(row["v"], row[RAW]) for row in fitted] == [
        (datetime(1970, 1, 1), None),
        (datetime(2024, 1, 1, 10, 0, 0, 123456), None),
        (datetime(2024, 1, 1, 10, 0, 0, 123456), {"v": "2024-01-01 10:00:00.123456789"}),
        (datetime(1969, 12, 31, 23, 59, 59, 999999), None),
        (datetime(1969, 12, 31, 23, 59, 59, 999999), {"v": "1969-12-31 23:59:59.999999999"}),
        (None, None),
    ]


def test_several_columns_share_one_map(spark: SparkSession) -> None:
    rows = spark.createDataFrame([("x", "y", "1"), ("1", "2", "3")], "a string, `b c` string, d string")
    wanted = [
        FittedColumn("a", "string", "int"),
        FittedColumn("b c", "string", "int"),
        FittedColumn("d", "string", "int"),
    ]
    found = [tuple(row) for row in fitted_columns(rows, wanted).collect()]
    assert found == [(None, None, 1, {"a": "x", "b c": "y"}), (1, 2, 3, None)]


TEXTS = st.lists(
    st.text(st.sampled_from("0123456789.-+eETZ: naif"), max_size=12)
    | st.floats().map(repr)
    | st.integers().map(str)
    | st.decimals(allow_nan=False, allow_infinity=False).map(str)
    | st.dates().map(str)
    | st.datetimes().map(str)
    | st.datetimes(timezones=st.timezones()).map(str),
    max_size=4,
)


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(columns=st.lists(TEXTS, min_size=10, max_size=60))
def test_what_is_inferred_always_fits(spark: SparkSession, columns: list[list[str]]) -> None:
    rows = []
    for texts in columns:
        guess = Guess()
        guess.look(pa.array(texts, pa.string()))
        rows += [(guess.type, text) for text in texts]
    kinds = sorted({kind for kind, _ in rows})
    frame = spark.createDataFrame([*rows, ("string", "x")], "kind string, text string")
    frame = frame.selectExpr("*", *(f"if(kind = '{kind}', text, null) AS `as {kind}`" for kind in kinds))
    fitted = fitted_columns(frame, [FittedColumn(f"as {kind}", "string", kind) for kind in kinds]).collect()
    assert [row for row in fitted if row[RAW] is not None] == []
    assert [
        row for row in fitted if row["text"].strip() and row["kind"] in kinds and row[f"as {row['kind']}"] is None
    ] == []


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(columns=st.lists(TEXTS, min_size=20, max_size=60))
def test_what_arrow_reads_spark_reads_as_the_same(spark: SparkSession, columns: list[list[str]]) -> None:
    kinds = ["boolean", "date", "timestamp"]
    rows, plain = [("", {})], 0
    for texts in columns:
        for kind in kinds:
            values = plain_values(pa.array(texts, pa.string()), kind)
            if values is not None:
                plain += 1
                rows += [(text, {kind: value.as_py()}) for text, value in zip(texts, values, strict=True)]
    frame = spark.createDataFrame(
        [(text, *(text if kind in found else None for kind in kinds)) for text, found in rows],
        ", ".join(["given string", *(f"`{kind}` string" for kind in kinds)]),
    )
    fitted = fitted_columns(frame, [FittedColumn(kind, "string", kind) for kind in kinds]).collect()
    by_text = {(row["given"], kind): row[kind] for row in fitted for kind in kinds if row[kind] is not None}
    for text, found in rows:
        for kind, value in found.items():
            expected = value.replace(tzinfo=None) if isinstance(value, datetime) else value
            assert by_text[text, kind] == expected, (text, kind)
    assert all(row[RAW] is None for row in fitted)
