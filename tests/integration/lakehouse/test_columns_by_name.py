"""Columns and fields of structs by name, through every write mode, declared columns and schema changes."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pyspark.sql import DataFrame, SparkSession
from tests.conftest import Fresh
from tests.support.runs import days, declared, rows_of, run_work, write_rows
from tests.support.structs import Kind, grown, kinds, plain

from asgard import Daily
from asgard.common.errors import ContractError, DeclarationError, InputDataError
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.declaring.declaration import Table
from asgard.lakehouse.declaring.intervals import TimeRange
from asgard.lakehouse.runs.attempt import Attempt
from asgard.lakehouse.runs.run import Status

Rows = Mapping[int, list[Any]]
"""Rows by their id: a value for each column."""
IN_ORDER = "named_struct('a', {a}, 'b', {b})"
SWAPPED = "named_struct('b', {b}, 'a', {a})"


def rows(spark: SparkSession, struct: str, a: int, b: int, key: int = 1) -> DataFrame:
    """One row with a struct alone, in an array, in a map, and deeper."""
    made = struct.format(a=a, b=b)
    return spark.sql(
        f"SELECT {key} AS id, timestamp'2024-01-01 10:00:00' AS at, {made} AS s, array({made}, NULL) AS l, "
        f"map('k', {made}) AS m, array(map('k', named_struct('in', {made}))) AS deep"
    )


def expected(a: int, b: int, key: int = 1) -> tuple[Any, ...]:
    one = {"a": a, "b": b}
    return (key, datetime(2024, 1, 1, 10), one, [one, None], {"k": one}, [{"k": {"in": one}}])


def read(lake: Lakehouse, table: Table) -> list[tuple[Any, ...]]:
    return [tuple(map(plain, row)) for row in rows_of(lake, table.name)]


def column(draw: st.DrawFn) -> tuple[Kind, Kind]:
    """A type of the table, and one of later rows: more fields, wider numbers, another order."""
    kind = draw(kinds())
    return kind, draw(grown(kind))


AB = Kind("struct", (Kind("int"), Kind("int")), ("a", "b"))
BA = Kind("struct", (Kind("int"), Kind("int")), ("b", "a"))
SWAPPED_PLACES = [
    (AB, BA),
    (Kind("array", (AB,)), Kind("array", (BA,))),
    (Kind("map", (AB,)), Kind("map", (BA,))),
    (Kind("struct", (Kind("array", (AB,)),), ("in",)), Kind("struct", (Kind("array", (BA,)),), ("in",))),
]


@st.composite
def writes(draw: st.DrawFn) -> tuple[list[tuple[Kind, Kind]], Rows, Rows]:
    """The columns, the rows of a first write by their ids, and those of a second one."""
    found = SWAPPED_PLACES + [column(draw) for _ in range(8)]
    first = {key: [draw(old.values()) for old, _ in found] for key in (1, 2, 3)}
    second = {key: [draw(new.values()) for _, new in found] for key in (2, 3, 4)}
    return found, first, second


def frame_of(spark: SparkSession, columns: Sequence[Kind], given: Rows, day: Callable[[int], int]) -> DataFrame:
    """Rows with `id`, `at` (a day of January) and `c0`, `c1`, ..."""
    table = {
        "id": pa.array(list(given), pa.int64()),
        "at": pa.array([datetime(2024, 1, day(key), tzinfo=UTC) for key in given], pa.timestamp("us", "UTC")),
    }
    for place, kind in enumerate(columns):
        table[f"c{place}"] = pa.array([kind.to_arrow(row[place]) for row in given.values()], kind.arrow)
    return spark.createDataFrame(pa.table(table))  # type: ignore[arg-type, unused-ignore]


def stored(lake: Lakehouse, table: Table, columns: Sequence[Kind]) -> list[tuple[int, list[Any]]]:
    """The rows by their ids, as Spark reads them: PyIceberg gives an empty list for a null list of structs."""
    rows = lake.frame(table.name, "main").collect()
    return [(row["id"], [plain(row[f"c{place}"]) for place in range(len(columns))]) for row in rows]


def check_every_mode(
    lake: Lakehouse, spark: SparkSession, fresh: Fresh, found: list[tuple[Kind, Kind]], first: Rows, second: Rows
) -> None:
    """Two writes in every mode leave what a plain loop leaves."""
    old, new = [kind for kind, _ in found], [kind for _, kind in found]
    ddl = ", ".join(f"c{place} {kind.ddl}" for place, kind in enumerate(new))
    append = declared(fresh.table(), mode="append")
    merge = declared(fresh.table(), mode="merge", keys=["id"])
    replace = declared(fresh.table(), mode="replace")
    interval = declared(fresh.table(), interval=Daily("at"))
    cast = declared(fresh.table(), columns=f"id bigint, at timestamp, {ddl}")
    tables = [append, merge, replace, interval, cast]

    def write_all(frame: DataFrame, among: Sequence[Table], given: TimeRange) -> Status:
        def work(attempt: Attempt) -> None:
            for table in among:
                attempt.write(table, frame, given if table.interval else None)

        return run_work(lake, work).status

    write_all(frame_of(spark, old, first, lambda key: key), tables[:4], days("2024-01-01", "2024-01-04"))
    write_all(frame_of(spark, new, second, lambda _: 2), tables, days("2024-01-02", "2024-01-03"))
    before = {key: [n.of(o, v) for (o, n), v in zip(found, row, strict=True)] for key, row in first.items()}
    expected = {
        append.name: [*before.items(), *second.items()],
        merge.name: list((before | second).items()),
        replace.name: list(second.items()),
        interval.name: [(key, row) for key, row in before.items() if key != 2] + list(second.items()),
        cast.name: list(second.items()),
    }
    for table in tables:
        rest = list(expected[table.name])
        for row in stored(lake, table, new):
            assert row in rest, (table.mode, ddl)
            rest.remove(row)
        assert rest == [], (table.mode, ddl)
    given = frame_of(spark, new, second, lambda _: 2)
    again = given.select(*reversed(given.columns))
    assert write_all(again, [merge], days("2024-01-02", "2024-01-03")) is Status.UNCHANGED


@settings(
    max_examples=1, deadline=None, suppress_health_check=list(HealthCheck), database=None, phases=[Phase.generate]
)
@given(made=writes())
def test_random_structs_are_written_by_name_in_every_mode(
    lake: Lakehouse, spark: SparkSession, fresh: Fresh, made: tuple[Any, ...]
) -> None:
    check_every_mode(lake, spark, fresh, *made)


@pytest.mark.soak
@settings(
    max_examples=8, deadline=None, suppress_health_check=list(HealthCheck), database=None, phases=[Phase.generate]
)
@given(made=writes())
def test_random_structs_are_written_by_name_in_every_mode_for_long(
    lake: Lakehouse, spark: SparkSession, fresh: Fresh, made: tuple[Any, ...]
) -> None:
    check_every_mode(lake, spark, fresh, *made)


def test_a_merge_sees_that_fields_changed_places_and_values(lake: Lakehouse, spark: SparkSession, fresh: Fresh) -> None:
    table = declared(fresh.table(), mode="merge", keys=["id"])
    write_rows(lake, table, rows(spark, IN_ORDER, 1, 2))
    same = write_rows(lake, table, rows(spark, SWAPPED, 1, 2))
    assert same.status is Status.UNCHANGED
    write_rows(lake, table, rows(spark, SWAPPED, 2, 1))
    assert read(lake, table) == [expected(2, 1)]


def test_a_merge_compares_maps_whatever_the_order_of_their_entries(
    lake: Lakehouse, spark: SparkSession, fresh: Fresh
) -> None:
    table = declared(fresh.table(), mode="merge", keys=["id"])
    maps = "array(map({})) AS deep, map(named_struct('x', 1), map({})) AS m, CAST(NULL AS map<int, int>) AS n"
    first = spark.sql(f"SELECT 1 AS id, {maps.format('1, 2, 3, NULL', '1, 2, 3, NULL')}")
    write_rows(lake, table, first)
    turned = spark.sql(f"SELECT 1 AS id, {maps.format('3, NULL, 1, 2', '3, NULL, 1, 2')}")
    assert write_rows(lake, table, turned).status is Status.UNCHANGED
    write_rows(lake, table, spark.sql(f"SELECT 1 AS id, {maps.format('1, 2, 3, NULL', '1, 2, 3, 4')}"))
    assert rows_of(lake, table.name, "m[named_struct('x', 1)]") == [({1: 2, 3: 4},)]


def test_keys_may_have_any_names(lake: Lakehouse, spark: SparkSession, fresh: Fresh) -> None:
    keys = ["count", "rows", "n0", "k0", "o0", "select", "a.b", "x`y", "target", "source", "löwe", "max"]
    table = declared(fresh.table(), mode="merge", keys=keys)

    def given(*found: tuple[int, int], names: list[str]) -> DataFrame:
        return spark.createDataFrame([(value, *[key] * len(keys)) for key, value in found], ["value", *names])

    write_rows(lake, table, given((1, 2), (4, 5), names=keys))
    write_rows(lake, table, given((1, 7), (8, 9), names=[key.upper() for key in keys]))
    assert rows_of(lake, table.name, "`a.b`", "value") == [(1, 7), (4, 5), (8, 9)]
    with pytest.raises(InputDataError, match=r"same key.*'count': 3"):
        write_rows(lake, table, given((3, 0), (3, 0), names=keys))


def test_a_struct_may_be_a_key_and_a_map_may_not(lake: Lakehouse, spark: SparkSession, fresh: Fresh) -> None:
    table = declared(fresh.table(), mode="merge", keys=["s"])
    write_rows(lake, table, spark.sql("SELECT named_struct('a', 1, 'b', 2) AS s, 'old' AS v"))
    write_rows(lake, table, spark.sql("SELECT named_struct('b', 2, 'a', 1) AS s, 'new' AS v"))
    assert rows_of(lake, table.name, "s.a", "s.b", "v") == [(1, 2, "new")]
    by_map = declared(fresh.table(), mode="merge", keys=["m"])
    with pytest.raises(DeclarationError, match=r"merged by m, which is array<map<int,int>>"):
        write_rows(lake, by_map, spark.sql("SELECT array(map(1, 2)) AS m"))
    with pytest.raises(DeclarationError, match="merged by m, but its rows lack m"):
        write_rows(lake, by_map, spark.sql("SELECT 1 AS id"))


def test_fields_are_added_and_widened_in_arrays_and_maps(lake: Lakehouse, spark: SparkSession, fresh: Fresh) -> None:
    table = declared(fresh.table(), mode="append")
    write_rows(lake, table, spark.sql("SELECT array(named_struct('a', 1)) AS l, map(1, named_struct('a', 1Y)) AS m"))
    more = "named_struct('new', 'x', 'a', 2)"
    write_rows(lake, table, spark.sql(f"SELECT map(1, {more}) AS m, array({more.replace('2', '2L')}) AS l"))
    write_rows(lake, table, spark.sql("SELECT array(named_struct('A', 3, 'NEW', NULL)) AS l, map() AS m"))
    assert spark.table(f"lake.{table.name}").schema.simpleString() == (
        "struct<l:array<struct<a:bigint,new:string>>,m:map<int,struct<a:int,new:string>>>"
    )
    assert rows_of(lake, table.name, "l[0].a", "l[0].new", "m[1].new") == [
        (1, None, None), (2, "x", "x"), (3, None, None)
    ]  # fmt: skip


def test_a_field_that_is_required_in_the_table_takes_no_null(
    lake: Lakehouse, spark: SparkSession, fresh: Fresh
) -> None:
    table = declared(fresh.table(), mode="append")
    write_rows(lake, table, spark.sql("SELECT 1 AS id"))  # the folder of the layer
    foreign = declared(fresh.table(), mode="append")
    spark.sql(f"CREATE TABLE lake.{foreign.name} (s struct<a: int NOT NULL, b: int>, n int NOT NULL) USING iceberg")
    write_rows(
        lake,
        foreign,
        spark.sql("SELECT named_struct('b', 1, 'a', 2) AS s, id AS n FROM VALUES (3L) AS v(id)").selectExpr(
            "s", "int(n) AS n"
        ),
    )
    assert rows_of(lake, foreign.name, "s.a", "s.b", "n") == [(2, 1, 3)]
    nothing = spark.sql("SELECT named_struct('b', 1, 'a', int(NULL)) AS s, 3 AS n")
    with pytest.raises(Exception, match=r"(?i)null") as caught:
        write_rows(lake, foreign, nothing)
    assert "\tat " not in str(caught.value)


def test_columns_without_a_type_are_named_and_fit_where_the_table_has_one(
    lake: Lakehouse, spark: SparkSession, fresh: Fresh
) -> None:
    table = declared(fresh.table(), mode="append")
    write_rows(lake, table, spark.sql("SELECT 1 AS id, 'x' AS v"))
    write_rows(lake, table, spark.sql("SELECT NULL AS v, 2 AS id"))
    assert rows_of(lake, table.name) == [(1, "x"), (2, None)]


def test_columns_that_no_table_can_hold_are_named_also_where_they_are_new(
    lake: Lakehouse, spark: SparkSession, fresh: Fresh
) -> None:
    queries = {
        "SELECT 1 AS id, NULL AS v": "column v is void",
        "SELECT 1 AS id, 2 AS _file": "column _file has the name of one of Iceberg's own",
        "SELECT 1 AS id, 2 AS ID": "'id' more than once: id, ID",
        "SELECT 1 AS id, named_struct('a', 1, 'A', 2) AS s": r"'s\.a' more than once",
        "SELECT 1 AS id, parse_json('1') AS v": "column v is variant",
        "SELECT 1 AS id, array(INTERVAL 1 DAY) AS v": r"column v\.element is interval day",
        "SELECT 1 AS id, named_struct('t', time'10:00') AS v": r"column v\.t is time",
    }
    table = declared(fresh.table(), mode="append")

    def work(attempt: Attempt) -> None:
        for _ in range(2):
            for query, said in queries.items():
                with pytest.raises(DeclarationError, match=said):
                    attempt.write(table, spark.sql(query))
            attempt.write(table, spark.sql("SELECT 1 AS id"))

    run_work(lake, work)
    assert rows_of(lake, table.name) == [(1,), (1,)]


def test_an_unfit_struct_is_refused_whatever_the_mode(lake: Lakehouse, spark: SparkSession, fresh: Fresh) -> None:
    def work(attempt: Attempt) -> None:
        for properties in ({"mode": "append"}, {"mode": "replace"}, {"mode": "merge", "keys": ["id"]}):
            table = declared(fresh.table(), **properties)
            attempt.write(table, spark.sql("SELECT 1 AS id, named_struct('a', 1, 'b', 2) AS s"))
            said = r"s\.a, s\.b; s is struct<a:int,b:int> in the table but struct<x:int"
            with pytest.raises(ContractError, match=said):
                attempt.write(table, spark.sql("SELECT 1 AS id, named_struct('x', 1, 'y', 2) AS s"))

    run_work(lake, work)
