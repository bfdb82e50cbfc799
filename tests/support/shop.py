"""A small pipeline, for tests of the command line and of backfills. Each test has its own suffix of table names."""

from datetime import UTC, datetime

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from asgard import Daily, Monthly, Pipeline
from asgard.common.names import TableName
from asgard.lakehouse.declaring.intervals import TimeRange
from asgard.validation.checks import between, not_null, row_count, unique


def make_shop(suffix: str) -> Pipeline:
    """bronze.orders -> silver.orders_cleaned (daily) -> gold.order_totals (monthly), gold.order_count (whole)."""
    shop = Pipeline("shop", start="2024-01-01", end="2024-03-01", owner="shop-team")
    orders, cleaned = f"bronze.orders_{suffix}", f"silver.orders_cleaned_{suffix}"
    shop.source(orders, columns="id bigint, at timestamp, amount decimal(10,2)")

    @shop.table(
        cleaned,
        inputs={"orders": orders},
        interval=Daily("at"),
        keys=["id"],
        checks=[not_null("id"), unique("id"), between("amount", 0, 100)],
    )
    def orders_cleaned(orders: DataFrame) -> DataFrame:
        """One row per order."""
        return orders.select("id", "at", "amount").dropDuplicates(["id"])

    @shop.table(f"gold.order_totals_{suffix}", inputs={"orders": cleaned}, interval=Monthly("month"))
    def order_totals(orders: DataFrame, interval: TimeRange) -> DataFrame:
        """Sales by month."""
        inside = orders.where((F.col("at") >= F.lit(interval.start)) & (F.col("at") < F.lit(interval.end)))
        return inside.groupBy(F.date_trunc("month", "at").alias("month")).agg(F.sum("amount").alias("total"))

    @shop.table(f"gold.order_count_{suffix}", inputs={"orders": cleaned}, checks=[row_count(1, 1)])
    def order_count(orders: DataFrame) -> DataFrame:
        """How many orders there are."""
        return orders.agg(F.count("*").alias("orders"))

    return shop


def names(suffix: str) -> dict[str, TableName]:
    """The shop's tables by their short names."""
    return {
        "bronze": TableName("bronze", f"orders_{suffix}"),
        "silver": TableName("silver", f"orders_cleaned_{suffix}"),
        "totals": TableName("gold", f"order_totals_{suffix}"),
        "count": TableName("gold", f"order_count_{suffix}"),
    }


def at(month: int, day: int, hour: int = 12) -> datetime:
    """A moment of 2024."""
    return datetime(2024, month, day, hour, tzinfo=UTC)
