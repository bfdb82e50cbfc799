"""Customer features as of a date, for any pipeline that has purchases.

An as-of date `d` stands for its midnight in UTC, and a row as of `d` is computed from what happened strictly
before that moment. So its `event_timestamp` is that midnight: a join of labels to the latest row with `event_timestamp
<= label time` never uses the future (point-in-time correctness). `created_at` is the same moment, the first at which
the row could be known. It is not the clock of the machine that computed it: the same input gives the same row whenever
it is computed, and the table's snapshot tells when a row was really published.

The functions need a session time zone of UTC, which Asgard's sessions have.
"""

from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, time
from functools import reduce

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from asgard.common.errors import UsageError
from asgard.lakehouse.declaring.intervals import Cadence, TimeRange

CHURN_AFTER_DAYS = 90
"""A customer without a purchase for longer than this many days counts as churned."""

FREQUENCY_DAYS = 30
"""`purchase_frequency` is the number of purchases per this many days of account age."""


def as_of_dates(interval: TimeRange, cadence: Cadence) -> tuple[date, ...]:
    """The dates at which the cadence's intervals start inside `interval`: a table's as-of dates.

    Raises:
        UsageError: no interval starts inside `interval`.
    """
    starts = [start.date() for start in cadence.unit.starts(interval)]
    if not starts:
        raise UsageError(
            f"No {cadence.unit} starts in {interval}, so there is no as-of date.", hint="Compute a whole interval."
        )
    return tuple(starts)


def purchases_from_lines(lines: DataFrame, *, customer: str, purchase: str, at: str, amount: str) -> DataFrame:
    """One row per purchase, from the lines of its receipt.

    Args:
        lines: one row per line of a receipt.
        customer: column that becomes `customer_id`.
        purchase: column that identifies the receipt within its customer; becomes `purchase_id`.
        at: timestamp column; the earliest of a receipt's lines becomes `purchased_at`.
        amount: money column; its sum becomes `amount`.

    Returns:
        customer_id, purchase_id, purchased_at, amount.
    """
    return lines.groupBy(F.col(customer).alias("customer_id"), F.col(purchase).alias("purchase_id")).agg(
        F.min(at).alias("purchased_at"), F.sum(amount).alias("amount")
    )


def customer_metrics(
    purchases: DataFrame,
    as_of: Iterable[date],
    *,
    accounts: DataFrame | None = None,
    tickets: DataFrame | None = None,
    churn_after_days: int = CHURN_AFTER_DAYS,
) -> DataFrame:
    """One row per as-of date and customer known before it, whether or not anything happened in between.

    A customer is known from the opening of the account or the first purchase, whichever is earlier; that moment
    also starts `account_age_days`. The work grows with the purchases plus the resulting rows, not with their
    product: each purchase is added at the first as-of date after it, and from then on the sums are carried forward.

    Args:
        purchases: customer_id, purchased_at (timestamp), amount (money); one row per purchase.
        as_of: the dates, in any order.
        accounts: customer_id, opened_at (timestamp). None: accounts open with the first purchase.
        tickets: customer_id, opened_at (timestamp). None: `support_tickets` is 0 for everyone.
        churn_after_days: N in the definition of `churned` below, at least 1.

    Returns:
        customer_id, and as of the date:

        - total_purchases (bigint), customer_lifetime_value (double, money): number and sum of all purchases so
          far, i.e. the *historic* lifetime value, no forecast.
        - avg_purchase_value (double, money): their quotient; null before the first purchase.
        - days_since_last_purchase (int): UTC calendar days; 1 for a purchase on the day before; null before the
          first purchase.
        - purchase_frequency (double): purchases per 30 days of account age.
        - account_age_days (int): UTC calendar days, at least 1.
        - support_tickets (bigint): tickets opened so far.
        - churned (boolean): no purchase within the last N days, nor an account opened within them.
        - event_timestamp, created_at (timestamp): the as-of moment, see the module's docstring.

        Money is summed as DECIMAL and rounded to cents at the end, so that the order of rows doesn't matter.

    Raises:
        UsageError: no as-of date, or churn_after_days < 1.
    """
    if churn_after_days < 1:
        raise UsageError(f"churn_after_days is {churn_after_days}.", hint="Use 1 or more days.")
    moments = _moments(as_of)
    events = [_purchase_events(purchases)]
    if accounts is not None:
        events.append(_account_events(accounts))
    if tickets is not None:
        events.append(_ticket_events(tickets))
    return (
        reduce(lambda left, right: left.unionByName(right, allowMissingColumns=True), events)
        .transform(_added_up(moments))
        .transform(_standing)
        .transform(_carried_to_each(moments))
        .transform(_metrics_of(churn_after_days))
    )


def _moments(as_of: Iterable[date]) -> list[datetime]:
    moments = [datetime.combine(day, time(), UTC) for day in sorted(set(as_of))]
    if not moments:
        raise UsageError("There is no as-of date.", hint="Give at least one date.")
    return moments


def _purchase_events(purchases: DataFrame) -> DataFrame:
    return purchases.select(
        "customer_id",
        F.col("purchased_at").alias("at"),
        F.lit(1).alias("purchases"),
        F.col("amount").cast("decimal(18,2)").alias("spent"),
        F.col("purchased_at").alias("last_purchase_at"),
        F.col("purchased_at").alias("known_since"),
        F.lit(0).alias("tickets"),
    )


def _account_events(accounts: DataFrame) -> DataFrame:
    return accounts.select("customer_id", F.col("opened_at").alias("at"), F.col("opened_at").alias("known_since"))


def _ticket_events(tickets: DataFrame) -> DataFrame:
    return tickets.select("customer_id", F.col("opened_at").alias("at"), F.lit(1).alias("tickets"))


def _added_up(moments: list[datetime]) -> Callable[[DataFrame], DataFrame]:
    """Sum a customer's events at the first as-of moment after them: the news of that moment."""
    # A CASE, not filter(array(...), lambda): Spark 4.1 fails to plan such lambdas above a union
    # (NoSuchElementException in the union's constraints).
    number = F.when(F.col("at") < F.lit(moments[0]), 0)
    for place, moment in enumerate(moments[1:], 1):
        number = number.when(F.col("at") < F.lit(moment), place)

    def step(events: DataFrame) -> DataFrame:
        return (
            events.filter(F.col("at") < F.lit(moments[-1]))
            .groupBy("customer_id", number.alias("news_at"))
            .agg(
                F.sum("purchases").alias("purchases"),
                F.sum("spent").alias("spent"),
                F.max("last_purchase_at").alias("last_purchase_at"),
                F.min("known_since").alias("known_since"),
                F.sum("tickets").alias("tickets"),
            )
        )

    return step


def _standing(news: DataFrame) -> DataFrame:
    """A customer's totals from each moment with news until the next one: the sums of the news so far."""
    in_order = Window.partitionBy("customer_id").orderBy("news_at")
    so_far = in_order.rowsBetween(Window.unboundedPreceding, Window.currentRow)
    return news.select(
        "customer_id",
        "news_at",
        F.lead("news_at").over(in_order).alias("next_news_at"),
        F.coalesce(F.sum("purchases").over(so_far), F.lit(0)).alias("purchases"),
        F.coalesce(F.sum("spent").over(so_far), F.lit(0)).alias("spent"),
        F.max("last_purchase_at").over(so_far).alias("last_purchase_at"),
        F.min("known_since").over(so_far).alias("known_since"),
        F.coalesce(F.sum("tickets").over(so_far), F.lit(0)).alias("tickets"),
    ).filter("known_since IS NOT NULL")


def _carried_to_each(moments: list[datetime]) -> Callable[[DataFrame], DataFrame]:
    """One row per as-of moment at which these totals apply."""
    until = F.coalesce("next_news_at", F.lit(len(moments)))
    stands = F.slice(F.array(*map(F.lit, moments)), F.col("news_at") + 1, until - F.col("news_at"))

    def step(standing: DataFrame) -> DataFrame:
        return standing.withColumn("event_timestamp", F.explode(stands))

    return step


def _metrics_of(churn_after_days: int) -> Callable[[DataFrame], DataFrame]:
    today = F.to_date("event_timestamp")
    age = F.datediff(today, F.to_date("known_since"))
    quiet_since = F.to_date(F.coalesce("last_purchase_at", "known_since"))
    bought = F.col("purchases") > 0

    def step(rows: DataFrame) -> DataFrame:
        return rows.select(
            "customer_id",
            F.col("purchases").alias("total_purchases"),
            F.col("spent").cast("double").alias("customer_lifetime_value"),
            F.when(bought, F.round(F.col("spent") / F.col("purchases"), 2)).cast("double").alias("avg_purchase_value"),
            F.datediff(today, F.to_date("last_purchase_at")).alias("days_since_last_purchase"),
            F.round(F.col("purchases") * F.lit(float(FREQUENCY_DAYS)) / age, 4).alias("purchase_frequency"),
            age.alias("account_age_days"),
            F.col("tickets").alias("support_tickets"),
            (F.datediff(today, quiet_since) > churn_after_days).alias("churned"),
            "event_timestamp",
            F.col("event_timestamp").alias("created_at"),
        )

    return step
