"""Rows of equal timestamps that differ in arrays only: DuckDB = Spark = Python's own order, nulls least."""

import random
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, cast

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.examples import examples

from asgard.features.joins.duck import TIME, join_sql
from asgard.features.joins.spark_join import joined_frame
from asgard.features.pinned import PinnedTable, PinnedView
from asgard.features.views import Feature, feature_view

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection
    from pyspark.sql import SparkSession

VIEW = PinnedView(
    feature_view(
        "points",
        table="gold.points",
        keys=("world",),
        features=[Feature("words", "array<string>"), Feature("grid", "array<array<double>>")],
    ),
    cast("PinnedTable", None),
)
NAMES = [("words", "words"), ("grid", "grid")]
WORDS, NUMBERS = ["", "a", "ä", None], [0.5, -1.0, float("inf"), None]
words = st.one_of(st.none(), st.lists(st.sampled_from(WORDS), max_size=3))
grids = st.one_of(st.none(), st.lists(st.one_of(st.none(), st.lists(st.sampled_from(NUMBERS), max_size=2)), max_size=2))
worlds = st.lists(st.tuples(words, grids), min_size=1, max_size=6)
Row = tuple[Any, Any]


def order(value: Any) -> tuple[Any, ...]:
    """Greater is better; null is the least, inside an array too, and what is shorter comes first."""
    if value is None:
        return (0,)
    if isinstance(value, list):
        return (1, [order(item) for item in value])
    return (1, value.encode() if isinstance(value, str) else value)


def best(rows: list[Row]) -> Row:
    """What counts of rows of one moment."""
    return max(rows, key=lambda row: (order(row[0]), order(row[1])))


def tables(every: list[list[Row]]) -> tuple[pa.Table, pa.Table]:
    """Feature rows and one label for each world, as Arrow."""
    flat = [(world, *row) for world, rows in enumerate(every) for row in rows]
    numbers = pa.int64()
    features = pa.table(
        {
            "world": pa.array([row[0] for row in flat], numbers),
            "event_timestamp": pa.array([7] * len(flat), pa.timestamp("us", tz="UTC")),
            "words": pa.array([row[1] for row in flat], pa.list_(pa.string())),
            "grid": pa.array([row[2] for row in flat], pa.list_(pa.list_(pa.float64()))),
        }
    )
    labels = {"__key_world": pa.array(range(len(every)), numbers), TIME: pa.array([7] * len(every), numbers)}
    return features, pa.table(labels)


def by_duckdb(connection: "DuckDBPyConnection", every: list[list[Row]]) -> list[Row]:
    """What DuckDB takes in each world."""
    features, labels = tables(every)
    connection.register("rows", features)
    connection.register("given", labels)
    sql = join_sql(lambda _table, _columns: "rows", "given", ("__key_world",), [VIEW], [NAMES])
    return connection.execute(f"SELECT words, grid FROM ({sql}) ORDER BY __key_world").fetchall()


@pytest.fixture(scope="module")
def duck() -> "Iterator[DuckDBPyConnection]":
    """One DuckDB for all examples."""
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'; SET threads = 2")
    yield connection
    connection.close()


@settings(max_examples=examples(200), deadline=None)
@given(st.lists(worlds, min_size=1, max_size=5))
def test_duckdb_takes_the_greatest(duck: "DuckDBPyConnection", every: list[list[Row]]) -> None:
    assert by_duckdb(duck, every) == [best(rows) for rows in every]


def test_spark_takes_the_same(spark: "SparkSession", duck: "DuckDBPyConnection") -> None:
    choose = random.Random(5)

    def some(items: list[Any], most: int) -> list[Any]:
        return [choose.choice(items) for _ in range(choose.randrange(most + 1))]

    every = [
        [
            (
                choose.choice([None, some(WORDS, 3), some(WORDS, 3)]),
                choose.choice([None, [choose.choice([None, some(NUMBERS, 2)]) for _ in range(choose.randrange(3))]]),
            )
            for _ in range(choose.randrange(1, 6))
        ]
        for _ in range(2_000)
    ]
    expected = [best(rows) for rows in every]
    assert sum(None in (row[0] or ()) for row in expected) > 50
    features, labels = (spark.createDataFrame(table) for table in tables(every))
    joined = joined_frame(lambda _table: features, labels, [VIEW], [NAMES]).orderBy("__key_world").collect()
    assert [(row.words, row.grid) for row in joined] == expected
    assert by_duckdb(duck, every) == expected
