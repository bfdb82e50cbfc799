"""The pipeline `churn`: customers, transactions and support tickets of `examples.retail.generate`, at any size.

    python -m examples.retail.generate --out churn-data
    asgard backfill --pipeline examples/retail/churn.py

Its bronze tables store rows as delivered, mostly as text. The cleansing drops unusable rows in a fixed order: first it
keeps one row per key, then it drops this row if it is defective. So a customer survives if the newest version of its
row has a well-formed e-mail, and a transaction or ticket survives if its customer does. The number of surviving rows is
known, because the generator planted all defects (`planted.json`).
"""

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from asgard import Monthly, Pipeline, TimeRange, checks
from asgard.features import user_features
from examples.retail import transforms
from examples.retail.transforms import category, email, first_by_key, money, newest_delivery, trimmed, utc, within

CUSTOMERS, CUSTOMERS_CLEANED = "bronze.churn_customers", "silver.churn_customers_cleaned"
TRANSACTIONS, TRANSACTIONS_CLEANED = "bronze.churn_transactions", "silver.churn_transactions_cleaned"
TICKETS, TICKETS_CLEANED = "bronze.churn_tickets", "silver.churn_tickets_cleaned"
YEAR = {"start": "2024-01-01", "end": "2025-01-01"}
AS_OF_MONTHLY = Monthly("event_timestamp")

churn = Pipeline("churn", owner="crm-data", tags=("example", "churn"), update_frequency="monthly")

churn.source(
    CUSTOMERS,
    columns="customer_id bigint, full_name string, email string, country string, segment string, "
    "signed_up_at string, updated_at string",
    keys=("customer_id",),
    checks=(checks.row_count(1), checks.not_null("customer_id")),
    description="Versions of customers as delivered; times as text with an offset.",
)
churn.source(
    TRANSACTIONS,
    columns="transaction_id bigint, customer_id bigint, product_id bigint, category string, quantity int, "
    "amount string, transaction_at string, updated_at string",
    keys=("transaction_id",),
    checks=(checks.row_count(1), checks.not_null("transaction_id"), checks.not_null("transaction_at")),
    description="Transactions as delivered, corrections included; money and times as text.",
)
churn.source(
    TICKETS,
    columns="ticket_id bigint, customer_id bigint, category string, priority string, opened_at string",
    keys=("ticket_id",),
    checks=(checks.row_count(1), checks.not_null("ticket_id"), checks.not_null("opened_at")),
    description="Support tickets as delivered.",
)


@churn.table(
    CUSTOMERS_CLEANED,
    inputs={"raw": CUSTOMERS},
    keys=("customer_id",),
    checks=(
        checks.row_count(1),
        checks.not_null("customer_id"),
        checks.unique("customer_id"),
        checks.not_null("email"),
        checks.matches("email", transforms.EMAIL),
        checks.expression("e-mails are in lower case", "email = lower(email)"),
        checks.accepted_values("segment", ("basic", "plus", "premium", transforms.UNKNOWN)),
        checks.not_null("signed_up_at"),
    ),
    consumers=(TRANSACTIONS_CLEANED, TICKETS_CLEANED, "gold.churn_customer_metrics"),
)
def customers_cleaned(raw: DataFrame) -> DataFrame:
    """One row per customer with a well-formed e-mail: the version with the greatest updated_at.

    Among equal versions, the newest delivery is kept. E-mails are trimmed and in lower case; a missing segment is
    `Unknown`.
    """
    return (
        raw.withColumn("updated_at", utc("updated_at"))
        .transform(first_by_key(("customer_id",), F.desc_nulls_last("updated_at"), *newest_delivery()))
        .select(
            "customer_id",
            trimmed("full_name").alias("full_name"),
            email("email").alias("email"),
            "country",
            category("segment").alias("segment"),
            utc("signed_up_at").alias("signed_up_at"),
            "updated_at",
        )
        .filter(F.col("email").rlike(transforms.EMAIL))
    )


@churn.table(
    TRANSACTIONS_CLEANED,
    inputs={"raw": TRANSACTIONS, "customers": CUSTOMERS_CLEANED},
    keys=("transaction_id",),
    interval=Monthly("transaction_at"),
    **YEAR,
    checks=(
        checks.not_null("transaction_id"),
        checks.unique("transaction_id"),
        checks.not_null("customer_id"),
        checks.references("customer_id", CUSTOMERS_CLEANED),
        checks.not_null("amount"),
        checks.between("amount", 0, 100_000),
        checks.mean_between("amount", 1, 1_000),
        checks.not_null("category"),
        checks.not_null("transaction_at"),
        checks.row_count(1),
    ),
    consumers=("gold.churn_customer_metrics", "gold.churn_product_analytics"),
)
def transactions_cleaned(raw: DataFrame, customers: DataFrame, interval: TimeRange) -> DataFrame:
    """One row per transaction of a surviving customer, in UTC: the version with the greatest updated_at.

    Among equal versions, the newest delivery is kept. After that, rows are dropped whose customer is missing or did not
    survive, or whose amount is negative or not a number. A missing category is `Unknown`.
    """
    return (
        raw.withColumns({name: utc(name) for name in ("transaction_at", "updated_at")})
        .transform(within(interval, "transaction_at"))
        .transform(first_by_key(("transaction_id",), F.desc_nulls_last("updated_at"), *newest_delivery()))
        .select(
            "transaction_id",
            "customer_id",
            "product_id",
            category("category").alias("category"),
            "quantity",
            money("amount").alias("amount"),
            "transaction_at",
            "updated_at",
        )
        .filter("amount >= 0")
        .join(customers.select("customer_id"), "customer_id", "left_semi")
    )


@churn.table(
    TICKETS_CLEANED,
    inputs={"raw": TICKETS, "customers": CUSTOMERS_CLEANED},
    keys=("ticket_id",),
    interval=Monthly("opened_at"),
    **YEAR,
    checks=(
        checks.not_null("ticket_id"),
        checks.unique("ticket_id"),
        checks.references("customer_id", CUSTOMERS_CLEANED),
        checks.accepted_values("priority", ("low", "normal", "high")),
        checks.accepted_values("category", ("account", "billing", "delivery", "product", transforms.UNKNOWN)),
        checks.not_null("opened_at"),
    ),
    consumers=("gold.churn_customer_metrics",),
)
def tickets_cleaned(raw: DataFrame, customers: DataFrame, interval: TimeRange) -> DataFrame:
    """One row per ticket of a surviving customer, in UTC; for replayed rows, the newest delivery."""
    return (
        raw.withColumn("opened_at", utc("opened_at"))
        .transform(within(interval, "opened_at"))
        .transform(first_by_key(("ticket_id",), *newest_delivery()))
        .select("ticket_id", "customer_id", category("category").alias("category"), "priority", "opened_at")
        .join(customers.select("customer_id"), "customer_id", "left_semi")
    )


@churn.table(
    "gold.churn_customer_metrics",
    inputs={"transactions": TRANSACTIONS_CLEANED, "customers": CUSTOMERS_CLEANED, "tickets": TICKETS_CLEANED},
    keys=("customer_id", "event_timestamp"),
    interval=AS_OF_MONTHLY,
    start="2024-04-01",
    end="2025-02-01",
    checks=(
        checks.row_count(1),
        checks.not_null("customer_id"),
        checks.not_null("churned"),
        checks.unique("customer_id", "event_timestamp"),
        checks.references("customer_id", CUSTOMERS_CLEANED),
        checks.between("total_purchases", 0, 100_000),
        checks.between("customer_lifetime_value", 0, 10_000_000),
        checks.between("days_since_last_purchase", 1, 366),
        checks.between("account_age_days", 1, 2_000),
        checks.between("support_tickets", 0, 1_000),
        checks.mean_between("avg_purchase_value", 1, 1_000),
    ),
    consumers=("churn model", "online store"),
)
def customer_metrics(
    transactions: DataFrame, customers: DataFrame, tickets: DataFrame, interval: TimeRange
) -> DataFrame:
    """One row per customer and first of a month: what was known of the customer before that midnight UTC.

    The first rows are of April: before that, less than 90 days of transactions are known, and all customers would look
    churned.
    The columns are those of `asgard.features.user_features.customer_metrics`.
    """
    return user_features.customer_metrics(
        transactions.select("customer_id", F.col("transaction_at").alias("purchased_at"), "amount"),
        user_features.as_of_dates(interval, AS_OF_MONTHLY),
        accounts=customers.select("customer_id", F.col("signed_up_at").alias("opened_at")),
        tickets=tickets.select("customer_id", "opened_at"),
    )


@churn.table(
    "gold.churn_product_analytics",
    inputs={"transactions": TRANSACTIONS_CLEANED},
    keys=("product_id", "month"),
    interval=Monthly("month"),
    **YEAR,
    checks=(
        checks.not_null("product_id"),
        checks.not_null("category"),
        checks.unique("product_id", "month"),
        checks.between("revenue", 0, None),
        checks.between("revenue_rank", 1, None),
        checks.between("category_share", 0, 1),
    ),
    consumers=("category management",),
)
def product_analytics(transactions: DataFrame, interval: TimeRange) -> DataFrame:
    """One row per product and month: revenue, units, transactions, buyers and the rank in its category."""
    return transforms.product_analytics(
        transactions.transform(within(interval, "transaction_at")).select(
            "product_id",
            "category",
            F.col("transaction_at").alias("sold_at"),
            "customer_id",
            "quantity",
            F.col("amount").alias("revenue"),
        )
    )
