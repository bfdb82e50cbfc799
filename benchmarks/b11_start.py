"""B11: cold starts: `asgard --help` against an empty Python program, and a job's start against an empty Spark job."""

import subprocess
import sys
from pathlib import Path

from asgard.common.java import Purpose, find_java
from asgard.common.settings import Settings
from asgard.common.spark_utils import spark_jars
from benchmarks.harness import Row, interleave, parse, project, ratio, report, spread

EMPTY = """
from pyspark.sql import SparkSession
spark = (
    SparkSession.builder.master("local[*]")
    .config("spark.jars", {jars!r})
    .config("spark.driver.memory", "1g")
    .config("spark.ui.enabled", "false")
    .config("spark.driver.host", "127.0.0.1")
    .config("spark.sql.extensions", "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions")
    .getOrCreate()
)
assert spark.range(10).count() == 10
"""
OURS = """
from asgard.common.settings import load_settings
from asgard.lakehouse.catalog.lake import Lakehouse
lake = Lakehouse.connect(load_settings({{"project_dir": {folder!r}}}), "b11")
assert lake.spark.range(10).count() == 10
"""


def main() -> None:
    """Run the benchmark."""
    options = parse(__doc__)
    asgard = str(Path(sys.executable).parent / "asgard")
    with project() as settings:
        help_times = interleave(
            {"help": lambda: run(asgard, "--help"), "pass": lambda: run(sys.executable, "-c", "pass")},
            options.rounds * 2,
        )
        job_times = interleave(
            {
                "job": lambda: run(sys.executable, "-c", OURS.format(folder=str(settings.project_dir))),
                "empty": lambda: run(sys.executable, "-c", empty_job(settings), settings=settings),
            },
            options.rounds,
        )
    over = sorted(a - b for a, b in zip(help_times["help"], help_times["pass"], strict=True))[options.rounds]
    report(
        "b11_start",
        "B11: cold starts",
        f"{options.rounds * 2} and {options.rounds} rounds",
        [
            Row("`asgard --help`", spread(help_times["help"])),
            Row("`python -c pass`", spread(help_times["pass"])),
            Row("`asgard --help`, over `python -c pass`", f"{over:.2f} s", "<= 0.3 s"),
            Row("a job that starts Spark and counts ten rows", spread(job_times["job"])),
            Row("the same as an empty Spark job", spread(job_times["empty"])),
            Row("ratio", f"{ratio(job_times['job'], job_times['empty']):.2f} x", "<= 1.2 x"),
        ],
        quick=options.quick,
    )


def empty_job(settings: Settings) -> str:
    """Return a Spark job with the same jars, without Asgard."""
    return EMPTY.format(jars=",".join(map(str, spark_jars(settings))))


def run(*command: str, settings: Settings | None = None) -> None:
    """Run one process, and wait until it ends."""
    environment = None
    if settings is not None:
        import os

        environment = {**os.environ, "JAVA_HOME": str(find_java(Purpose.SPARK, settings).home)}
        environment["PYSPARK_PYTHON"] = sys.executable
    subprocess.run(command, check=True, capture_output=True, env=environment)


if __name__ == "__main__":
    main()
