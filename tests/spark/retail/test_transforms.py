"""The steps that both retail pipelines share."""

from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from chispa import assert_df_equality
from pyspark.sql import Column, SparkSession
from pyspark.sql import functions as F

from asgard.lakehouse.declaring.intervals import TimeRange
from examples.retail import transforms
from examples.retail.transforms import first_by_key, newest_delivery, within


def each(spark: SparkSession, column: Column, values: Iterable[object], kind: str = "string") -> list[Any]:
    """What the column makes of each value of the column called `value`."""
    rows = spark.createDataFrame(list(enumerate(values)), f"number int, value {kind}")
    return [row.result for row in rows.select("number", column.alias("result")).orderBy("number").collect()]


def test_any_offset_becomes_utc(spark: SparkSession) -> None:
    utc = {
        "2024-10-27T02:30:00+02:00": "2024-10-27 00:30:00",  # Berlin, the first half past two of that night
        "2024-10-27T02:30:00+01:00": "2024-10-27 01:30:00",  # and the second
        "2024-03-31T03:00:00+02:00": "2024-03-31 01:00:00",  # the hour before does not exist there
        "2024-03-31T01:59:59+01:00": "2024-03-31 00:59:59",
        "2024-11-03T01:30:00-04:00": "2024-11-03 05:30:00",  # New York
        "2024-11-03T01:30:00-05:00": "2024-11-03 06:30:00",
        "2023-12-31T19:30:00-05:00": "2024-01-01 00:30:00",  # another year in UTC
        "2024-06-01T12:00:00Z": "2024-06-01 12:00:00",
        "2024-06-01T12:00:00": "2024-06-01 12:00:00",
        "2024-06-01": "2024-06-01 00:00:00",
        "2024-02-30T12:00:00Z": None,
        "soon": None,
        "": None,
        None: None,
    }
    assert each(spark, transforms.utc("value").cast("string"), utc) == list(utc.values())


def test_a_timestamp_without_zone_is_taken_as_utc(spark: SparkSession) -> None:
    local = datetime(2024, 3, 31, 2, 30)
    assert each(spark, transforms.utc("value").cast("string"), [local], "timestamp_ntz") == ["2024-03-31 02:30:00"]


@pytest.mark.parametrize(
    ("kind", "money"),
    [
        (
            "string",
            {"12.5": "12.50", "0.005": "0.01", "99999999.99": "99999999.99", "100000000": None}
            | dict.fromkeys(("12,50", "n/a", "", None)),
        ),
        ("double", {0.125: "0.13", -3.0: "-3.00", float("nan"): None, float("inf"): None}),
    ],
)
def test_money_is_exact_to_the_cent_or_null(spark: SparkSession, kind: str, money: dict[object, str | None]) -> None:
    expected = [None if text is None else Decimal(text) for text in money.values()]
    assert each(spark, transforms.money("value"), money, kind) == expected


def test_a_missing_category_is_unknown(spark: SparkSession) -> None:
    clean = {"  Toys ": "Toys", "\tToys\n": "Toys", " ": "Unknown", "": "Unknown", None: "Unknown"}
    assert each(spark, transforms.category("value"), clean) == list(clean.values())


def test_emails_are_tidied_and_judged(spark: SparkSession) -> None:
    good = {
        "  Anna.Jones@Example.COM\t": "anna.jones@example.com",
        "a+b@sub.example.org": "a+b@sub.example.org",
    }
    bad = (
        "anna@localhost",
        "anna@example.",
        "anna@.com",
        "anna@@example.com",
        "an na@example.com",
        "@example.com",
        "anna.example.com",
        "an\u00a0na@example.com",
        "anna@exam\u200bple.com",
        "anna@example.com\u2028",
    )
    missing = ("   ", None)
    values = [*good, *bad, *missing]
    assert each(spark, transforms.email("value"), values) == [*good.values(), *bad, None, None]
    judged = each(spark, transforms.email("value").rlike(transforms.EMAIL), values)
    assert judged == [True] * len(good) + [False] * len(bad) + [None, None]


def test_the_first_row_of_a_key_in_the_declared_order_stays(spark: SparkSession) -> None:
    columns = "key int, version int, text string, _ingested_at timestamp, _source_file string, _source_row long"
    monday, tuesday = datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 1, 2, tzinfo=UTC)
    rows = spark.createDataFrame(
        [
            (1, 1, "older version, delivered later", tuesday, "b", 9),
            (1, 2, "newer version", monday, "a", 1),
            (2, 1, "delivered earlier", monday, "b", 9),
            (2, 1, "delivered later", tuesday, "a", 1),
            (3, 1, "same time, file a", monday, "a", 9),
            (3, 1, "same time, file b", monday, "b", 1),
            (4, 1, "same file, row 1", monday, "a", 1),
            (4, 1, "same file, row 2", monday, "a", 2),
            (5, None, "no version", tuesday, "b", 9),
            (5, 0, "some version", monday, "a", 1),
            (None, 1, "null is a key", monday, "a", 1),
            (None, 1, "null is a key, later", monday, "a", 2),
        ],
        columns,
    )
    step = first_by_key(("key",), F.desc_nulls_last("version"), *newest_delivery())
    kept = {row.key: row.text for row in rows.transform(step).collect()}
    assert kept == {
        1: "newer version",
        2: "delivered later",
        3: "same time, file b",
        4: "same file, row 2",
        5: "some version",
        None: "null is a key, later",
    }
    assert rows.transform(step).columns == rows.columns


def test_an_interval_is_half_open_and_keeps_rows_without_a_time(spark: SparkSession) -> None:
    moments = ["2024-01-01T00:00:00Z", "2024-01-31T23:59:59.999999Z", "2024-02-01T00:00:00Z", None]
    rows = spark.createDataFrame([(text,) for text in moments], "text string").withColumn("at", transforms.utc("text"))
    kept = rows.transform(within(TimeRange.parse("2024-01-01", "2024-02-01"), "at"))
    assert {row.text for row in kept.collect()} == {moments[0], moments[1], None}


def test_product_analytics(spark: SparkSession) -> None:
    january, february = datetime(2024, 1, 5, tzinfo=UTC), datetime(2024, 2, 5, tzinfo=UTC)
    sales = spark.createDataFrame(
        [
            (1, "toys", january, 1, 2, Decimal("6.00")),
            (1, "Unknown", january, 1, 1, Decimal("3.00")),
            (1, "toys", january, 2, 1, Decimal("3.00")),
            (2, "toys", january, 2, 1, Decimal("4.00")),
            (3, "toys", january, 2, 1, Decimal("4.00")),
            (4, "Unknown", january, 2, 1, Decimal("0.00")),
            (1, "toys", february, 2, 5, Decimal("1.00")),
        ],
        "product_id long, category string, sold_at timestamp, customer_id long, quantity long, revenue decimal(10,2)",
    )
    jan, feb = datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 2, 1, tzinfo=UTC)
    expected = spark.createDataFrame(
        [
            (1, "toys", jan, Decimal("12.00"), 4, 3, 2, 1, 0.6),
            (2, "toys", jan, Decimal("4.00"), 1, 1, 1, 2, 0.2),
            (3, "toys", jan, Decimal("4.00"), 1, 1, 1, 2, 0.2),
            (4, "Unknown", jan, Decimal("0.00"), 1, 1, 1, 1, None),
            (1, "toys", feb, Decimal("1.00"), 5, 1, 1, 1, 1.0),
        ],
        "product_id long, category string, month timestamp, revenue decimal(12,2), units long, purchases long, "
        "buyers long, revenue_rank int, category_share double",
    )
    assert_df_equality(transforms.product_analytics(sales), expected, ignore_row_order=True, ignore_nullable=True)
