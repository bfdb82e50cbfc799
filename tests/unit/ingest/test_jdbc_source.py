"""The statements and options that a database is asked with, and how its types and cursor values are taken."""

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgard.common.errors import InputDataError, UsageError
from asgard.ingest.cursor import cuts, latest, literal, position, read_again_from
from asgard.ingest.database_types import Order, decimal_type
from asgard.ingest.jdbc import JdbcSource

POSTGRES, MYSQL = "jdbc:postgresql://db:5432/shop", "jdbc:mysql://db:3306/shop?sslMode=REQUIRED"


@pytest.mark.parametrize(
    ("source", "sql"),
    [
        (JdbcSource(POSTGRES, table="public.orders"), 'SELECT * FROM "public"."orders"'),
        (JdbcSource(MYSQL, table="shop.orders"), "SELECT * FROM `shop`.`orders`"),
        (JdbcSource(POSTGRES, table='x"; DROP TABLE y; --'), 'SELECT * FROM "x""; DROP TABLE y; --"'),
        (JdbcSource(MYSQL, table="x`; DROP TABLE y"), "SELECT * FROM `x``; DROP TABLE y`"),
        (JdbcSource(POSTGRES, query="SELECT 1 AS id ; "), "SELECT 1 AS id"),
    ],
)
def test_all_rows(source: JdbcSource, sql: str) -> None:
    assert source.statement == sql


def test_its_name_has_no_secrets_and_no_options() -> None:
    assert JdbcSource(MYSQL, table="orders").name == "mysql://db:3306/shop orders"
    assert JdbcSource(POSTGRES, query="SELECT 1").name == "postgresql://db:5432/shop (SELECT 1)"


def test_what_mysql_is_asked_for() -> None:
    dialect = JdbcSource(MYSQL, table="orders").dialect
    assert dialect.driver == "com.mysql.cj.jdbc.Driver"
    assert dialect.as_text.format("max(`id`)") == "cast(max(`id`) as char)"
    assert dialect.session == "SET time_zone = '+00:00'"
    assert dialect.options == {"useCursorFetch": "true", "tinyInt1isBit": "false", "connectionTimeZone": "UTC"}


@pytest.mark.parametrize(
    ("url", "options", "message"),
    [
        ("jdbc:oracle:thin:@db", {"table": "t"}, "not a JDBC address"),
        ("postgresql://db/shop", {"table": "t"}, "not a JDBC address"),
        ("jdbc:postgresql://db/shop\n", {"table": "t"}, "not a JDBC address"),
        ("jdbc:postgresql://me:canary@db/shop", {"table": "t"}, "contains a user or a secret"),
        ("jdbc:mysql://db/shop?user=me&password=canary", {"table": "t"}, "contains a user or a secret"),
        ("jdbc:postgresql://db/shop?sslpassword=canary", {"table": "t"}, "contains a user or a secret"),
        (POSTGRES, {}, "Neither or both"),
        (POSTGRES, {"table": "t", "query": "SELECT 1"}, "Neither or both"),
        (POSTGRES, {"table": "t", "lower": "1"}, "without a partition column"),
        (POSTGRES, {"table": "t", "overlap": "1 hour"}, "without a cursor column"),
        (POSTGRES, {"table": "t", "cursor": "id", "overlap": "soon"}, "'soon' is neither a duration nor a number"),
        (POSTGRES, {"table": "t", "cursor": "id", "overlap": "-1"}, "'-1' is neither a duration nor a number"),
    ],
)
def test_sources_that_can_not_be(url: str, options: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        JdbcSource(url, **options)  # type: ignore[arg-type]
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("-12", "-12"),
        ("12345678901234567890.25", "12345678901234567890.25"),
        ("2024-01-31", "'2024-01-31'"),
        ("2024-01-31 10:00:00.123456+00", "'2024-01-31 10:00:00.123456+00'"),
    ],
)
def test_watermarks_go_back_as_they_came(value: str, expected: str) -> None:
    assert literal(value) == expected


@pytest.mark.parametrize(
    "value", ["NaN", "infinity", "2024-01-31'10:00:00", "1; DROP TABLE x", "0044-03-15 BC", "0000-00-00", ""]
)
def test_a_watermark_that_is_no_number_and_no_time(value: str) -> None:
    with pytest.raises(InputDataError, match="neither a number nor a time"):
        literal(value)


def test_the_latest_watermark() -> None:
    assert latest([]) is None
    assert latest(["9", "10", "9.5"]) == "10"
    assert latest(["2024-01-01 10:00:00+00", "2024-01-01 10:00:00.5+00", "2023-12-31 23:00:00+00"]) == (
        "2024-01-01 10:00:00.5+00"
    )


@pytest.mark.parametrize(
    ("watermark", "overlap", "order", "least"),
    [
        ("7", None, Order.WHOLE, "7"),
        ("7", "100", Order.WHOLE, "-93"),
        ("12345678901234567890123456789012345678901234567890.25", "0.5", Order.DECIMAL,
         "12345678901234567890123456789012345678901234567889.75"),
        ("2024-03-01", "1 day", Order.DATE, "2024-02-29"),
        ("2024-03-01", "90 minutes", Order.DATE, "2024-02-29"),
        ("2024-03-01 00:00:00.000001", "2 hours", Order.MOMENT, "2024-02-29 22:00:00.000001"),
        ("2024-03-01 00:00:00+00", "1.5 Weeks", Order.ZONED, "2024-02-19 12:00:00+00:00"),
        ("0001-01-01", "1 day", Order.DATE, "0001-01-01"),
    ],
)  # fmt: skip
def test_from_where_rows_are_read_again(watermark: str, overlap: str | None, order: Order, least: str) -> None:
    assert read_again_from(watermark, overlap, order) == least


@pytest.mark.parametrize(("overlap", "order"), [("1 hour", Order.WHOLE), ("3", Order.DATE)])
def test_an_overlap_of_another_kind(overlap: str, order: Order) -> None:
    with pytest.raises(UsageError, match="but the cursor column contains"):
        read_again_from("7" if order.is_number else "2024-01-01", overlap, order)


@pytest.mark.parametrize(
    ("precision", "scale", "kind"),
    [
        (0, 0, "decimal(38,18)"),
        (10, 2, "decimal(10,2)"),
        (3, -2, "decimal(5,0)"),
        (2, 5, "decimal(5,5)"),
        (38, 38, "decimal(38,38)"),
        (50, 5, "decimal(38,5)"),
        (40, 2, "decimal(38,2)"),
        (45, 38, "decimal(38,31)"),
        (65, 30, "decimal(38,18)"),
        (65, 0, "decimal(38,0)"),
    ],
)
def test_the_type_of_a_decimal(precision: int, scale: int, kind: str) -> None:
    assert decimal_type(precision, scale) == kind


@given(
    st.sampled_from([Order.WHOLE, Order.DECIMAL, Order.DATE, Order.MOMENT, Order.ZONED]),
    st.integers(0, 3_652_058),
    st.integers(0, 3_652_058),
    st.integers(1, 9),
)
def test_every_value_is_in_one_part(order: Order, first: int, second: int, parts: int) -> None:
    def text(days: int) -> str:
        return str(days) if order.is_number else (date(1, 1, 1) + timedelta(days=days)).isoformat()

    low, high = sorted((first, second))
    ends = [position(text(low), order), position(text(high), order)]
    assert ends[0] is not None
    assert ends[1] is not None
    found = cuts(ends[0], ends[1], parts, order)
    places = [position(cut.strip("'"), order) for cut in found]
    assert places == sorted(set(places))  # type: ignore[type-var]
    assert len(found) < parts
    assert all(ends[0] < place <= ends[1] for place in places if place is not None)
    if high - low >= parts:
        assert len(found) == parts - 1


@pytest.mark.parametrize(
    ("text", "order"),
    [("NaN", Order.DECIMAL), ("Infinity", Order.WHOLE), ("infinity", Order.ZONED), ("0044-03-15 BC", Order.DATE),
     ("294276-12-31 23:59:59", Order.MOMENT), ("0000-00-00", Order.DATE), ("x", Order.WHOLE)],
)  # fmt: skip
def test_what_stands_nowhere(text: str, order: Order) -> None:
    assert position(text, order) is None
