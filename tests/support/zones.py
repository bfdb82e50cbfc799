"""The time zone of a process, for Java, for Spark's executors in the process, and for Python."""

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
    """Use another time zone for a block; Spark's own setting is unchanged."""
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
