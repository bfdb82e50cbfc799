"""The churn pipeline on generated files: what was planted is what is dropped, to the row."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from chispa import assert_df_equality
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from asgard.lakehouse.declaring.intervals import TimeRange
from examples.retail import churn, transforms
from examples.retail.generate import generate
from examples.retail.planted import Planted

YEAR = TimeRange.parse("2024-01-01", "2025-01-01")
MIDDLE = datetime(2024, 11, 1, tzinfo=UTC)


class Shop:
    """The generated files as bronze tables, and the silver tables computed from them once."""

    def __init__(self, spark: SparkSession, folder: Path) -> None:
        self.planted: dict[str, Planted] = generate(folder, customers=2_000, seed=11)
        self.bronze = {
            "customers": self._as_ingested(_csv(spark, churn.CUSTOMERS, folder / "customers")),
            "transactions": self._as_ingested(_csv(spark, churn.TRANSACTIONS, folder / "transactions")),
            "tickets": self._as_ingested(
                spark.read.schema(churn.churn[churn.TICKETS].columns or "").json(str(folder / "tickets"))
            ),
        }
        self.customers = churn.customers_cleaned(self.bronze["customers"]).cache()
        self.transactions = churn.transactions_cleaned(
            self.bronze["transactions"], self.customers, interval=YEAR
        ).cache()
        self.tickets = churn.tickets_cleaned(self.bronze["tickets"], self.customers, interval=YEAR).cache()

    @staticmethod
    def _as_ingested(rows: DataFrame) -> DataFrame:
        return rows.withColumns(
            {
                "_source_file": F.input_file_name(),
                "_source_row": F.monotonically_increasing_id(),
                "_ingested_at": F.lit("2025-01-02").cast("timestamp"),
                "_run_id": F.lit("20250102t000000-test"),
            }
        ).cache()


def _csv(spark: SparkSession, table: str, folder: Path) -> DataFrame:
    schema = churn.churn[table].columns or ""
    return spark.read.schema(schema).csv(str(folder), header=True, escape='"')


@pytest.fixture(scope="module")
def shop(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    return Shop(spark, tmp_path_factory.mktemp("shop"))


@pytest.mark.parametrize("table", ["customers", "transactions", "tickets"])
def test_exactly_the_planted_rows_are_dropped(shop: Shop, table: str) -> None:
    assert shop.bronze[table].count() == shop.planted[table].rows
    assert getattr(shop, table).count() == shop.planted[table].surviving


PLANTED: dict[str, Callable[[Shop], DataFrame]] = {
    "customers.email_missing": lambda shop: shop.bronze["customers"].filter("email IS NULL"),
    "customers.email_malformed": lambda shop: shop.bronze["customers"].filter(
        ~transforms.email("email").rlike(transforms.EMAIL)
    ),
    "customers.email_untidy": lambda shop: shop.bronze["customers"].filter(
        "email <> lower(trim(email)) OR email LIKE '%\t'"
    ),
    "customers.segment_missing": lambda shop: shop.customers.filter("segment = 'Unknown'"),
    "customers.replayed + outdated": lambda shop: _beyond_the_first(shop.bronze["customers"], "customer_id"),
    "transactions.replayed + outdated": lambda shop: _beyond_the_first(shop.bronze["transactions"], "transaction_id"),
    "transactions.replayed": lambda shop: _repeated(shop.bronze["transactions"]),
    "transactions.customer_missing": lambda shop: shop.bronze["transactions"].filter("customer_id IS NULL"),
    "transactions.customer_unknown": lambda shop: (
        shop.bronze["transactions"]
        .join(shop.bronze["customers"], "customer_id", "left_anti")
        .dropna(subset="customer_id")
    ),
    "transactions.customer_rejected": lambda shop: (
        shop.bronze["transactions"]
        .join(shop.bronze["customers"].dropDuplicates(["customer_id"]), "customer_id", "left_semi")
        .join(shop.customers, "customer_id", "left_anti")
    ),
    "transactions.amount_unusable": lambda shop: shop.bronze["transactions"].filter(
        "amount LIKE '-%' OR amount = 'n/a'"
    ),
    "transactions.category_missing": lambda shop: shop.transactions.filter("category = 'Unknown'"),
    "tickets.replayed": lambda shop: _repeated(shop.bronze["tickets"]),
    "tickets.customer_missing": lambda shop: shop.bronze["tickets"].filter("customer_id IS NULL"),
    "tickets.category_missing": lambda shop: shop.tickets.filter("category = 'Unknown'"),
}
"""For each planted defect, how it shows in the data."""


@pytest.mark.parametrize("defect", PLANTED)
def test_each_defect_is_there_as_often_as_planted(shop: Shop, defect: str) -> None:
    table, _, names = defect.partition(".")
    planted = {**shop.planted[table].defects, **shop.planted[table].cleanable}
    expected = sum(planted[name] for name in names.split(" + "))
    assert expected > 0
    assert PLANTED[defect](shop).count() == expected


def _beyond_the_first(rows: DataFrame, key: str) -> DataFrame:
    return rows.exceptAll(rows.dropDuplicates([key]))


def _repeated(rows: DataFrame) -> DataFrame:
    delivered = rows.select([name for name in rows.columns if not name.startswith("_")])
    return delivered.exceptAll(delivered.distinct())


def test_the_corrected_version_wins(shop: Shop) -> None:
    amounts = shop.bronze["transactions"].select(
        "transaction_id", transforms.money("amount").alias("delivered"), transforms.utc("updated_at").alias("version")
    )
    corrected = (
        amounts.groupBy("transaction_id")
        .agg(F.max_by("delivered", "version").alias("last"), F.countDistinct("version").alias("versions"))
        .filter("versions > 1")
        .join(shop.transactions, "transaction_id")
    )
    assert corrected.count() == shop.planted["transactions"].defects["outdated"]
    assert corrected.filter("amount <> last").count() == 0
    assert shop.bronze["customers"].filter("email LIKE '%.old@example.com'").count() > 0
    assert shop.customers.filter("email LIKE '%.old@example.com'").count() == 0


def test_times_are_inside_the_year_in_utc_and_types_are_declared(shop: Shop) -> None:
    first, last = shop.transactions.agg(F.min("transaction_at"), F.max("transaction_at")).collect()[0]
    assert (first.isoformat() >= "2024-01-01", last.isoformat() < "2025-01-01") == (True, True)
    assert dict(shop.transactions.dtypes)["amount"] == "decimal(10,2)"
    offsets = {row[0] for row in shop.bronze["transactions"].select(F.right("transaction_at", F.lit(6))).collect()}
    assert offsets == {"+00:00", "+01:00", "+02:00", "-04:00", "-05:00"}


def test_the_year_in_two_pieces_gives_the_same_rows(shop: Shop) -> None:
    pieces = [
        churn.transactions_cleaned(shop.bronze["transactions"], shop.customers, interval=piece)
        for piece in (TimeRange(YEAR.start, MIDDLE), TimeRange(MIDDLE, YEAR.end))
    ]
    assert_df_equality(pieces[0].union(pieces[1]), shop.transactions, ignore_row_order=True)


def test_metrics_have_one_row_per_customer_and_month_and_the_signal_is_there(shop: Shop) -> None:
    window = TimeRange.parse("2024-12-01", "2025-02-01")
    metrics = churn.customer_metrics(shop.transactions, shop.customers, shop.tickets, interval=window).cache()
    assert metrics.count() == metrics.select("customer_id", "event_timestamp").distinct().count()
    newest = metrics.filter("event_timestamp = '2025-01-01'")
    assert newest.count() == shop.customers.count()
    sums = newest.agg(F.sum("total_purchases"), F.sum("support_tickets"), F.round(F.sum("customer_lifetime_value"), 2))
    total = shop.transactions.agg(F.sum("amount")).collect()[0][0]
    assert tuple(sums.collect()[0]) == (shop.transactions.count(), shop.tickets.count(), float(total))
    tickets = dict(newest.groupBy("churned").agg(F.avg("support_tickets")).collect())
    assert tickets[True] > 2 * tickets[False]
    assert 0.1 < newest.agg(F.avg(F.col("churned").cast("int"))).collect()[0][0] < 0.6


def test_product_analytics_adds_up_to_the_transactions(shop: Shop) -> None:
    analytics = churn.product_analytics(shop.transactions, interval=YEAR)
    whole = analytics.agg(F.sum("revenue"), F.sum("purchases")).collect()[0]
    assert tuple(whole) == (shop.transactions.agg(F.sum("amount")).collect()[0][0], shop.transactions.count())
