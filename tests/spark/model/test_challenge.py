"""Spark and Python send each entity to the same side."""

import random
from datetime import date, timedelta

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from asgard.common.errors import UsageError
from asgard.model.batch.challenge import Side, assigned, assigned_column

SCHEMA = "name string, number bigint, small int, flag boolean, day date"


def test_every_entity_gets_the_same_side(spark: SparkSession) -> None:
    draw = random.Random(7)
    letters = "aZ9 :-é語🎈\u0000\u0301"
    rows = [
        (
            draw.choice([None, "".join(draw.choices(letters, k=draw.randrange(6)))]),
            draw.choice([None, 0, -1, 2**63 - 1, -(2**63), draw.randrange(10**9)]),
            draw.randrange(-1000, 1000),
            draw.choice([True, False, None]),
            date(1970, 1, 1) + timedelta(days=draw.randrange(-20_000, 40_000)),
        )
        for _ in range(3_000)
    ]
    frame = spark.createDataFrame(rows, SCHEMA)
    for salt, share in (("churn@1.2.0", 0.3), ("é:", 0.5), ("", 0.999)):
        side = assigned_column(frame, frame.columns, share, salt)
        found = frame.select("*", side.alias("side")).collect()
        expected = [assigned(tuple(row)[:-1], share, salt) for row in found]
        assert [row["side"] for row in found] == expected
        assert set(expected) == set(Side)


def test_a_column_with_an_odd_name_and_no_entities(spark: SparkSession) -> None:
    frame = spark.range(10).withColumnRenamed("id", "customer.id")
    side = assigned_column(frame, ["customer.id"], 0.5, "s")
    assert [row[0] for row in frame.select(side).collect()] == [assigned((n,), 0.5, "s") for n in range(10)]
    assert frame.where(F.lit(False)).select(side).collect() == []


@pytest.mark.parametrize("key", ["amount", "at", "nowhere"])
def test_what_has_no_one_text_is_refused(spark: SparkSession, key: str) -> None:
    frame = spark.range(1).selectExpr("id", "double(id) AS amount", "current_timestamp() AS at")
    with pytest.raises(UsageError, match=rf"can't be split by {key} \("):
        assigned_column(frame, ["id", key], 0.5, "s")
