"""B10: one `asgard backfill` of 300 daily intervals against a Spark job for each day.

The other side is what an orchestrator without intervals starts: a plain Spark program that reads one day, aggregates
it and overwrites its partition, without a branch and without checks. Some days are measured, spread over the whole
range; the time of all days is their median times 300. The rows of these days are the same on both sides.
"""

import json
import statistics
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from asgard.common.java import Purpose, find_java
from asgard.common.names import TableName
from asgard.common.settings import Settings
from asgard.lakehouse.catalog.lake import CATALOG, Lakehouse, identifier
from asgard.lakehouse.declaring.declaration import declare_table
from asgard.lakehouse.runs.run import RunRequest, execute
from benchmarks.harness import Row, parse, project, report

START = datetime(2024, 1, 1, tzinfo=UTC)
PIPELINE = """
from pyspark.sql import functions as F

from asgard import Daily, Pipeline, checks

pipeline = Pipeline("b10", start="2024-01-01", end="{end}")
pipeline.source("bronze.sales", columns="sold_at timestamp, shop int, amount bigint", interval=Daily("sold_at"))


@pipeline.table(
    "silver.shops",
    inputs={{"sales": "bronze.sales"}},
    interval=Daily("day"),
    checks=[checks.not_null("shop"), checks.unique("day", "shop")],
)
def shops(sales, interval):
    inside = (F.col("sold_at") >= F.lit(interval.start)) & (F.col("sold_at") < F.lit(interval.end))
    day = F.date_trunc("day", "sold_at").alias("day")
    return sales.where(inside).groupBy(day, "shop").agg(F.sum("amount").alias("amount"), F.count("*").alias("sales"))
"""
EACH_DAY = """
import json
import sys
from datetime import datetime, timedelta, UTC

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

builder = SparkSession.builder.master("local[*]")
for name, value in json.loads(sys.argv[1]).items():
    builder = builder.config(name, value)
spark = builder.getOrCreate()
start = datetime.fromisoformat(sys.argv[2])
inside = (F.col("sold_at") >= F.lit(start)) & (F.col("sold_at") < F.lit(start + timedelta(days=1)))
rows = spark.table("lake.bronze.sales").where(inside)
day = F.date_trunc("day", "sold_at").alias("day")
rows = rows.groupBy(day, "shop").agg(F.sum("amount").alias("amount"), F.count("*").alias("sales"))
rows.writeTo("lake.silver.plain").overwritePartitions()
"""
_NEEDED = ("spark.jars", "spark.driver.memory", "spark.ui.enabled", "spark.driver.host", "spark.sql.")


def main() -> None:
    """Run the benchmark."""
    options = parse(__doc__)
    days, rows = (30, 60_000) if options.quick else (300, 3_000_000)
    measured = [START + timedelta(days=days * number // options.rounds) for number in range(options.rounds)]
    with project() as settings:
        pipeline = Path(settings.project_dir) / "b10.py"
        pipeline.write_text(PIPELINE.format(end=f"{START + timedelta(days=days):%Y-%m-%d}"))
        lake = Lakehouse.connect(settings, "b10")
        prepare(lake, days, rows)
        session = session_of(lake)
        each = [seconds_of([sys.executable, "-c", EACH_DAY, session, day.isoformat()], settings) for day in measured]
        asgard = str(Path(sys.executable).parent / "asgard")
        command = [asgard, "backfill", "-p", str(pipeline), "--dir", str(settings.project_dir)]
        one = seconds_of(command, settings)
        require_equal(lake, measured)
    every = statistics.median(each) * days
    report(
        "b10_backfill",
        "B10: a backfill against a job for each day",
        f"{days} days, {rows:,} rows; {options.rounds} of the jobs for one day",
        [
            Row(f"`asgard backfill` of {days} days, audited, one publish", f"{one:.0f} s"),
            Row("a Spark job for one day", f"{statistics.median(each):.1f} s ({min(each):.1f} to {max(each):.1f})"),
            Row(f"the same for {days} days", f"{every:,.0f} s"),
            Row("ratio", f"{every / one:.0f} x", ">= 10 x"),
        ],
        quick=options.quick,
    )


def prepare(lake: Lakehouse, days: int, rows: int) -> None:
    """Fill the source, and create the table of the other side as Asgard creates its own."""
    spark = lake.spark
    sold = spark.range(rows).selectExpr(
        f"timestamp'2024-01-01' + make_interval(0, 0, 0, id % {days}, 0, 0, id % 86399) AS sold_at",
        "cast(id * 7919 % 100 AS int) AS shop",
        "id * 31 % 1000 AS amount",
    )
    source = declare_table("bronze.sales", partitioned_by=["day(sold_at)"])
    execute(lake, RunRequest("b10"), lambda attempt: attempt.write(source, sold))
    empty = spark.createDataFrame([], "day timestamp, shop int, amount bigint, sales bigint")
    plain = declare_table("silver.plain", partitioned_by=["day(day)"])
    execute(lake, RunRequest("b10"), lambda attempt: attempt.write(plain, empty))


def session_of(lake: Lakehouse) -> str:
    """The configuration of a plain session on the same catalog, as JSON."""
    found = {
        name: value
        for name, value in lake.spark.sparkContext.getConf().getAll()
        if name.startswith((*_NEEDED, f"spark.sql.catalog.{CATALOG}"))
    }
    return json.dumps({name: value for name, value in found.items() if "shuffle" not in name})


def seconds_of(command: list[str], settings: Settings) -> float:
    """Run one process, and measure it."""
    import os

    environment = {**os.environ, "JAVA_HOME": str(find_java(Purpose.SPARK, settings).home)}
    environment["PYSPARK_PYTHON"] = sys.executable
    begun = time.perf_counter()
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    sys.stderr.write(f"{time.perf_counter() - begun:.1f} s\n")
    return time.perf_counter() - begun


def require_equal(lake: Lakehouse, measured: list[datetime]) -> None:
    """Compare the rows of the measured days."""
    found = []
    for name in ("shops", "plain"):
        rows = lake.spark.table(identifier(TableName("silver", name), "main"))
        found.append(sorted(tuple(row) for row in rows.where(rows["day"].isin(measured)).collect()))
    assert found[0] == found[1], "the sides differ"
    assert found[0], "nothing was computed"


if __name__ == "__main__":
    main()
