"""The statements and options that a database is asked with; for MySQL they are all that is tested."""

import pytest

from asgard.common.errors import InputDataError, UsageError
from asgard.lakehouse.sources.jdbc import JdbcSource, _literal, latest

POSTGRES, MYSQL = "jdbc:postgresql://db:5432/shop", "jdbc:mysql://db:3306/shop?sslMode=REQUIRED"


@pytest.mark.parametrize(
    ("source", "sql"),
    [
        (JdbcSource(POSTGRES, table="public.orders"), 'SELECT * FROM "public"."orders"'),
        (JdbcSource(MYSQL, table="shop.orders"), "SELECT * FROM `shop`.`orders`"),
        (JdbcSource(POSTGRES, table='x"; DROP TABLE y; --'), 'SELECT * FROM "x""; DROP TABLE y; --"'),
        (JdbcSource(MYSQL, table="x`; DROP TABLE y"), "SELECT * FROM `x``; DROP TABLE y`"),
        (JdbcSource(POSTGRES, query="SELECT 1 AS id ; "), "SELECT * FROM (SELECT 1 AS id ) AS asked"),
    ],
)
def test_all_rows(source: JdbcSource, sql: str) -> None:
    assert source.rows_sql() == sql


def test_rows_after_the_watermark() -> None:
    source = JdbcSource(MYSQL, table="orders", cursor="updated at")
    assert source.rows_sql(None, "7") == "SELECT * FROM `orders` WHERE `updated at` <= 7"
    assert source.rows_sql("3", "7") == "SELECT * FROM `orders` WHERE `updated at` > 3 AND `updated at` <= 7"


def test_its_name_has_no_secrets_and_no_options() -> None:
    assert JdbcSource(MYSQL, table="orders").name == "mysql://db:3306/shop orders"
    assert JdbcSource(POSTGRES, query="SELECT 1").name == "postgresql://db:5432/shop (SELECT 1)"


def test_what_mysql_is_asked_for() -> None:
    dialect = JdbcSource(MYSQL, table="orders").dialect
    assert dialect.driver == "com.mysql.cj.jdbc.Driver"
    assert dialect.as_text.format("max(`id`)") == "cast(max(`id`) as char)"
    assert dialect.options == {"useCursorFetch": "true", "tinyInt1isBit": "false", "connectionTimeZone": "UTC"}


@pytest.mark.parametrize(
    ("url", "options", "message"),
    [
        ("jdbc:oracle:thin:@db", {"table": "t"}, "no JDBC address"),
        ("postgresql://db/shop", {"table": "t"}, "no JDBC address"),
        ("jdbc:postgresql://db/shop\n", {"table": "t"}, "no JDBC address"),
        ("jdbc:postgresql://me:canary@db/shop", {"table": "t"}, "a user or a secret in it"),
        ("jdbc:mysql://db/shop?user=me&password=canary", {"table": "t"}, "a user or a secret in it"),
        ("jdbc:postgresql://db/shop?sslpassword=canary", {"table": "t"}, "a user or a secret in it"),
        (POSTGRES, {}, "Neither or both"),
        (POSTGRES, {"table": "t", "query": "SELECT 1"}, "Neither or both"),
        (POSTGRES, {"table": "t", "lower": "1"}, "without a partition column"),
    ],
)
def test_sources_that_can_not_be(url: str, options: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        JdbcSource(url, **options)  # type: ignore[arg-type]
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "literal"),
    [
        ("-12", "-12"),
        ("12345678901234567890.25", "12345678901234567890.25"),
        ("2024-01-31", "'2024-01-31'"),
        ("2024-01-31 10:00:00.123456+00", "'2024-01-31 10:00:00.123456+00'"),
    ],
)
def test_watermarks_go_back_as_they_came(value: str, literal: str) -> None:
    assert _literal(value) == literal


@pytest.mark.parametrize("value", ["NaN", "infinity", "2024-01-31'10:00:00", "1; DROP TABLE x", "0044-03-15 BC", ""])
def test_a_watermark_that_is_no_number_and_no_time(value: str) -> None:
    with pytest.raises(InputDataError, match="neither a number nor a time"):
        _literal(value)


def test_the_latest_watermark() -> None:
    assert latest([]) is None
    assert latest(["9", "10", "9.5"]) == "10"
    assert latest(["2024-01-01 10:00:00+00", "2024-01-01 10:00:00.5+00", "2023-12-31 23:00:00+00"]) == (
        "2024-01-01 10:00:00.5+00"
    )
