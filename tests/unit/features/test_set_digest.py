"""The digest of a training set: equal for equal rows, and only for those."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.examples import examples

from asgard.features.training_sets.digest import digest

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

TEXTS = st.one_of(st.none(), st.text(st.sampled_from(["\x00", "\x1f", "-", "1", ":", "a", ",", "ä", " "]), max_size=4))
ROW = st.tuples(TEXTS, TEXTS, st.one_of(st.none(), st.lists(TEXTS, max_size=3)))


@pytest.fixture(scope="module")
def connection() -> "Iterator[DuckDBPyConnection]":
    """One DuckDB for all examples."""
    made = duckdb.connect()
    made.execute("SET TimeZone = 'UTC'")
    yield made
    made.close()


def of(connection: "DuckDBPyConnection", folder: Path, table: pa.Table) -> str:
    """The digest of some rows."""
    pq.write_table(table, folder / "rows.parquet")
    return digest(connection, folder / "rows.parquet")


def rows_of(rows: list[Any]) -> pa.Table:
    """Two texts and a list of them."""
    schema = pa.schema([("a", pa.string()), ("b", pa.string()), ("c", pa.list_(pa.string()))])
    return pa.Table.from_pylist([dict(zip("abc", row, strict=True)) for row in rows], schema)


@settings(max_examples=examples(100), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(ROW, max_size=3), st.lists(ROW, max_size=3))
def test_digests_are_equal_where_the_rows_are(
    connection: "DuckDBPyConnection", tmp_path: Path, one: list[Any], other: list[Any]
) -> None:
    digests = [of(connection, tmp_path, rows_of(rows)) for rows in (one, other)]
    assert (digests[0] == digests[1]) == (sorted(map(repr, one)) == sorted(map(repr, other)))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((None, "a", None), ("\x00", "a", None)),
        (("a\x1fb", "c", None), ("a", "b\x1fc", None)),
        ((None, None, None), ("-", None, None)),
        (("1:a", None, None), ("a", None, None)),
        ((None, None, ["a, b"]), (None, None, ["a", "b"])),
        ((None, None, []), (None, None, None)),
        ((None, None, [None]), (None, None, ["NULL"])),
        ((None, None, []), (None, None, [""])),
    ],
)
def test_what_a_simpler_text_would_not_tell_apart(
    connection: "DuckDBPyConnection", tmp_path: Path, one: Any, other: Any
) -> None:
    assert of(connection, tmp_path, rows_of([one])) != of(connection, tmp_path, rows_of([other]))


VALUES: list[tuple[pa.DataType, list[Any]]] = [
    (pa.float64(), [0.1, 0.2, math.nan, math.inf, -0.0, 0.0, None]),
    (pa.binary(), [b"a", b"\\x61", b"61", b"", None]),
    (pa.list_(pa.list_(pa.int64())), [[[1], [2]], [[1, 2]], [[1, 2], []], [None, [1, 2]], [], None]),
    (pa.struct([("x", pa.string()), ("y", pa.string())]), [{"x": "a", "y": None}, {"x": None, "y": "a"}, None]),
    (pa.map_(pa.string(), pa.int64()), [[("a", 1)], [("a", None)], [("a", 1), ("b", 2)], [], None]),
    (pa.timestamp("us", tz="UTC"), [0, 1, None]),
]


@pytest.mark.parametrize(("kind", "values"), VALUES, ids=lambda value: str(value)[:12])
def test_every_value_has_a_digest_of_its_own(
    connection: "DuckDBPyConnection", tmp_path: Path, kind: pa.DataType, values: list[Any]
) -> None:
    tables = [pa.table({"a": pa.array([value], kind)}) for value in values]
    assert len({of(connection, tmp_path, table) for table in tables}) == len(values)


def test_order_files_and_widths_do_not_count(connection: "DuckDBPyConnection", tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    for name, numbers in (("1", [3, 1]), ("2", [2])):
        pq.write_table(pa.table({"a": pa.array(numbers, pa.int64()), "b": ["x"] * len(numbers)}), folder / name)
        (folder / name).rename(folder / f"{name}.parquet")
    one = of(connection, tmp_path, pa.table({"b": ["x"] * 3, "a": pa.array([1, 2, 3], pa.int16())}))
    assert one == digest(connection, folder)


@pytest.mark.parametrize(
    "other",
    [
        pa.table({"b": pa.array([1], pa.int64())}),
        pa.table({"a": pa.array(["1"])}),
        pa.table({"a": pa.array([1.0], pa.float64())}),
        pa.table({"a": pa.array([1, 1], pa.int64())}),
    ],
    ids=["name", "text", "double", "twice"],
)
def test_names_kinds_and_numbers_of_rows_count(
    connection: "DuckDBPyConnection", tmp_path: Path, other: pa.Table
) -> None:
    one = of(connection, tmp_path, pa.table({"a": pa.array([1], pa.int64())}))
    assert one != of(connection, tmp_path, other)
