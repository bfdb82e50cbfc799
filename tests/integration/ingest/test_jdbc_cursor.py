"""A cursor column over JDBC: equal values, late rows, identical rows, and rows that change without it."""

from dataclasses import replace

import pytest
from tests.conftest import Fresh
from tests.support.mariadb import MariaDB
from tests.support.postgres import PASSWORD, Postgres
from tests.support.runs import rows_of

from asgard.common.errors import InputDataError, UsageError
from asgard.common.settings import Secret
from asgard.ingest.jdbc import JdbcSource
from asgard.jobs.ingest_job import IngestResult, Params, bronze_table, run
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.declaring.declaration import Table
from asgard.lakehouse.runs.run import Status


@pytest.fixture(scope="module")
def shop(lake: Lakehouse) -> Lakehouse:
    return Lakehouse(replace(lake.settings, jdbc_password=Secret(PASSWORD)))


def ingest(lake: Lakehouse, table: object, source: JdbcSource) -> IngestResult:
    declared = table if isinstance(table, Table) else bronze_table(str(table))
    return run(Params(table=declared, database=source), lake)


@pytest.mark.parametrize(("kind", "value"), [("timestamptz", "2024-01-01 10:00:00.123456+00"), ("date", "2024-01-01")])
def test_a_row_that_comes_later_at_an_equal_value(
    shop: Lakehouse, postgres: Postgres, fresh: Fresh, kind: str, value: str
) -> None:
    name, table = fresh.table().name, fresh.table("bronze")
    source = postgres.source(name, cursor="seen", partition_column="seen")
    postgres.sql(f"""
        CREATE TABLE {name} (id int, note text, tags numeric[], seen {kind});
        INSERT INTO {name} SELECT i, 'NaN', '{{1.5,NaN}}', '{value}' FROM generate_series(1, 5000) AS i
    """)
    assert ingest(shop, table, source).landed.rows == 5000
    postgres.sql(f"INSERT INTO {name} VALUES (5001, null, null, '{value}')")
    assert ingest(shop, table, source).landed.rows == 1
    assert ingest(shop, table, source).run.status is Status.UNCHANGED
    assert sorted(number for (number,) in rows_of(shop, table, "id")) == list(range(1, 5002))


def test_identical_rows_are_counted_and_changed_ones_land_again(
    shop: Lakehouse, postgres: Postgres, fresh: Fresh
) -> None:
    name, table = fresh.table().name, fresh.table("bronze")
    source = postgres.source(name, cursor="seen")
    postgres.sql(f"""
        CREATE TABLE {name} (note text, ratio float8, doc bytea, seen numeric(40,2));
        INSERT INTO {name} SELECT 'a', 'NaN', '\\x00', 7.5 FROM generate_series(1, 3);
        INSERT INTO {name} VALUES ('b', 1, null, 7.5);
    """)
    assert ingest(shop, table, source).landed.rows == 4
    postgres.sql(f"INSERT INTO {name} SELECT 'a', 'NaN', '\\x00', 7.5 FROM generate_series(1, 2)")
    postgres.sql(f"UPDATE {name} SET note = 'c' WHERE note = 'b'; INSERT INTO {name} VALUES ('d', 1, null, 8)")
    assert ingest(shop, table, source).landed.rows == 4
    assert sorted(note for (note,) in rows_of(shop, table, "note")) == ["a"] * 5 + ["b", "c", "d"]


def test_an_overlap_reads_rows_that_were_committed_late(shop: Lakehouse, postgres: Postgres, fresh: Fresh) -> None:
    name, table = fresh.table().name, fresh.table("bronze")
    source = postgres.source(name, cursor="seen")
    postgres.sql(f"""
        CREATE TABLE {name} (id int, seen timestamp);
        INSERT INTO {name} VALUES (1, '2024-01-01 08:00'), (2, '2024-01-01 09:00'), (3, '2024-01-01 10:00');
    """)
    ingest(shop, table, source)
    postgres.sql(f"INSERT INTO {name} VALUES (4, '2024-01-01 09:30'), (5, '2024-01-01 08:30'), (6, '2024-01-01 11:00')")
    with pytest.raises(UsageError, match="the cursor column contains times"):
        ingest(shop, table, replace(source, overlap="100"))
    assert ingest(shop, table, replace(source, overlap="1 hour")).landed.rows == 2
    assert ingest(shop, table, replace(source, overlap="3 hours")).landed.rows == 1
    assert ingest(shop, table, replace(source, overlap="1 day")).run.status is Status.UNCHANGED
    assert rows_of(shop, table, "id") == [(1,), (2,), (3,), (4,), (5,), (6,)]


def test_a_column_that_comes_or_is_renamed_lands_nothing_again(
    shop: Lakehouse, postgres: Postgres, fresh: Fresh
) -> None:
    name, table = fresh.table().name, fresh.table("bronze")
    source = postgres.source(name, cursor="id", overlap="10")
    postgres.sql(f"CREATE TABLE {name} (id int, price numeric(5,2)); INSERT INTO {name} VALUES (1, 1.5), (2, 'NaN')")
    ingest(shop, table, source)
    postgres.sql(f"""
        ALTER TABLE {name} ADD COLUMN more int DEFAULT 5; ALTER TABLE {name} ALTER COLUMN price TYPE numeric(9,2);
        INSERT INTO {name} VALUES (3, 2, 6);
    """)
    assert ingest(shop, table, source).landed.rows == 1
    found = rows_of(shop, table, "id", "more", "_raw")
    assert found == [(1, None, None), (2, None, {"price": "NaN"}), (3, 6, None)]


@pytest.mark.parametrize("columns", ["id string, price decimal(5,2)", "ID bigint, PRICE decimal(5,2)"])
def test_a_cursor_that_lands_as_text_or_under_another_letter_case(
    shop: Lakehouse, postgres: Postgres, fresh: Fresh, columns: str
) -> None:
    name, table = fresh.table().name, fresh.table("bronze")
    source = postgres.source(name, cursor="id", overlap="5")
    postgres.sql(
        f"CREATE TABLE {name} (id int, price numeric(5,2)); INSERT INTO {name} VALUES (9, 1), (10, 2), (12, 3)"
    )
    ingest(shop, bronze_table(str(table), columns=columns.lower()), source)
    declared = bronze_table(str(table), columns=columns)
    assert ingest(shop, declared, source).run.status is Status.UNCHANGED
    postgres.sql(f"INSERT INTO {name} VALUES (12, 4), (11, 3)")
    assert ingest(shop, declared, source).landed.rows == 2
    assert sorted(int(row[0]) for row in rows_of(shop, table, "id")) == [9, 10, 11, 12, 12]


def test_what_is_no_cursor(shop: Lakehouse, postgres: Postgres, fresh: Fresh) -> None:
    name = fresh.table().name
    postgres.sql(f"CREATE TABLE {name} (note text, at timestamptz); INSERT INTO {name} VALUES ('a', 'infinity')")
    for cursor, message in (
        ("note", "note is text, which can't be the cursor column"),
        ("at", "'infinity', which is neither"),
    ):
        with pytest.raises(InputDataError, match=message):
            ingest(shop, fresh.table("bronze"), postgres.source(name, cursor=cursor))


@pytest.mark.parametrize(
    ("kind", "values", "overlap"),
    [
        ("timestamp(6)", ("2024-03-31 00:30:00.000001", "2024-03-31 00:30:00", "2024-03-31 00:45:00"), "1 minute"),
        pytest.param("date", ("2024-01-01", "2023-12-31", "2024-01-02"), "1 day", marks=pytest.mark.soak),
        ("decimal(65,2)", ("9" * 62 + ".50", "9" * 62 + ".25", "9" * 62 + ".75"), "0.25"),
        pytest.param(
            "bigint unsigned",
            ("18446744073709551610", "18446744073709551609", "18446744073709551611"),
            "1",
            marks=pytest.mark.soak,
        ),
    ],
)
def test_a_cursor_of_mysql(
    shop: Lakehouse, mariadb: MariaDB, fresh: Fresh, kind: str, values: tuple[str, str, str], overlap: str
) -> None:
    name, table = fresh.table().name, fresh.table("bronze")
    source = mariadb.source(name, cursor="seen", overlap=overlap, partition_column="seen")
    first, late, last = values
    mariadb.sql(f"CREATE TABLE {name} (id int, seen {kind} NOT NULL); INSERT INTO {name} VALUES (1, '{first}')")
    assert ingest(shop, table, source).landed.rows == 1
    mariadb.sql(f"INSERT INTO {name} VALUES (1, '{first}'), (2, '{late}'), (3, '{last}')")
    assert ingest(shop, table, source).landed.rows == 3
    assert [row[0] for row in rows_of(shop, table, "id")] == [1, 1, 2, 3]
