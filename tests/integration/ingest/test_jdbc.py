"""Read a real PostgreSQL: types, partitions, the cursor and its watermark, errors in words."""

import socket
from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal

import pytest
from tests.conftest import Fresh
from tests.support.postgres import PASSWORD, Postgres
from tests.support.runs import rows_of
from tests.support.zones import process_zone

from asgard.common.errors import ContractError, InputDataError, ServiceError, ServiceUnreachableError, UsageError
from asgard.common.settings import Secret
from asgard.ingest.jdbc import JdbcSource
from asgard.ingest.own_columns import RAW
from asgard.jobs.ingest_job import IngestResult, Params, bronze_table, run
from asgard.lakehouse.catalog.lake import Lakehouse, identifier
from asgard.lakehouse.runs.run import Status


@pytest.fixture(scope="module")
def lake_with_password(lake: Lakehouse) -> Lakehouse:
    return with_password(lake, PASSWORD)


def with_password(lake: Lakehouse, password: str) -> Lakehouse:
    return Lakehouse(replace(lake.settings, jdbc_password=Secret(password)))


def ingest(lake: Lakehouse, table: object, source: JdbcSource, **options: object) -> IngestResult:
    lines: list[str] = []
    return run(Params(table=bronze_table(str(table)), database=source, **options), lake, lines.append)  # type: ignore[arg-type]


def test_every_type_lands_as_it_is(lake_with_password: Lakehouse, postgres: Postgres, fresh: Fresh) -> None:
    postgres.sql("""
        CREATE TABLE kinds (id bigint, small smallint, price numeric(10,2), any_number numeric, ratio double precision,
            yes boolean, day date, at timestamp, at_zone timestamptz, doc jsonb, code uuid, note text);
        SET TIME ZONE 'Europe/Berlin';
        INSERT INTO kinds VALUES
            (1, 7, 12.50, 1.25, 'NaN', true, '2024-02-29', '2024-03-31 02:30:00.123456', '2024-03-31 03:30:00+02',
             '{"a": 1.10}', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', E'two\\nlines'),
            (2, null, null, 12345678901234567890123.5, null, null, null, null, null, null, null, '');
    """)
    table = fresh.table("bronze")
    result = ingest(lake_with_password, table, postgres.source("kinds"))
    assert result.landed.rows == 2
    columns = ["id", "small", "price", "any_number", "ratio", "yes", "day", "at", "at_zone", "doc", "code", "note"]
    first, second = rows_of(lake_with_password, table, *columns, "_raw")
    assert first[:4] == (1, 7, Decimal("12.50"), Decimal("1.25"))
    assert first[4] != first[4]  # NaN
    assert first[5:] == (
        True,
        date(2024, 2, 29),
        datetime(2024, 3, 31, 2, 30, 0, 123456),
        datetime(2024, 3, 31, 1, 30),
        '{"a": 1.10}',
        "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
        "two\nlines",
        None,
    )
    assert second == (2, *[None] * 10, "", {"any_number": "12345678901234567890123.5"})


def test_partitions_read_every_row_once(lake_with_password: Lakehouse, postgres: Postgres, fresh: Fresh) -> None:
    postgres.sql("""
        CREATE TABLE wide AS SELECT i AS id, timestamptz '2024-01-01 00:00+00' + i * interval '1 minute' AS at,
        timestamp '2024-01-01 00:00' + i * interval '1 minute' AS local, date '2024-01-01' + i AS day, i / 7.0 AS part
        FROM generate_series(-500, 1500) AS i;
        INSERT INTO wide VALUES (null, null);
        UPDATE wide SET local = 'infinity', day = '-infinity', part = 'NaN' WHERE id = 3;
    """)
    for column, options in (("id", {}), ("id", {"lower": "0", "upper": "100"}), ("at", {"partitions": 7}),
                            ("local", {}), ("day", {"upper": "2024-02-01"}), ("part", {"partitions": 3})):  # fmt: skip
        table = fresh.table("bronze")
        ingest(lake_with_password, table, postgres.source("wide", partition_column=column, **options))
        found = rows_of(lake_with_password, table, "id")
        assert len(found) == 2002
        assert len(set(found)) == 2002


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("bigint", ["1", "9007199254740993", "9007199254740994"]),
        ("numeric", ["1.5", "12345678901234567890.25", "12345678901234567890.26"]),
        ("timestamptz", ["'2024-10-27 02:30:00.000001+02'", "'2024-10-27 02:30:00+01'", "'2024-10-27 02:30:00.5+01'"]),
        ("timestamp", ["'2024-01-01 00:00:00'", "'2024-01-01 00:00:00.000001'", "'2024-01-02'"]),
        ("date", ["'2024-01-01'", "'2024-01-02'", "'2024-01-03'"]),
    ],
)
def test_a_cursor_reads_what_is_new(
    lake_with_password: Lakehouse, postgres: Postgres, fresh: Fresh, kind: str, values: list[str]
) -> None:
    name, table = f"{fresh.table().name}", fresh.table("bronze")
    source = postgres.source(f"public.{name}", cursor="seen")
    postgres.sql(f"CREATE TABLE {name} (id int, seen {kind})")
    assert ingest(lake_with_password, table, source).run.status is Status.UNCHANGED
    for number, value in enumerate(values, start=1):
        postgres.sql(f"INSERT INTO {name} VALUES ({number}, {value})")
        assert ingest(lake_with_password, table, source).landed.rows == 1
    again = ingest(lake_with_password, table, source)
    assert again.run.status is Status.UNCHANGED
    assert "above" in again.landed.skipped[source.name]
    assert rows_of(lake_with_password, table, "id") == [(1,), (2,), (3,)]


def test_the_watermark_is_published_with_the_rows_or_not_at_all(
    lake_with_password: Lakehouse, postgres: Postgres, fresh: Fresh
) -> None:
    postgres.sql("CREATE TABLE orders (id int, note text); INSERT INTO orders VALUES (1, 'a')")
    table, source = fresh.table("bronze"), postgres.source("orders", cursor="id")
    ingest(lake_with_password, table, source)
    postgres.sql("ALTER TABLE orders DROP COLUMN note; INSERT INTO orders VALUES (2)")
    with pytest.raises(ContractError, match="orders lacks note"):
        ingest(lake_with_password, table, source)
    assert ingest(lake_with_password, table, source, allow_missing=True).landed.rows == 1
    assert rows_of(lake_with_password, table, "id", "note") == [(1, "a"), (2, None)]


def test_a_query_and_awkward_names(lake_with_password: Lakehouse, postgres: Postgres, fresh: Fresh) -> None:
    postgres.sql("""CREATE TABLE "odd ""one" ("Total ($)" int, "select" int); INSERT INTO "odd ""one" VALUES (3, 4)""")
    table = fresh.table("bronze")
    ingest(lake_with_password, table, postgres.source('odd "one', cursor="Total ($)"))
    ingest(lake_with_password, table, postgres.source(query='SELECT 5 AS "Total ($)", 6 AS "select";'))
    assert rows_of(lake_with_password, table, "Total", "select") == [(3, 4), (5, 6)]


@pytest.mark.parametrize("zone", ["Europe/Berlin", "Asia/Shanghai"])
def test_no_process_zone_moves_a_time(
    lake_with_password: Lakehouse, postgres: Postgres, fresh: Fresh, zone: str
) -> None:
    name, table = fresh.table().name, fresh.table("bronze")
    postgres.sql(f"""
        CREATE TABLE {name} (id int, at timestamp, at_zone timestamptz, day date, hour time);
        INSERT INTO {name} VALUES
            (1, '2024-03-31 02:30', '1890-01-01 00:00+00', '1582-10-10', '02:30:00.123456'),
            (2, 'infinity', '-infinity', 'infinity', '24:00:00'),
            (3, '0044-03-15 10:00 BC', '294276-01-01 00:00+00', '1900-12-31', '00:00');
    """)
    with process_zone(lake_with_password.spark, zone):
        ingest(lake_with_password, table, postgres.source(name))
    found = lake_with_password.spark.table(identifier(table, "main")).sort("id")
    shown = found.selectExpr("cast(at as string)", "cast(at_zone as string)", "cast(day as string)", "hour", RAW)
    assert [tuple(row) for row in shown.collect()] == [
        ("2024-03-31 02:30:00", "1890-01-01 00:00:00", "1582-10-10", "02:30:00.123456", None),
        (None, None, None, "24:00:00", {"at": "infinity", "at_zone": "-infinity", "day": "infinity"}),
        (None, None, "1900-12-31", "00:00:00",
         {"at": "0044-03-15 10:00:00 BC", "at_zone": "294276-01-01 00:00:00"}),
    ]  # fmt: skip


def test_numbers_land_exactly_or_as_text(lake_with_password: Lakehouse, postgres: Postgres, fresh: Fresh) -> None:
    name, table = fresh.table().name, fresh.table("bronze")
    postgres.sql(f"""
        CREATE TABLE {name} (a numeric(50,5), b numeric(40,2), c numeric(45,38), d numeric[], e numeric(10,2));
        INSERT INTO {name} VALUES (1.5, 12345.67, 1e-38, '{{1.1234567890123456789}}', 'NaN'),
            (1e40, 1e37, 1.5, '{{1.5,null}}', 1.25);
    """)
    ingest(lake_with_password, table, postgres.source(name))
    (first, second) = sorted(
        rows_of(lake_with_password, table, "a", "b", "c", "d", "e", RAW), key=lambda row: row[0] is None
    )
    assert first == (
        Decimal("1.5"), Decimal("12345.67"), None, None, None,
        {"c": "0.00000000000000000000000000000000000001", "d": "{1.1234567890123456789}", "e": "NaN"},
    )  # fmt: skip
    assert second == (
        None, None, Decimal("1.5"), [Decimal("1.5"), None], Decimal("1.25"),
        {"a": "1" + "0" * 40 + ".00000", "b": "1" + "0" * 37 + ".00"},
    )  # fmt: skip


def test_arrays_of_other_dimensions_and_names_that_differ_by_case(
    lake_with_password: Lakehouse, postgres: Postgres, fresh: Fresh
) -> None:
    name, table = fresh.table().name, fresh.table("bronze")
    postgres.sql(f"""
        CREATE TABLE {name} ("Id" int, id int, one int[], two int[][]);
        INSERT INTO {name} VALUES (1, 2, '{{1,2}}', '{{{{1,2}},{{3,4}}}}'), (3, 4, '{{{{1,2}},{{3,4}}}}', '{{1,2}}'),
            (5, 6, '[0:1]={{7,8}}', '{{}}');
    """)
    ingest(lake_with_password, table, postgres.source(name))
    assert rows_of(lake_with_password, table, "Id", "id_2", "one", "two", RAW) == [
        (1, 2, [1, 2], [[1, 2], [3, 4]], None),
        (3, 4, None, None, {"one": "{{1,2},{3,4}}", "two": "{1,2}"}),
        (5, 6, None, [], {"one": "[0:1]={7,8}"}),
    ]


class TestErrors:
    def test_two_columns_of_one_name(self, lake_with_password: Lakehouse, postgres: Postgres, fresh: Fresh) -> None:
        with pytest.raises(InputDataError, match="two columns are called id") as caught:
            ingest(lake_with_password, fresh.table("bronze"), postgres.source(query="SELECT 1 AS id, 2 AS id"))
        assert "AS id_2" in caught.value.hint

    def test_a_bound_of_another_kind(self, lake_with_password: Lakehouse, postgres: Postgres, fresh: Fresh) -> None:
        name = fresh.table().name
        postgres.sql(f"CREATE TABLE {name} AS SELECT now() AS at")
        with pytest.raises(UsageError, match=r"The bound 'soon' \(--lower-bound\) does not fit at, which is a time"):
            ingest(
                lake_with_password,
                fresh.table("bronze"),
                postgres.source(name, partition_column="at", lower="soon", upper="2024-01-01"),
            )

    def test_a_wrong_password_is_said_without_it(self, lake: Lakehouse, postgres: Postgres, fresh: Fresh) -> None:
        with pytest.raises(ServiceError, match="password authentication failed") as caught:
            ingest(with_password(lake, "canary-wrong"), fresh.table("bronze"), postgres.source("kinds"))
        assert "jdbc_password" in caught.value.hint
        assert "canary" not in str(caught.value)

    def test_a_database_that_is_not_there(self, lake_with_password: Lakehouse, fresh: Fresh) -> None:
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            source = JdbcSource(f"jdbc:postgresql://127.0.0.1:{closed.getsockname()[1]}/x", table="t", user="u")
            with pytest.raises(ServiceUnreachableError, match="does not answer"):
                ingest(lake_with_password, fresh.table("bronze"), source)

    def test_an_unknown_table_or_column(self, lake_with_password: Lakehouse, postgres: Postgres, fresh: Fresh) -> None:
        postgres.sql("CREATE TABLE known (id int, note text); INSERT INTO known VALUES (1, 'x'), (null, 'y')")
        for source, message in (
            (postgres.source("nowhere"), "nowhere"),
            (postgres.source("known; DROP TABLE known"), "does not exist"),
            (postgres.source("known", cursor="missing"), "has no column 'missing'"),
            (postgres.source("known", cursor="note"), "can't be the cursor column"),
            (postgres.source("known", cursor="id"), "rows have no id"),
            (postgres.source("known", partition_column="note"), "can't be the partition column"),
        ):
            with pytest.raises((ServiceError, InputDataError), match=message) as caught:
                ingest(lake_with_password, fresh.table("bronze"), source)
            assert "\tat " not in str(caught.value)
        postgres.sql("SELECT 1 FROM known")

    def test_the_password_is_nowhere_in_the_warehouse(
        self, lake_with_password: Lakehouse, postgres: Postgres, fresh: Fresh
    ) -> None:
        postgres.sql("CREATE TABLE quiet AS SELECT 1 AS id")
        ingest(lake_with_password, fresh.table("bronze"), postgres.source("quiet"))
        records = [
            lake_with_password.storage.read(entry.path) or b"" for entry in lake_with_password.storage.list("runs")
        ]
        assert records
        assert not any(PASSWORD.encode() in record for record in records)
