"""A complete batch prediction by `asgard batch-predict`, in a separate process.

A hundred thousand entities of twenty features: MLflow, verification, Spark's start, the latest rows, scoring, the audit
on a branch, the publish. The command line also trains and promotes the model.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

import duckdb

from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.declaring.declaration import declare_table
from asgard.lakehouse.runs.run import RunRequest, execute
from benchmarks.harness import Row, parse, project, report, spread

FEATURES = tuple(f"f{number:02d}" for number in range(20))
_PIPELINE = """
from asgard import Pipeline
from asgard.features.views import Feature, feature_view
from asgard.model.declaration import model

shop = Pipeline("shop")
shop.source("gold.customers")
features = [Feature(f"f{number:02d}", "double") for number in range(20)]
shop.add(feature_view("customers", table="gold.customers", keys=("customer_id",), features=features))


def boosting(data):
    import lightgbm

    params = {"objective": "binary", "verbosity": -1, "num_threads": 1, "seed": data.seed}
    return lightgbm.train(params, lightgbm.Dataset(data.features, data.target), 100)


shop.add(
    model("churn", labels="labels.parquet", target="left", views=("customers",), trainer=boosting, test_share=0.2)
)
"""


def main() -> None:
    """Run the benchmark."""
    options = parse(__doc__)
    rows = 5_000 if options.quick else 100_000
    seconds = []
    with project("mlflow") as settings:
        folder = Path(settings.project_dir)
        (folder / "pipeline.py").write_text(_PIPELINE, encoding="utf-8")
        make_labels(folder / "labels.parquet", rows)
        for round_number in range(options.rounds):
            publish(Lakehouse.connect(settings, "b05"), folder, rows, round_number)
            command(folder, "features", "apply", "-p", "pipeline.py", "--no-feast")
            if round_number == 0:
                command(folder, "train", "-p", "pipeline.py", "--model", "churn")
                for stage in ("staging", "production"):
                    command(folder, "model", "promote", "churn@1.0.0", "--to", stage, "--why", "the first")
            seconds.append(command(folder, "batch-predict", "--model", "churn"))
        lake = Lakehouse.connect(settings, "b05")
        assert lake.frame(declare_table("gold.churn_predictions").name, "main").count() == rows * options.rounds
    report(
        "b05_job",
        "A batch prediction from end to end",
        f"{rows:,} entities x {len(FEATURES)} features, LightGBM with 100 trees, {os.cpu_count()} cores, "
        f"{options.rounds} rounds",
        [Row("`asgard batch-predict`, a process of its own", spread(seconds), "far below 5 minutes")],
        quick=options.quick,
    )


def make_labels(path: Path, rows: int) -> None:
    """Write a label for each of some customers."""
    duckdb.connect().execute(
        "COPY (SELECT range AS customer_id, to_timestamp(1704067200 + 86400 + range) AS event_timestamp, "
        f"(random() < 0.3)::INT AS left FROM range({min(rows, 20_000)})) TO '{path}'"
    )


def publish(lake: Lakehouse, folder: Path, rows: int, day: int) -> None:
    """Replace the table by one row for each customer, of one day."""
    values = ", ".join(f"random() AS {feature}" for feature in FEATURES)
    at = f"to_timestamp(1704067200 + {day} * 3600)"
    duckdb.connect().execute(
        f"COPY (SELECT range AS customer_id, {at} AS event_timestamp, {values} FROM range({rows})) "
        f"TO '{folder / 'rows.parquet'}'"
    )
    frame = lake.spark.read.parquet(str(folder / "rows.parquet"))
    table = declare_table("gold.customers", mode="replace")
    execute(lake, RunRequest("b05"), lambda attempt: attempt.write(table, frame), lambda _line: None)


def command(folder: Path, *arguments: str) -> float:
    """Run `asgard`, and return the seconds."""
    began = time.perf_counter()
    words = [sys.executable, "-m", "asgard.cli", *arguments, "--dir", str(folder)]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(arguments)}: {done.stdout}{done.stderr}")
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
