"""Customer features: what was known at each as-of date, and nothing that came later."""

from collections.abc import Iterable
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from chispa import assert_df_equality
from pyspark.sql import DataFrame, Row, SparkSession

from asgard.common.errors import UsageError
from asgard.features.user_features import as_of_dates, customer_metrics, purchases_from_lines
from asgard.lakehouse.declaring.intervals import Cadence, TimeRange, Unit

PURCHASES = "customer_id long, purchased_at timestamp, amount decimal(10,2)"
OPENED = "customer_id long, opened_at timestamp"
METRICS = (
    "customer_id long, total_purchases long, customer_lifetime_value double, avg_purchase_value double, "
    "days_since_last_purchase int, purchase_frequency double, account_age_days int, support_tickets long, "
    "churned boolean, event_timestamp timestamp, created_at timestamp"
)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def bought(spark: SparkSession, *rows: tuple[int, str, str]) -> DataFrame:
    return spark.createDataFrame([(who, at(when), Decimal(amount)) for who, when, amount in rows], PURCHASES)


def opened(spark: SparkSession, *rows: tuple[int, str]) -> DataFrame:
    return spark.createDataFrame([(who, at(when)) for who, when in rows], OPENED)


def one(metrics: DataFrame, customer: int = 1, as_of: str = "2024-03-01") -> Row:
    rows = metrics.filter(f"customer_id = {customer} AND event_timestamp = '{as_of}'").collect()
    assert len(rows) == 1
    return rows[0]


def test_every_column_at_two_dates(spark: SparkSession) -> None:
    purchases = bought(
        spark, (1, "2024-01-10T12:00", "10.00"), (1, "2024-01-31T23:59:59", "5.01"), (1, "2024-02-20T08:00", "4.00")
    )
    metrics = customer_metrics(
        purchases,
        [date(2024, 2, 1), date(2024, 3, 1)],
        accounts=opened(spark, (1, "2024-01-02T09:00")),
        tickets=opened(spark, (1, "2024-01-15T10:00"), (1, "2024-02-29T23:00"), (1, "2024-03-01T00:00")),
    )
    february, march = at("2024-02-01"), at("2024-03-01")
    expected = spark.createDataFrame(
        [
            (1, 2, 15.01, 7.51, 1, 2.0, 30, 1, False, february, february),
            (1, 3, 19.01, 6.34, 10, 1.5254, 59, 2, False, march, march),
        ],
        METRICS,
    )
    assert_df_equality(metrics, expected, ignore_row_order=True, ignore_nullable=True)


@pytest.mark.parametrize("months", [(3,), (3, 4), (2, 3)])
def test_the_moment_itself_is_not_known_yet(spark: SparkSession, months: tuple[int, ...]) -> None:
    purchases = bought(spark, (1, "2024-02-29T23:59:59.999999", "1.00"), (1, "2024-03-01T00:00", "100.00"))
    metrics = customer_metrics(purchases, [date(2024, month, 1) for month in months])
    assert one(metrics).customer_lifetime_value == 1.0


def test_later_rows_change_nothing(spark: SparkSession) -> None:
    early = bought(spark, (1, "2024-01-10T12:00", "10.00"), (2, "2024-02-10T12:00", "3.00"))
    late = bought(spark, (1, "2024-03-01T00:00", "99.00"), (3, "2024-03-02T00:00", "99.00"))
    dates = [date(2024, 2, 1), date(2024, 3, 1)]
    before, after = customer_metrics(early, dates), customer_metrics(early.union(late), [*dates, date(2024, 4, 1)])
    assert_df_equality(
        before, after.filter("event_timestamp < '2024-04-01'"), ignore_row_order=True, ignore_nullable=True
    )


def test_one_date_alone_gives_the_same_rows_as_many_together(spark: SparkSession) -> None:
    purchases = bought(
        spark, *((1 + n % 3, f"2024-{1 + n % 4:02d}-{1 + n % 28:02d}T0{n % 10}:00", f"{n}.50") for n in range(40))
    )
    dates = [date(2024, month, 1) for month in (2, 3, 5)]
    first, second, third = (customer_metrics(purchases, [day]) for day in dates)
    together = customer_metrics(purchases, dates)
    assert_df_equality(together, first.union(second).union(third), ignore_row_order=True, ignore_nullable=True)


def test_no_row_before_the_first_purchase_nor_before_the_account(spark: SparkSession) -> None:
    purchases = bought(spark, (1, "2024-02-10T12:00", "10.00"))
    dates = [date(2024, 1, 1), date(2024, 2, 1), date(2024, 3, 1)]
    assert [row.event_timestamp.month for row in customer_metrics(purchases, dates).collect()] == [3]
    with_account = customer_metrics(purchases, dates, accounts=opened(spark, (1, "2024-01-20T00:00")))
    assert sorted(row.event_timestamp.month for row in with_account.collect()) == [2, 3]


def test_a_customer_without_purchases(spark: SparkSession) -> None:
    nothing = bought(spark)
    accounts = opened(spark, (1, "2024-02-20T00:00"), (2, "2023-06-01T00:00"))
    metrics = customer_metrics(nothing, [date(2024, 3, 1)], accounts=accounts)
    fresh, old = one(metrics), one(metrics, 2)
    assert (fresh.total_purchases, fresh.customer_lifetime_value, fresh.purchase_frequency) == (0, 0.0, 0.0)
    assert (fresh.avg_purchase_value, fresh.days_since_last_purchase) == (None, None)
    assert not fresh.churned, "the account is ten days old"
    assert old.churned


@pytest.mark.parametrize(("last_purchase", "churned"), [("2023-12-02T00:00", False), ("2023-12-01T23:59:59", True)])
def test_churned_is_no_purchase_within_the_last_90_days(spark: SparkSession, last_purchase: str, churned: bool) -> None:
    purchases = bought(spark, (1, "2023-01-01T00:00", "1.00"), (1, last_purchase, "1.00"))
    assert one(customer_metrics(purchases, [date(2024, 3, 1)])).churned is churned


def test_the_days_of_churned_are_a_parameter(spark: SparkSession) -> None:
    purchases = bought(spark, (1, "2024-02-20T00:00", "1.00"))
    assert one(customer_metrics(purchases, [date(2024, 3, 1)], churn_after_days=9)).churned
    assert not one(customer_metrics(purchases, [date(2024, 3, 1)], churn_after_days=10)).churned


def test_an_account_opened_after_the_first_purchase_counts_from_the_purchase(spark: SparkSession) -> None:
    purchases = bought(spark, (1, "2024-01-01T00:00", "1.00"))
    row = one(
        customer_metrics(
            purchases, [date(2024, 2, 1), date(2024, 3, 1)], accounts=opened(spark, (1, "2024-02-15T00:00"))
        )
    )
    assert (row.total_purchases, row.account_age_days) == (1, 60)


def test_tickets_before_the_account_count_and_strangers_with_tickets_do_not(spark: SparkSession) -> None:
    metrics = customer_metrics(
        bought(spark, (1, "2024-02-10T00:00", "1.00")),
        [date(2024, 2, 1), date(2024, 3, 1)],
        tickets=opened(spark, (1, "2024-01-10T00:00"), (7, "2024-01-10T00:00")),
    )
    assert [(row.customer_id, row.support_tickets) for row in metrics.collect()] == [(1, 1)]


def test_money_is_exact_whatever_the_order(spark: SparkSession) -> None:
    purchases = bought(spark, *((1, "2024-02-10T00:00", "0.10") for _ in range(3)))
    assert one(customer_metrics(purchases, [date(2024, 3, 1)])).customer_lifetime_value == 0.3


def test_same_days_given_twice_or_out_of_order_give_one_row_each(spark: SparkSession) -> None:
    purchases = bought(spark, (1, "2024-01-10T00:00", "1.00"))
    days = [date(2024, 3, 1), date(2024, 2, 1), date(2024, 3, 1)]
    assert customer_metrics(purchases, days).count() == 2


@pytest.mark.parametrize(
    ("dates", "options"), [([], {}), ([date(2024, 3, 1)], {"churn_after_days": 0})], ids=["no date", "no days"]
)
def test_wrong_arguments_are_refused(spark: SparkSession, dates: Iterable[date], options: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        customer_metrics(bought(spark), dates, **options)


def test_receipt_lines_become_purchases(spark: SparkSession) -> None:
    lines = spark.createDataFrame(
        [
            (1, 10, at("2024-01-01T10:05"), Decimal("1.50")),
            (1, 10, at("2024-01-01T10:00"), Decimal("2.50")),
            (1, 11, at("2024-01-02T00:00"), None),
            (2, 10, at("2024-01-03T00:00"), Decimal("7.00")),
        ],
        "household long, basket long, sold_at timestamp, price decimal(10,2)",
    )
    purchases = purchases_from_lines(lines, customer="household", purchase="basket", at="sold_at", amount="price")
    expected = spark.createDataFrame(
        [
            (1, 10, at("2024-01-01T10:00"), Decimal("4.00")),
            (1, 11, at("2024-01-02T00:00"), None),
            (2, 10, at("2024-01-03T00:00"), Decimal("7.00")),
        ],
        "customer_id long, purchase_id long, purchased_at timestamp, amount decimal(20,2)",
    )
    assert_df_equality(purchases, expected, ignore_row_order=True, ignore_nullable=True)


def test_as_of_dates_are_the_starts_inside_the_interval() -> None:
    weekly = Cadence("event_timestamp", Unit.WEEK)
    window = TimeRange.parse("2024-01-03", "2024-01-22")
    assert as_of_dates(window, weekly) == (date(2024, 1, 8), date(2024, 1, 15))
    with pytest.raises(UsageError, match="No week starts"):
        as_of_dates(TimeRange.parse("2024-01-02", "2024-01-08"), weekly)
