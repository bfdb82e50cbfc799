"""An on-demand function that fails in Spark's workers is named as it is everywhere else."""

from pathlib import Path

import pytest
from pyspark.sql import SparkSession
from tests.support.on_demand import OVER_FLOATS, OVER_FLOATS_FAILURE, declared, of_decimals

from asgard.common.errors import UsageError
from asgard.common.spark_utils import explained
from asgard.features.joins.joining import Join
from asgard.features.joins.spark_join import with_on_demand_frame


def test_over_decimals(spark: SparkSession, tmp_path: Path) -> None:
    join = Join.of((of_decimals(),), ("customer_id",), (declared(tmp_path, OVER_FLOATS),))
    frame = spark.sql("SELECT 5L AS customer_id, 3L AS visits, CAST(10 AS DECIMAL(10, 2)) AS spend")
    with pytest.raises(UsageError, match=OVER_FLOATS_FAILURE) as caught, explained("Predicting"):
        with_on_demand_frame(frame, join).collect()
    assert "spend.astype(float)" in caught.value.hint
