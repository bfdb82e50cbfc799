"""The churn pipeline's own times: generate, ingest, cleanse, aggregate, each published by an audited run."""

import tempfile
import time
from pathlib import Path

from asgard.jobs import backfill_job, ingest_job
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.declaring.loading import load_pipeline
from benchmarks.harness import Row, parse, project, report
from examples.retail.generate import generate

TABLES = ("customers", "transactions", "tickets")


def main() -> None:
    """Run the pipeline once, in an empty project."""
    options = parse(__doc__)
    customers = 2_000 if options.quick else 100_000
    seconds: dict[str, float] = {}
    with project() as settings, tempfile.TemporaryDirectory(prefix="asgard-churn-") as folder:
        start = time.perf_counter()
        generate(Path(folder), customers=customers)
        seconds["generate"] = time.perf_counter() - start
        lake = Lakehouse.connect(settings, "pipeline times")
        lake.spark.range(1).count()
        pipeline = load_pipeline("examples.retail.churn")

        start = time.perf_counter()
        for name in TABLES:
            table = ingest_job.bronze_table(f"bronze.churn_{name}", "examples.retail.churn")
            params = ingest_job.Params(table=table, sources=(str(Path(folder) / name),))
            ingest_job.run(params, lake, lambda _line: None)
        seconds["ingest"] = time.perf_counter() - start

        for step, pattern in (("cleanse", "silver.*"), ("aggregate", "gold.*")):
            start = time.perf_counter()
            backfill_job.run(backfill_job.Params(select=(pattern,)), lake, pipeline, lambda _line: None)
            seconds[step] = time.perf_counter() - start
        counts = {name: lake.spark.table(f"lake.silver.churn_{name}_cleaned").count() for name in TABLES}
    report(
        "pipeline_times",
        "The churn pipeline's own times",
        f"{customers:,} customers; rows that survive: " + ", ".join(f"{n} {c:,}" for n, c in counts.items()),
        [
            Row("generate the files", f"{seconds['generate']:.1f} s"),
            Row("ingest them into bronze (three runs)", f"{seconds['ingest']:.1f} s"),
            Row("cleanse into silver (one run)", f"{seconds['cleanse']:.1f} s", "far below 300 s"),
            Row("aggregate into gold (one run)", f"{seconds['aggregate']:.1f} s", "far below 180 s"),
        ],
        quick=options.quick,
    )


if __name__ == "__main__":
    main()
