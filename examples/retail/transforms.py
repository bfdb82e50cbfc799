"""Transforms that both retail pipelines use: pure functions of columns and DataFrames."""

from collections.abc import Callable, Sequence
from datetime import datetime

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from asgard import TimeRange

UNKNOWN = "Unknown"
"""The value for a missing category."""

EMAIL = r"(?U)\A[^@\s\p{C}]+@[^@\s\p{C}.]+(\.[^@\s\p{C}.]+)+\z"
"""A well-formed e-mail after trimming: one @, no white space, nothing invisible, a dotted domain. Deliberately simpler
than RFC 5322."""


def money(column: str) -> Column:
    """The column as DECIMAL(10,2), rounded half up; null if the value is not a number or has more digits."""
    return F.col(column).try_cast("decimal(10,2)")


def utc(column: str) -> Column:
    """The column as TIMESTAMP; null if the value is not a time.

    Text may carry any offset (`2024-10-27T02:30:00+02:00`); a time without an offset is read as UTC.
    """
    return F.col(column).try_cast("timestamp")


def trimmed(column: str) -> Column:
    """The column without white space of any kind at its ends; null if nothing is left."""
    return F.nullif(F.regexp_replace(F.col(column), r"^\s+|\s+$", ""), F.lit(""))


def category(column: str) -> Column:
    """The column trimmed, with `Unknown` for missing or blank values."""
    return F.coalesce(trimmed(column), F.lit(UNKNOWN))


def email(column: str) -> Column:
    """The column trimmed and in lower case."""
    return F.lower(trimmed(column))


def newest_delivery() -> tuple[Column, ...]:
    """An order of ingested rows: the latest delivery first; within a file, the last row first."""
    return tuple(F.desc_nulls_last(column) for column in ("_ingested_at", "_source_file", "_source_row"))


def first_by_key(keys: Sequence[str], *order: Column) -> Callable[[DataFrame], DataFrame]:
    """Keep one row per key: the first in `order`.

    Args:
        keys: columns that identify a row; null is treated like any other value.
        order: e.g. `F.desc("updated_at")`. Only an order without ties always keeps the same row, so end it with
            `*newest_delivery()`.

    Returns:
        A step for `DataFrame.transform`.
    """

    def step(rows: DataFrame) -> DataFrame:
        place = F.row_number().over(Window.partitionBy(*keys).orderBy(*order))
        return rows.withColumn("_place", place).filter("_place = 1").drop("_place")

    return step


def not_among(others: DataFrame, *keys: str) -> Callable[[DataFrame], DataFrame]:
    """Keep the rows whose key is not among those of `others`, a small table; a row whose key is null is kept.

    Returns:
        A step for `DataFrame.transform`.
    """

    def step(rows: DataFrame) -> DataFrame:
        return rows.join(F.broadcast(others.select(*keys).distinct()), list(keys), "left_anti")

    return step


def within(interval: TimeRange, column: str) -> Callable[[DataFrame], DataFrame]:
    """Keep the rows whose timestamp is in the half-open interval, and the rows without a timestamp.

    A row without a timestamp belongs to no interval; it is kept so that the table's checks see it.

    Returns:
        A step for `DataFrame.transform`.
    """

    def step(rows: DataFrame) -> DataFrame:
        at = F.col(column)
        return rows.filter(at.isNull() | ((at >= F.lit(interval.start)) & (at < F.lit(interval.end))))

    return step


def product_analytics(sales: DataFrame) -> DataFrame:
    """Aggregate the sales of each product and month, and rank the products of each category.

    Args:
        sales: one row per product and purchase: product_id, category, sold_at (timestamp), customer_id, quantity,
            revenue (money).

    Returns:
        product_id, category, month (timestamp: its first moment, UTC), revenue (decimal(12,2)), units (bigint),
        purchases (bigint), buyers (bigint: distinct customers), revenue_rank (int: 1 is the greatest revenue
        in its category and month; equal revenue has equal rank), category_share (double: share of the category's
        revenue in the month; null if that is 0). A product with several categories gets the alphabetically first
        known one.
    """
    known = F.min(F.when(F.col("category") != UNKNOWN, F.col("category")))
    monthly = sales.groupBy("product_id", F.date_trunc("month", "sold_at").alias("month")).agg(
        F.coalesce(known, F.lit(UNKNOWN)).alias("category"),
        F.sum("revenue").cast("decimal(12,2)").alias("revenue"),
        F.sum("quantity").alias("units"),
        F.count("*").alias("purchases"),
        F.countDistinct("customer_id").alias("buyers"),
    )
    peers = Window.partitionBy("month", "category")
    of_category = F.sum("revenue").over(peers)
    return monthly.select(
        "product_id",
        "category",
        "month",
        "revenue",
        "units",
        "purchases",
        "buyers",
        F.rank().over(peers.orderBy(F.desc("revenue"))).alias("revenue_rank"),
        F.when(of_category != 0, F.round(F.col("revenue") / of_category, 6)).cast("double").alias("category_share"),
    )


def churn_labels(
    purchases: DataFrame, moments: Sequence[datetime], *, active_days: int = 90, horizon_days: int = 28
) -> DataFrame:
    """Label each recently active customer: whether the customer buys nothing in the following days.

    Args:
        purchases: customer_id, purchased_at (timestamp); must reach `horizon_days` beyond the last moment.
        moments: the moments of the labels.
        active_days: only customers with a purchase in this many days before the moment get a label.
        horizon_days: a customer without a purchase in this many days after the moment has churned.

    Returns:
        customer_id, event_timestamp (the moment), churned (boolean).
    """
    grid = purchases.sparkSession.createDataFrame([(moment,) for moment in moments], "event_timestamp timestamp")
    near = F.expr(
        f"purchased_at >= event_timestamp - INTERVAL {active_days} DAYS "
        f"AND purchased_at < event_timestamp + INTERVAL {horizon_days} DAYS"
    )
    return (
        purchases.join(F.broadcast(grid), near)
        .groupBy("customer_id", "event_timestamp")
        .agg(
            F.bool_or(F.col("purchased_at") < F.col("event_timestamp")).alias("active"),
            F.bool_or(F.col("purchased_at") >= F.col("event_timestamp")).alias("bought"),
        )
        .where("active")
        .select("customer_id", "event_timestamp", (~F.col("bought")).alias("churned"))
    )
