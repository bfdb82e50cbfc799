"""The hash of a row tells every value from every other, nulls and nested ones included."""

from itertools import combinations
from typing import Any

import pytest
from pyspark.sql import SparkSession

from asgard.lakehouse.freshness.spark_reads import JobsStarted, reads_of
from asgard.lakehouse.runs.equal_rows import row_hash


@pytest.mark.parametrize(
    ("types", "rows"),
    [
        ("a int, b int", [(None, 5), (5, None), (None, None), (5, 5), (0, 5)]),
        ("a string, b string", [("", None), (None, ""), ("", ""), ("x", ""), ("", "x"), (None, None)]),
        ("a array<int>", [(None,), ([],), ([None],), ([None, None],), ([1],), ([1, None],), ([None, 1],)]),
        ("a struct<x:int,y:int>", [(None,), ((None, None),), ((1, None),), ((None, 1),)]),
        ("a array<struct<x:int,y:array<int>>>", [(None,), ([],), ([None],), ([(None, None)],), ([(None, [])],)]),
        ("a map<string,int>", [(None,), ({},), ({"x": None},), ({"x": 1},), ({"y": 1},)]),
        ("a double", [(None,), (0.0,), (1.5,), (float("nan"),)]),
        ("a binary, b boolean", [(b"", None), (b"x", True), (b"x", False), (None, False)]),
    ],
)
def test_different_rows_have_different_hashes(spark: SparkSession, types: str, rows: list[Any]) -> None:
    frame = spark.createDataFrame(rows, types).coalesce(1)
    found = [row[0] for row in frame.select(row_hash(frame, 1)).collect()]
    assert all(one != other for one, other in combinations(found, 2)), list(zip(rows, found, strict=True))
    again = spark.createDataFrame(rows, types).coalesce(1)
    assert [row[0] for row in again.select(row_hash(again, 1)).collect()] == found


def test_a_job_is_noticed_at_once(spark: SparkSession) -> None:
    for _ in range(20):
        jobs = JobsStarted(spark)
        frame = spark.range(3)
        assert not jobs.any
        frame.count()
        assert jobs.any


def test_a_plan_that_hides_what_it_reads_is_opaque(spark: SparkSession) -> None:
    cached = spark.range(3).selectExpr("id + 1 AS id").cache()
    try:
        assert reads_of(cached.where("id > 1"), {}).opaque
    finally:
        cached.unpersist()
    assert reads_of(spark.createDataFrame([(1,)], "id int"), {}).opaque
    assert not reads_of(spark.range(3).toDF("id"), {}).opaque
