"""Columns and fields of structs by name, through every write mode, declared columns and schema changes."""

from datetime import datetime
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession
from tests.conftest import Fresh
from tests.support.runs import days, declared, rows_of, run_work, write_rows
from tests.support.structs import plain

from asgard import Daily
from asgard.common.errors import ContractError, DeclarationError, InputDataError
from asgard.lakehouse.attempt import Attempt
from asgard.lakehouse.declaration import Table
from asgard.lakehouse.lake import Lakehouse
from asgard.lakehouse.run import Status

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


def test_fields_in_another_order_land_under_their_names_in_every_mode(
    lake: Lakehouse, spark: SparkSession, fresh: Fresh
) -> None:
    columns = (
        "id bigint, at timestamp, s struct<a:bigint,b:bigint>, l array<struct<a:bigint,b:bigint>>, "
        "m map<string,struct<a:bigint,b:bigint>>, deep array<map<string,struct<in:struct<a:bigint,b:bigint>>>>"
    )
    tables = [
        declared(fresh.table(), mode="append"),
        declared(fresh.table(), mode="merge", keys=["id"]),
        declared(fresh.table(), mode="replace"),
        declared(fresh.table(), interval=Daily("at")),
        declared(fresh.table(), columns=columns),
    ]

    def write_all(made: DataFrame) -> None:
        def work(attempt: Attempt) -> None:
            for table in tables:
                attempt.write(table, made, days("2024-01-01", "2024-01-02") if table.interval else None)

        run_work(lake, work)

    write_all(rows(spark, IN_ORDER, 7, 8, key=2))
    write_all(rows(spark, SWAPPED, 1, 2))
    old, new = expected(7, 8, key=2), expected(1, 2)
    assert [read(lake, table) for table in tables] == [[new, old], [new, old], [new], [new], [new]]


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
