"""Names and values as SQL text: nothing in them can end a literal, or be substituted (faults 54)."""

import math
import re
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgard.validation import sql_text
from asgard.validation.bounds import fit_range, fit_values, literal
from asgard.validation.schema import Field, Schema, UnfitCheckError
from asgard.validation.values import Scalar

NASTY = st.text(alphabet=st.sampled_from("ab'`\\${}\n\"-/*; é😀"))
LITERAL = re.compile(r"'(?:[^'\\]*)'|r'[^']*'|chr\(39\)", re.DOTALL)


@given(NASTY)
def test_a_text_literal_is_closed_and_never_substituted(text: str) -> None:
    written = sql_text.text_literal(text)
    inner = written.removeprefix("concat(").removesuffix(")") if written.startswith("concat(") else written
    pieces = LITERAL.findall(inner)

    assert ", ".join(pieces) == inner
    assert "${" not in written
    assert "".join("'" if piece == "chr(39)" else piece.removeprefix("r")[1:-1] for piece in pieces) == text


@given(NASTY)
def test_an_identifier_is_closed(name: str) -> None:
    written = sql_text.identifier(name)
    assert re.fullmatch(r"`(?:[^`]|``)*`", written)
    assert written[1:-1].replace("``", "`") == name


@pytest.mark.parametrize(
    ("type_", "value", "expected"),
    [
        ("int", -5, "-5"),
        ("bigint", 5, "5L"),
        ("bigint", -(2**63), "CAST('-9223372036854775808' AS BIGINT)"),
        ("double", 0.1, "0.1D"),
        ("double", math.inf, "DOUBLE('Infinity')"),
        ("float", 0.5, "FLOAT(0.5D)"),
        ("float", -math.inf, "FLOAT('-Infinity')"),
        ("decimal(10,2)", Decimal("1E+2"), "CAST('100' AS DECIMAL(10,2))"),
        ("boolean", True, "TRUE"),
        ("date", date(2024, 1, 2), "DATE '2024-01-02'"),
        ("timestamp", datetime(2024, 1, 2, 3, tzinfo=UTC), "TIMESTAMP_LTZ '2024-01-02T03:00:00Z'"),
        (
            "timestamp_ntz",
            datetime(2024, 1, 2, 3, tzinfo=timezone(timedelta(hours=1))),
            "TIMESTAMP_NTZ '2024-01-02T02:00:00'",
        ),
        ("string", "it's", "concat('it', chr(39), 's')"),
        ("string", r"\d", r"r'\d'"),
        ("string", "", "''"),
    ],
)
def test_literals(type_: str, value: Scalar, expected: str) -> None:
    assert literal(Field(("x",), type_), value) == expected


@pytest.mark.parametrize(
    ("type_", "low", "high", "expected"),
    [
        ("int", 0.5, 2.5, (1, 2, False)),
        ("int", 0.2, 0.8, (1, 0, True)),
        ("int", -math.inf, 10**30, (-(2**31), 2**31 - 1, False)),
        ("int", 10**30, None, (None, None, True)),
        ("int", None, -math.inf, (None, None, True)),
        ("bigint", 9007199254740993, None, (9007199254740993, None, False)),
        ("decimal(5,2)", 0.1, Decimal("0.999"), (Decimal("0.10"), Decimal("0.99"), False)),
        ("decimal(5,2)", Decimal("0.101"), 10**9, (Decimal("0.11"), Decimal("999.99"), False)),
        ("decimal(5,2)", Decimal("1e9"), None, (None, None, True)),
        ("decimal(38,0)", Decimal("9" * 38), None, (Decimal("9" * 38), None, False)),
        ("double", Decimal("0.1"), 1, (0.1, 1.0, False)),
        ("double", -math.inf, 10**400, (None, math.inf, False)),
        ("float", 0.1, 1e300, (0.10000000149011612, math.inf, False)),
    ],
)
def test_bounds_move_into_the_columns_type(
    type_: str, low: Scalar, high: Scalar, expected: tuple[Scalar, Scalar, bool]
) -> None:
    wanted = fit_range(Field(("x",), type_), low, high)
    assert (wanted.low, wanted.high, wanted.nothing) == expected


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        ("string", 1),
        ("int", "1"),
        ("int", True),
        ("date", datetime(2024, 1, 1, tzinfo=UTC)),
        ("timestamp", date(2024, 1, 1)),
        ("array<int>", 1),
        ("struct<a:int>", "x"),
        ("string collate UTF8_LCASE", "x"),
        ("binary", "x"),
    ],
)
def test_values_of_another_type_are_refused(type_: str, value: Scalar) -> None:
    with pytest.raises(UnfitCheckError, match=re.escape(f"x is {type_}")):
        fit_range(Field(("x",), type_), value, None)


@pytest.mark.parametrize(("type_", "value"), [("int", 1.5), ("tinyint", 300), ("decimal(4,1)", Decimal("0.05"))])
def test_a_value_that_the_type_cannot_hold_is_refused(type_: str, value: Scalar) -> None:
    with pytest.raises(UnfitCheckError, match="can hold"):
        fit_values(Field(("x",), type_), [value])


def test_a_missing_column_is_told_with_those_there_are() -> None:
    with pytest.raises(UnfitCheckError) as refused:
        Schema.of({"household_id": "int", "sales": "double"}).find("houshold_id")
    assert refused.value.message == "There is no column 'houshold_id'; the columns are household_id, sales."
    assert refused.value.hint == "Did you mean 'household_id'?"


def test_a_column_with_a_dot_comes_before_a_nested_field() -> None:
    from pyspark.sql.types import LongType, StringType, StructField, StructType

    nested = StructType([StructField("b", LongType()), StructField("c", LongType())])
    schema = Schema.of(StructType([StructField("a", nested), StructField("a.b", StringType())]))

    assert (schema.find("a.b").sql, schema.find("a.b").type) == ("`a.b`", "string")
    assert (schema.find("a.c").sql, schema.find("a.c").type) == ("`a`.`c`", "bigint")
