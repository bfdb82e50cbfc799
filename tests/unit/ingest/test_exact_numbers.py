"""Texts as numbers: the same number or null, held against fractions."""

import math
import re
import struct
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asgard.ingest.exact_numbers import exact_numbers, number_type
from asgard.ingest.inference import Guess

INF = float("inf")
KINDS = ("tinyint", "smallint", "int", "bigint", "decimal(10,2)", "decimal(38,18)", "decimal(38,0)", "double", "float")


def read(kind: str, *texts: str | None) -> list[Any]:
    found = exact_numbers(pa.array(texts, pa.string()), kind)
    assert found.type == number_type(kind)
    return found.to_pylist()


def said(text: str) -> Fraction | None:
    """The number that a text says, digit by digit; None if it says none."""
    match = re.fullmatch(r"([+-]?)(\d*)\.?(\d*)(?:e([+-]?\d+))?", text.strip(" \t\r\n\f\v"), re.ASCII | re.IGNORECASE)
    if match is None or not match[2] + match[3]:
        return None
    number = Fraction(int(match[2] + match[3])) * Fraction(10) ** (int(match[4] or 0) - len(match[3]))
    return -number if match[1] == "-" else number


def expected(text: str, kind: str) -> Fraction | None:
    number = said(text)
    if number is None:
        return None
    if kind in ("double", "float"):
        narrow = np.float64 if kind == "double" else np.float32
        with np.errstate(over="ignore"):
            try:
                value = narrow(number.numerator / number.denominator)  # correctly rounded
            except OverflowError:
                return None
        if math.isinf(value):
            return None
        shortest = said(np.format_float_scientific(value, unique=True))
        digits = len(re.sub("^0+", "", re.sub("[^0-9]", "", re.split("[eE]", text)[0])))
        printed = said(f"{float(value):.{digits - 1}e}") if digits else None  # as C's %.17g and numpy's savetxt do
        return Fraction(float(value)) if number in (shortest, printed, Fraction(float(value))) else None
    if kind.startswith("decimal"):
        precision, scale = map(int, kind[8:-1].split(","))
        shifted = number * 10**scale
        return number if shifted.denominator == 1 and abs(shifted) < 10**precision else None
    bits = {"tinyint": 8, "smallint": 16, "int": 32, "bigint": 64}[kind]
    is_written_whole = re.fullmatch(r"[+-]?[0-9]+(\.0+)?", text.strip(" \t\r\n\f\v"))
    return number if is_written_whole and -(2 ** (bits - 1)) <= number < 2 ** (bits - 1) else None


EDGES = [
    Fraction(sign * (2**power + step))
    for power in (0, 7, 15, 24, 31, 53, 60, 63, 64, 70)
    for step in (-2, -1, 0, 1, 2)
    for sign in (1, -1)
]
DIGITS = st.text("0123456789", max_size=25)
TEXTS = st.one_of(
    st.builds(
        lambda *parts: "".join(parts),
        st.sampled_from(["", "-", "+", " ", "\t-"]),
        DIGITS,
        st.sampled_from(["", "."]),
        DIGITS,
        st.just("") | st.builds("e{}".format, st.integers(-330, 330)) | st.builds("E+{}".format, st.integers(0, 25)),
        st.sampled_from(["", "", " ", "\n", "x", "f", "_"]),
    ),
    st.sampled_from(EDGES).map(lambda number: str(int(number))),
    st.sampled_from(EDGES).map(lambda number: f"{int(number)}.0"),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.floats(allow_nan=False, allow_infinity=False).map(lambda value: format(Decimal(value), "f")),
    st.floats(allow_nan=False, allow_infinity=False).map("{:.17g}".format),
    st.floats(allow_nan=False, allow_infinity=False, width=32).map(lambda value: str(np.float32(value))),
    st.decimals(allow_nan=False, allow_infinity=False).map(str),
    st.decimals(-(10**9), 10**9, places=2).map(str),
)


@settings(deadline=None)
@given(texts=st.lists(TEXTS, min_size=1, max_size=20), kind=st.sampled_from(KINDS))
def test_any_text_is_the_number_that_it_says_or_null(texts: list[str], kind: str) -> None:
    hold_against_fractions(texts, kind)


@pytest.mark.soak
@settings(deadline=None, max_examples=3_000)
@given(texts=st.lists(TEXTS, min_size=1, max_size=20), kind=st.sampled_from(KINDS))
def test_many_texts_are_the_numbers_that_they_say_or_null(texts: list[str], kind: str) -> None:
    hold_against_fractions(texts, kind)


def hold_against_fractions(texts: list[str], kind: str) -> None:
    found = [None if value is None else Fraction(value) for value in read(kind, *texts)]
    assert dict(zip(texts, found, strict=True)) == {text: expected(text, kind) for text in texts}


@settings(deadline=None)
@given(texts=st.lists(TEXTS, min_size=1, max_size=5))
def test_an_inferred_type_says_all_that_the_texts_say(texts: list[str]) -> None:
    guess = Guess()
    guess.look(pa.array(texts, pa.string()))
    if guess.type in KINDS:
        filled = [text for text in texts if text.strip()]
        assert [Fraction(value) for value in read(guess.type, *filled)] == [
            expected(text, guess.type) for text in filled
        ]
        assert None not in [expected(text, guess.type) for text in filled]


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("double", "9007199254740992", 2.0**53),
        ("double", "9007199254740993", None),
        ("double", "9007199254740993.0", None),
        ("double", "9223372036854775807", None),
        ("double", "9223372036854775808", 2.0**63),
        ("double", "1152921504606846976", 2.0**60),  # equal
        ("double", "1152921504606847000", 2.0**60),  # its shortest text
        ("double", "1152921504606846977", None),
        ("double", "0.1", 0.1),
        ("double", "0.10000000000000001", 0.1),
        ("double", "1.000000000000000056e-01", 0.1),  # numpy.savetxt
        ("double", "0.100000000000000001", None),
        ("double", "0.1000000000000000055511151231257827021181583404541015625", 0.1),  # equal
        ("double", "000.500", 0.5),
        ("double", "+1E-2", 0.01),
        ("double", "1e23", 1e23),
        ("double", "1e400", None),
        ("double", "1e-400", None),
        ("double", "0e-400", 0.0),
        ("double", "0e99999999999999999999", 0.0),
        ("double", "1e-99999999999999999999", None),
        ("double", "5e-324", 5e-324),
        ("double", "1.5f", None),
        ("double", "0x1p3", None),
        ("double", "\u0661", None),  # digits of other scripts
        ("double", "+Infinity", INF),
        ("double", "-INF", -INF),
        ("float", "16777217", None),
        ("float", "0.1", struct.unpack("f", struct.pack("f", 0.1))[0]),
        ("float", "0.100000001490116119384765625", struct.unpack("f", struct.pack("f", 0.1))[0]),
        ("float", "0.12345678", struct.unpack("f", struct.pack("f", 0.12345678))[0]),
        ("float", "0.123456789", None),
        ("float", "1e39", None),
        ("bigint", "-0", 0),
        ("bigint", "0" * 5000 + "7", 7),
        ("bigint", "9" * 5000, None),
        ("bigint", "12.", None),
        ("bigint", ".0", None),
        ("decimal(38,20)", "1e-20", Decimal("1e-20")),
        ("decimal(38,20)", "1e-21", None),
        ("decimal(5,2)", "NaN", None),
        ("decimal(5,2)", "0e999999999999", Decimal(0)),
        ("decimal(5,2)", "1e999999999999", None),
    ],
)
def test_examples(kind: str, text: str, value: object) -> None:
    assert read(kind, text) == [value]
    assert read(kind, text, "7", None, " 7") == [value, 7, None, 7]  # beside plain ones


def test_nan_and_signs_of_zero() -> None:
    assert all(math.isnan(value) for value in read("double", "NaN", "nan") + read("float", "NAN"))
    assert [math.copysign(1, value) for value in read("double", "-0", "-0.0", "-0e5", "0")] == [-1, -1, -1, 1]
