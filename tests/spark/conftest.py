"""One Spark session for all tests of this folder."""

import sys
from collections.abc import Iterator

import pytest
from pyspark.sql import SparkSession

from asgard.common.settings import set_for_children


@pytest.fixture(scope="session")
def spark() -> Iterator[SparkSession]:
    """A local session in UTC with few shuffle partitions."""
    set_for_children("PYSPARK_PYTHON", sys.executable)
    session = (
        SparkSession.builder.master("local[2]")
        .config("spark.sql.shuffle.partitions", "4")
        .config("spark.ui.enabled", "false")
        .config("spark.sql.session.timeZone", "UTC")
        .getOrCreate()
    )
    session.sparkContext.setLogLevel("OFF")
    yield session
    session.stop()
