"""The retail pipeline's own functions, on a handful of receipts."""

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from chispa import assert_df_equality
from pyspark.sql import DataFrame, SparkSession

from asgard.lakehouse.declaring.intervals import TimeRange
from examples.retail import journey
from examples.retail.data import BAD_ROWS, bad_batch, corrections, export_journey

JANUARY = TimeRange.parse("2017-01-01", "2017-02-01")
INGESTED = ", _source_file string, _source_row long, _ingested_at timestamp, _run_id string"
MONEY = ("sales_value", "retail_disc", "coupon_disc", "coupon_match_disc")


def bronze(spark: SparkSession, table: str, *rows: dict[str, Any]) -> DataFrame:
    """Rows as ingest leaves them, null where nothing is said; later rows were delivered later."""
    schema = f"{journey.retail[table].columns}{INGESTED}"
    names = [column.split()[0] for column in schema.split(", ")]
    given = [
        {"_source_file": "f", "_source_row": n, "_ingested_at": datetime(2024, 1, 1, tzinfo=UTC), **row}
        for n, row in enumerate(rows)
    ]
    return spark.createDataFrame([tuple(row.get(name) for name in names) for row in given], schema)


def line(basket: int, product: int, at: str, sales: float = 1.0, **more: Any) -> dict[str, Any]:
    return {
        "household_id": basket // 10,
        "store_id": 1,
        "basket_id": basket,
        "product_id": product,
        "quantity": 1,
        **dict.fromkeys(MONEY, 0.0),
        "sales_value": sales,
        "week": 1,
        "transaction_timestamp": datetime.fromisoformat(at).replace(tzinfo=UTC),
        **more,
    }


def erasures(spark: SparkSession, *households: int) -> DataFrame:
    """Requests to be forgotten."""
    asked = datetime(2018, 1, 2, tzinfo=UTC)
    return bronze(spark, "bronze.erasures", *({"household_id": each, "requested_at": asked} for each in households))


def test_transactions_are_of_the_interval_once_and_in_cents(spark: SparkSession) -> None:
    raw = bronze(
        spark,
        "bronze.transactions",
        line(11, 1, "2017-01-31T23:59:59", 1.005),
        line(11, 2, "2017-01-05T10:00:00", 2.0),
        line(11, 2, "2017-01-05T10:00:00", 2.5),
        line(12, 1, "2017-02-01T00:00:00"),
        line(13, 1, "2017-01-05T10:00:00", float("nan")),
    )
    cleaned = journey.transactions_cleaned(raw, erasures(spark, 7), interval=JANUARY)
    assert [dict(cleaned.dtypes)[name] for name in MONEY] == ["decimal(10,2)"] * 4
    rows = {(row.basket_id, row.product_id): row.sales_value for row in cleaned.collect()}
    assert rows == {(11, 1): Decimal("1.01"), (11, 2): Decimal("2.50"), (13, 1): None}
    assert not any(name.startswith("_") for name in cleaned.columns)


def test_products_say_unknown_and_the_newest_delivery_counts(spark: SparkSession) -> None:
    raw = bronze(
        spark,
        "bronze.products",
        {"product_id": 1, "department": "OLD", "brand": "National"},
        {"product_id": 1, "department": " GROCERY ", "brand": "National", "package_size": " "},
    )
    expected = spark.createDataFrame(
        [(1, None, "GROCERY", "National", "Unknown", "Unknown", None)],
        "product_id long, manufacturer_id long, department string, brand string, product_category string, "
        "product_type string, package_size string",
    )
    assert_df_equality(journey.products_cleaned(raw), expected, ignore_nullable=True)


def test_demographics_say_unknown(spark: SparkSession) -> None:
    raw = bronze(spark, "bronze.demographics", {"household_id": 1, "age": "45-54"})
    row = journey.demographics_cleaned(raw, erasures(spark)).collect()[0]
    assert (row.age, row.home_ownership) == ("45-54", "Unknown")


def test_households_that_asked_to_be_forgotten_are_nowhere(spark: SparkSession) -> None:
    lines = [line(11, 1, "2017-01-05T10:00:00"), line(21, 1, "2017-01-05T10:00:00")]
    unknown = {**line(31, 1, "2017-01-05T10:00:00"), "household_id": None}
    raw = bronze(spark, "bronze.transactions", *lines, unknown)
    cleaned = journey.transactions_cleaned(raw, erasures(spark, 2, 2, 9), interval=JANUARY)
    assert {row.household_id for row in cleaned.collect()} == {1, None}
    told = bronze(spark, "bronze.demographics", {"household_id": 1}, {"household_id": 2})
    assert [row.household_id for row in journey.demographics_cleaned(told, erasures(spark, 2)).collect()] == [1]


def test_corrections_are_of_the_last_month_and_of_the_newest_household(tmp_path: Path) -> None:
    found = corrections(tmp_path, export_journey(tmp_path)["bronze.transactions"])
    assert found.erased == 60  # whose first receipt is of 28 December
    assert found.since == "2017-12-01"
    assert found.corrected != found.erased
    assert found.sales_after == round(found.sales_before / 10, 2)
    line_text = found.files["bronze.transactions"].read_text().splitlines()[1]
    assert line_text.startswith(f"{found.corrected},")
    assert line_text.endswith(f"{found.at:%Y-%m-%dT%H:%M:%SZ}")
    assert found.files["bronze.erasures"].read_text().splitlines()[1] == "60,2018-01-02T00:00:00Z"


def silver(spark: SparkSession) -> tuple[DataFrame, DataFrame]:
    lines = bronze(
        spark,
        "bronze.transactions",
        line(11, 1, "2017-01-01T12:00:00", 4.0, retail_disc=1.0),
        line(11, 2, "2017-01-01T12:00:00", 2.0),
        line(21, 1, "2017-01-08T23:59:59", 5.0),
        line(21, 3, "2017-01-08T23:59:59", 0.0),
    )
    products = bronze(
        spark,
        "bronze.products",
        {"product_id": 1, "department": "GROCERY", "product_category": "SOUP"},
        {"product_id": 2, "department": "GROCERY"},
    )
    return journey.transactions_cleaned(lines, erasures(spark), interval=JANUARY), journey.products_cleaned(products)


def test_customer_metrics_per_household_and_monday(spark: SparkSession) -> None:
    transactions, _ = silver(spark)
    metrics = journey.customer_metrics(transactions, interval=TimeRange.parse("2017-01-02", "2017-01-16"))
    found = {
        (row.customer_id, row.event_timestamp.day): (row.total_purchases, row.customer_lifetime_value)
        for row in metrics.collect()
    }
    assert found == {(1, 2): (1, 6.0), (1, 9): (1, 6.0), (2, 9): (1, 5.0)}


def test_product_analytics_knows_products_that_nobody_described(spark: SparkSession) -> None:
    transactions, products = silver(spark)
    analytics = journey.product_analytics(transactions, products, interval=JANUARY)
    found = {row.product_id: (row.category, row.revenue, row.buyers) for row in analytics.collect()}
    assert found == {
        1: ("SOUP", Decimal("9.00"), 2),
        2: ("Unknown", Decimal("2.00"), 1),
        3: ("Unknown", Decimal("0.00"), 1),
    }


def test_department_sales_from_its_sql_file(spark: SparkSession) -> None:
    transactions, products = silver(spark)
    function = journey.retail["gold.department_sales"].function
    assert function is not None
    result = function(sales=transactions, products=products, interval=JANUARY)
    month = datetime(2017, 1, 1, tzinfo=UTC)
    expected = spark.createDataFrame(
        [
            ("GROCERY", month, Decimal("11.00"), Decimal("1.00"), 0.083333, 2, 2),
            ("Unknown", month, Decimal("0.00"), Decimal("0.00"), None, 1, 1),
        ],
        "department string, month timestamp, revenue decimal(14,2), discount decimal(14,2), discount_share double, "
        "baskets long, households long",
    )
    assert_df_equality(result, expected, ignore_row_order=True, ignore_nullable=True)


def test_the_bad_batch_is_as_bad_as_it_says(spark: SparkSession, tmp_path: Path) -> None:
    schema = journey.retail["bronze.transactions"].columns or ""
    batch = spark.read.schema(schema).csv(str(bad_batch(tmp_path)), header=True).cache()
    conditions = {
        "household_id is missing": "household_id IS NULL",
        "sales_value is negative": "sales_value < 0",
        "sales_value is no number": "isnan(sales_value)",
        "quantity is negative": "quantity < 0",
        "transaction_timestamp is missing": "transaction_timestamp IS NULL",
        "transaction_timestamp lies in the future": "transaction_timestamp > '2018-01-02'",
    }
    found = {what: batch.filter(condition).count() for what, condition in conditions.items()}
    found["the receipt line is a repetition of another"] = batch.count() - batch.distinct().count()
    assert found == BAD_ROWS
