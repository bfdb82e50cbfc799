"""Transforms that both retail pipelines use: pure functions of columns and DataFrames."""

from collections.abc import Callable, Sequence
from datetime import datetime

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from asgard import TimeRange

UNKNOWN = "Unknown"
"""What stands for a missing category."""

EMAIL = r"(?U)\A[^@\s\p{C}]+@[^@\s\p{C}.]+(\.[^@\s\p{C}.]+)+\z"
"""A well-formed e-mail after trimming: one @, no white space, nothing invisible, a dotted domain. Not RFC 5322, on
purpose."""


def money(column: str) -> Column:
    """The column as DECIMAL(10,2), rounded half up; null where it is no number or has more digits."""
    return F.col(column).try_cast("decimal(10,2)")


def utc(column: str) -> Column:
    """The column as TIMESTAMP; null where it is no time.

    Text may carry any offset (`2024-10-27T02:30:00+02:00`); a time without one is taken as UTC.
    """
    return F.col(column).try_cast("timestamp")


def trimmed(column: str) -> Column:
    """The column without white space of any kind at its ends; null where nothing is left."""
    return F.nullif(F.regexp_replace(F.col(column), r"^\s+|\s+$", ""), F.lit(""))


def category(column: str) -> Column:
    """The column trimmed, with `Unknown` for what is missing or blank."""
    return F.coalesce(trimmed(column), F.lit(UNKNOWN))


def email(column: str) -> Column:
    """The column trimmed and in lower case."""
    return F.lower(trimmed(column))


def newest_delivery() -> tuple[Column, ...]:
    """An order of rows that ingest wrote: what came last first, within a file the last row first."""
    return tuple(F.desc_nulls_last(column) for column in ("_ingested_at", "_source_file", "_source_row"))


def first_by_key(keys: Sequence[str], *order: Column) -> Callable[[DataFrame], DataFrame]:
    """Keep one row per key: the first in `order`.

    Args:
        keys: columns that identify a row; null is a value like any other.
        order: e.g. `F.desc("updated_at")`. Only an order without ties gives the same row each time, so end it
            with `*newest_delivery()`.

    Returns:
        A step for `DataFrame.transform`.
    """

    def step(rows: DataFrame) -> DataFrame:
        place = F.row_number().over(Window.partitionBy(*keys).orderBy(*order))
        return rows.withColumn("_place", place).filter("_place = 1").drop("_place")

    return step


def not_among(others: DataFrame, *keys: str) -> Callable[[DataFrame], DataFrame]:
    """Keep the rows whose key is not among those of `others`, a small table; a row without its key is kept.

    Returns:
        A step for `DataFrame.transform`.
    """

    def step(rows: DataFrame) -> DataFrame:
        return rows.join(F.broadcast(others.select(*keys).distinct()), list(keys), "left_anti")

    return step


def within(interval: TimeRange, column: str) -> Callable[[DataFrame], DataFrame]:
    """Keep the rows whose timestamp lies in the half-open interval, and those that have none.

    A row without a time belongs to no interval; it is kept so that the table's checks see it.

    Returns:
        A step for `DataFrame.transform`.
    """

    def step(rows: DataFrame) -> DataFrame:
        at = F.col(column)
        return rows.filter(at.isNull() | ((at >= F.lit(interval.start)) & (at < F.lit(interval.end))))

    return step


def product_analytics(sales: DataFrame) -> DataFrame:
    """What each product sold in each month, and its place in its category.

    Args:
        sales: one row per product and purchase: product_id, category, sold_at (timestamp), customer_id, quantity,
            revenue (money).

    Returns:
        product_id, category, month (timestamp: its first moment, UTC), revenue (decimal(12,2)), units (bigint),
        purchases (bigint), buyers (bigint: distinct customers), revenue_rank (int: 1 sold most in its category
        and month; equal revenue, equal rank), category_share (double: of the category's revenue in the month; null
        where that is 0). A product whose rows disagree about its category gets the alphabetically first known one.
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
    """Who, of those that bought lately, buys nothing in the time that follows.

    Args:
        purchases: customer_id, purchased_at (timestamp); must reach `horizon_days` beyond the last moment.
        moments: at which the question is asked.
        active_days: a customer counts who bought within so many days before.
        horizon_days: and has churned who buys nothing within so many days after.

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
