"""Random values of every type of PostgreSQL and MySQL, read in three process time zones, against the server's text.

A value lands as the server's own text says, or as null with that text in `_raw`. MariaDB stands in for MySQL.
"""

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.database_values import (
    MYSQL_TYPES,
    POSTGRES_OWN_TYPES,
    POSTGRES_TYPES,
    Batch,
    batch_of,
    landed_as,
    same,
)
from tests.support.mariadb import MariaDB
from tests.support.postgres import PASSWORD, Postgres
from tests.support.zones import ZONES, process_zone

from asgard.common.settings import Secret
from asgard.ingest.columns import TableColumns
from asgard.ingest.database_rows import landing
from asgard.ingest.jdbc import Database, JdbcSource
from asgard.ingest.own_columns import RAW

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

Texts = Mapping[tuple[int, str], Any]
"""(row, column) -> the server's text; for an array its text, and those of its elements or None."""


@pytest.fixture(scope="module")
def own_types(postgres: Postgres) -> Postgres:
    postgres.sql(POSTGRES_OWN_TYPES)
    return postgres


def literal(text: str | None) -> str:
    return "NULL" if text is None else "'" + text.replace("'", "''") + "'"


def fill_postgres(postgres: Postgres, batch: Batch) -> Texts:
    columns = ", ".join(f"{name} {_cast(name)}" for name in batch.columns)
    rows = ",\n".join(
        f"({place}, {', '.join(map(_value, batch.columns, row))})" for place, row in enumerate(batch.rows)
    )
    postgres.sql(f"DROP TABLE IF EXISTS every_kind; CREATE TABLE every_kind (row int, {columns}); ")
    postgres.sql(f"INSERT INTO every_kind VALUES {rows}")
    return dict(_output_texts(postgres, batch))


def _value(name: str, text: str | None) -> str:
    return f"cast({literal(text)} as {_cast(name)})"


def _cast(name: str) -> str:
    return POSTGRES_TYPES[name][0]


def _output_texts(postgres: Postgres, batch: Batch) -> Iterator[tuple[tuple[int, str], Any]]:
    """What COPY writes, in UTC; for arrays also each element's text."""
    columns = ", ".join(batch.columns)
    printed = postgres.sql(f"{_SESSION} COPY (SELECT {columns} FROM every_kind ORDER BY row) TO STDOUT")
    for place, line in enumerate(printed.splitlines()):
        for name, text in zip(batch.columns, line.split("\t"), strict=True):
            yield (place, name), _copied(text)


def _copied(text: str) -> str | None:
    if text == "\\N":
        return None
    escapes = {"t": "\t", "n": "\n", "r": "\r", "\\": "\\", "b": "\b", "f": "\f", "v": "\v"}
    return re.sub(r"\\(.)", lambda match: escapes.get(match[1], match[1]), text)


_SESSION = "SET TIME ZONE 'UTC'; SET bytea_output = 'hex';"
_BASE = {"char": "bpchar"}


def elements(postgres: Postgres, name: str) -> dict[int, list[str | None] | None]:
    """The elements' texts of a column of arrays by row; None for an array that is no plain list."""
    kind = _cast(name)[:-2].split("(")[0]
    output = postgres.sql(
        f"SELECT typoutput FROM pg_type WHERE oid = cast('{_BASE.get(kind, kind)}' as regtype)"
    ).strip()
    printed = postgres.sql(f"""
        {_SESSION} COPY (
            SELECT row, place, textin({output}(one)) FROM every_kind,
            unnest({name}) WITH ORDINALITY AS found(one, place) ORDER BY row, place
        ) TO STDOUT""")
    found: dict[int, list[str | None] | None] = {}
    for line in printed.splitlines():
        row, _, text = line.split("\t")
        found.setdefault(int(row), []).append(_copied(text))  # type: ignore[union-attr]
    odd = postgres.sql(f"SELECT row FROM every_kind WHERE array_ndims({name}) > 1 OR array_lower({name}, 1) <> 1")
    return {**found, **dict.fromkeys(map(int, odd.split()), None)}


def read(spark: "SparkSession", source: JdbcSource) -> tuple[list[dict[str, Any]], Mapping[str, str]]:
    """The rows as they would land in a new table, times as their text; and the columns' types."""
    from pyspark.sql import functions as F

    found = Database(spark, source, Secret(PASSWORD)).read(None)
    assert found is not None
    assert found.fresh is not None
    land = landing("bronze.x", source.name, found.reads, TableColumns(), lambda _line: None)
    rows = land.rows(found.fresh)
    texts = {}
    for name, kind in land.columns.items():
        if kind in ("date", "timestamp"):
            texts[name] = F.col(name).cast("string")
        elif kind in ("array<date>", "array<timestamp>"):
            texts[name] = F.col(name).cast("array<string>")
    collected = rows.withColumns(texts).sort("row").collect()
    return [row.asDict() for row in collected], land.columns


def check(
    rows: list[dict[str, Any]], kinds: Mapping[str, str], texts: Texts, arrays: Mapping[str, Any], zone: str
) -> None:
    for (place, column), text in texts.items():
        name = column.strip('"')
        kind, row = kinds[name], rows[place]
        what = f"{zone}: {name} {kind}, {text!r}"
        if text is None:
            expected = None
        elif kind.startswith("array<"):
            given = arrays[column].get(place, [])
            ones = None if given is None else [None if one is None else landed_as(one, kind[6:-1]) for one in given]
            lost = ones is None or any(one is None and of is not None for one, of in zip(ones, given, strict=True))
            expected = None if lost else ones
        else:
            expected = landed_as(text, kind)
        assert same(row[name], expected), f"{what} landed as {row[name]!r}, expected {expected!r}"
        kept = (row[RAW] or {}).get(name)
        shown = text.replace("+00", "") if text and _is_zoned(column) else text  # before "BC", too
        assert kept == (shown if expected is None else None), f"{what} has {kept!r} in _raw"


def _is_zoned(column: str) -> bool:
    return POSTGRES_TYPES.get(column, ("",))[0] == "timestamptz"


def check_postgres(spark: "SparkSession", postgres: Postgres, batch: Batch) -> None:
    texts = fill_postgres(postgres, batch)
    arrays = {name: elements(postgres, name) for name in batch.columns if _cast(name).endswith("[]")}
    for zone in ZONES:
        with process_zone(spark, zone):
            rows, kinds = read(spark, postgres.source("every_kind"))
        check(rows, kinds, texts, arrays, zone)


def check_mysql(spark: "SparkSession", mariadb: MariaDB, batch: Batch) -> None:
    def value(name: str, text: str | None) -> str:
        if text is None or text.startswith("0x"):
            return text or "NULL"
        if name.startswith("bit"):
            return text
        return literal(text.replace("\\", "\\\\"))

    columns = ", ".join(f"`{name}` {MYSQL_TYPES[name][0]}" for name in batch.columns)
    rows = ",\n".join(
        f"({place}, {', '.join(value(name, text) for name, text in zip(batch.columns, row, strict=True))})"
        for place, row in enumerate(batch.rows)
    )
    mariadb.sql(f"DROP TABLE IF EXISTS every_kind; CREATE TABLE every_kind (`row` int, {columns})")
    mariadb.sql(f"SET sql_mode = ''; SET time_zone = '+00:00'; INSERT INTO every_kind VALUES {rows}")
    asked = ", ".join(f"hex({_mysql_text(name)})" for name in batch.columns)
    printed = mariadb.sql(f"SET time_zone = '+00:00'; SELECT {asked} FROM every_kind ORDER BY `row`")
    texts = {}
    for place, line in enumerate(printed.splitlines()):
        for name, text in zip(batch.columns, line.split("\t"), strict=True):
            texts[(place, name)] = None if text == "NULL" else bytes.fromhex(text).decode("utf-8", "surrogateescape")
    for zone in ZONES:
        with process_zone(spark, zone):
            found, kinds = read(spark, mariadb.source("every_kind"))
        for (place, name), text in list(texts.items()):
            if text is not None and kinds[name] == "binary":
                texts[(place, name)] = (
                    "\\x" + text.encode("utf-8", "surrogateescape").hex() if not text.startswith("\\x") else text
                )
            if text is not None and name == "bit1":
                texts[(place, name)] = "1" if text in ("1", "\x01") else "0"
        check(found, kinds, texts, {}, zone)


def _mysql_text(name: str) -> str:
    kind = MYSQL_TYPES[name][0]
    if kind == "float":  # its own text has six digits only
        return f"cast(cast(`{name}` as double) as char)"
    if name.startswith("bit"):
        return f"cast(`{name}` as binary)"
    return f"`{name}`" if kind.endswith(("blob", "binary(3)", "binary(9)")) else f"cast(`{name}` as char)"


def test_every_type_of_postgresql_in_three_zones(spark: "SparkSession", own_types: Postgres) -> None:
    check_postgres(spark, own_types, batch_of(POSTGRES_TYPES, 40))


def test_every_type_of_mysql_in_three_zones(spark: "SparkSession", mariadb: MariaDB) -> None:
    check_mysql(spark, mariadb, batch_of(MYSQL_TYPES, 40))


@pytest.mark.soak
@pytest.mark.parametrize("turn", range(20))
def test_many_values_of_every_type(turn: int, spark: "SparkSession", own_types: Postgres, mariadb: MariaDB) -> None:
    check_postgres(spark, own_types, batch_of(POSTGRES_TYPES, 300))
    check_mysql(spark, mariadb, batch_of(MYSQL_TYPES, 300))
