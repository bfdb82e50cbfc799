"""Windowed aggregates of the newest day: from partials, against recomputing all 90 days.

Twenty million events of 90 days; each day's active customers have about ten events. Both sides write the same rows as
of the newest midnight: one side from every event of the window, the other from the newest day's events and the partials
of the days before, which earlier runs wrote.
"""

import shutil
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pyspark.sql import functions as F

from asgard.common.settings import load_settings
from asgard.common.spark_utils import open_session
from asgard.features.windows import aggregate, duration, windowed
from benchmarks.harness import Row, interleave, parse, ratio, report, spread

START, DAYS = datetime(2024, 1, 1, tzinfo=UTC), 90
OVER = ("7d", "30d", "90d")
DECLARED = windowed(
    keys="customer_id",
    at="at",
    aggregates=[
        aggregate("count", over=OVER),
        aggregate("sum", "amount", over=OVER),
        aggregate("mean", "amount", over=OVER),
        aggregate("min", "amount", over=OVER),
        aggregate("max", "amount", over=OVER),
        aggregate("last", "amount", over="90d"),
    ],
)


def main() -> None:
    """Run the benchmark."""
    options = parse(__doc__)
    events, customers = (2_000_000, 20_000) if options.quick else (20_000_000, 200_000)
    active = customers // 10
    with tempfile.TemporaryDirectory(prefix="asgard-windows-") as name:
        folder = Path(name)
        settings = load_settings({"project_dir": name, "spark_driver_memory": "4g"})
        spark = open_session(settings, "windows", {}, {})
        per_day = events // DAYS
        # A different tenth of the customers is active each day.
        spark.range(events).selectExpr(
            f"date_add(DATE'2024-01-01', CAST(id % {DAYS} AS INT)) AS day",
            f"timestamp_micros(unix_micros(TIMESTAMP'2024-01-01') + (id % {DAYS}) * 86400000000 "
            "+ CAST(rand(1) * 86399000000 AS BIGINT)) AS at",
            f"CAST(rand(2) * {active} AS BIGINT) * 10 + (id % {DAYS}) % 10 AS customer_id",
            "CAST(rand(3) * 100 AS DECIMAL(10,2)) AS amount",
        ).repartition("day").write.partitionBy("day").parquet(f"{folder}/events")
        all_events = spark.read.parquet(f"{folder}/events")
        moment = START + timedelta(days=DAYS)
        newest = f"day = DATE'{moment - timedelta(days=1):%Y-%m-%d}'"
        earlier = DECLARED.partials(all_events.where(f"NOT {newest}"))
        earlier.selectExpr("*", "DATE(bucket) AS day").repartition("day").write.partitionBy("day").parquet(
            f"{folder}/partials"
        )
        # Only for its schema, which a real table has without reading files.
        kept = spark.read.parquet(f"{folder}/partials").drop("day")

        def whole() -> None:
            DECLARED.compute(all_events, [moment]).write.mode("overwrite").parquet(f"{folder}/whole")

        def by_hand() -> None:
            conditions = {window: f"at >= TIMESTAMP'{moment - duration(window):%Y-%m-%d}'" for window in OVER}
            columns = []
            for window, inside in conditions.items():
                value = f"CASE WHEN {inside} THEN amount END"
                columns += [f"count_if({inside}) AS count_{window}", f"sum({value}) AS amount_sum_{window}"]
                columns += [f"avg({value}) AS amount_mean_{window}", f"min({value}) AS amount_min_{window}"]
                columns += [f"max({value}) AS amount_max_{window}"]
            columns.append("max_by(amount, at) AS amount_last_90d")
            all_events.groupBy("customer_id").agg(*map(F.expr, columns)).write.mode("overwrite").parquet(
                f"{folder}/by_hand"
            )

        def update() -> None:
            shutil.rmtree(f"{folder}/partials/day={moment - timedelta(days=1):%Y-%m-%d}", ignore_errors=True)
            fresh = DECLARED.partials(all_events.where(newest))
            fresh.selectExpr("*", "DATE(bucket) AS day").write.mode("append").partitionBy("day").parquet(
                f"{folder}/partials"
            )
            partials = spark.read.schema(kept.schema).parquet(f"{folder}/partials")
            DECLARED.combine(partials, [moment]).write.mode("overwrite").parquet(f"{folder}/update")

        seconds = interleave({"whole": whole, "by hand": by_hand, "update": update}, options.rounds)
        one, other = (spark.read.parquet(f"{folder}/{side}") for side in ("whole", "update"))
        exact = [name for name in one.columns if "mean" not in name]
        assert one.select(exact).exceptAll(other.select(exact)).isEmpty()
        assert one.count() == other.count() > 0
        rows = spark.read.parquet(f"{folder}/partials").count()
    report(
        "b04_windows",
        "Windowed aggregates: the newest day from partials",
        f"{events:,} events ({per_day:,} a day), {rows:,} partials, {customers:,} customers, {options.rounds} rounds",
        [
            Row("all 90 days again", spread(seconds["whole"])),
            Row("the newest day's partials, and all partials combined", spread(seconds["update"])),
            Row("the 90 days by a hand-written aggregate", spread(seconds["by hand"])),
            Row("against all 90 days", f"{1 / ratio(seconds['update'], seconds['whole']):.1f} x faster", ">= 5 x"),
            Row("against the hand-written one", f"{1 / ratio(seconds['update'], seconds['by hand']):.1f} x faster"),
        ],
        quick=options.quick,
    )


if __name__ == "__main__":
    main()
