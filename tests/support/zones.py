"""The time zone of a process, as Java, Spark's executors in it, and Python see it."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

ZONES = ("UTC", "Europe/Berlin", "Asia/Shanghai")


@contextmanager
def process_zone(spark: "SparkSession", name: str) -> Iterator[None]:
    """Another zone for a block; Spark's own setting stays."""
    zones: Any = spark._jvm.java.util.TimeZone  # type: ignore[union-attr]
    before, variable = zones.getDefault(), os.environ.get("TZ")
    zones.setDefault(zones.getTimeZone(name))
    os.environ["TZ"] = name
    time.tzset()
    try:
        yield
    finally:
        zones.setDefault(before)
        os.environ.pop("TZ") if variable is None else os.environ.update(TZ=variable)
        time.tzset()
