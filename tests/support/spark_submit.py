"""The real spark-submit."""

import os
import subprocess
import sys
from pathlib import Path

import pyspark

from asgard.common.java import Purpose, find_java
from asgard.common.settings import Settings
from asgard.common.spark_utils import spark_jars


def submit(project: Settings, job: Path, zips: list[Path], arguments: list[str]) -> "subprocess.CompletedProcess[str]":
    """Run spark-submit as a user does."""
    command = [
        str(Path(pyspark.__file__).parent / "bin" / "spark-submit"),
        *("--master", "local[2]"),
        *("--conf", "spark.ui.enabled=false"),
        *("--jars", ",".join(map(str, spark_jars(project)))),
        *("--py-files", ",".join(map(str, zips))),
        str(job),
        *arguments,
    ]
    environment = {
        **os.environ,
        "JAVA_HOME": str(find_java(Purpose.SPARK, project).home),
        "PYSPARK_PYTHON": sys.executable,
    }
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300, check=False)


def call(job: Path, package: Path, arguments: list[str]) -> "subprocess.CompletedProcess[str]":
    """Run a job's file by Python with the zip, without spark-submit: for errors before Spark starts."""
    command = [sys.executable, str(job), *arguments]
    environment = {**os.environ, "PYTHONPATH": str(package)}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300, check=False)
