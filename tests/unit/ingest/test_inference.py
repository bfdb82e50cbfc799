"""What type a column of texts gets: nothing that a text says may be lost by it."""

from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgard.ingest.inference import Guess


def guess(*texts: str | None) -> str:
    found = Guess()
    found.look(pa.array(texts, pa.string()))
    return found.type


@pytest.mark.parametrize(
    ("texts", "kind"),
    [
        (["1", "-20", "0"], "bigint"),
        (["9223372036854775807", "-9223372036854775808"], "bigint"),
        ([" 1 ", "", "  ", None], "bigint"),
        (["1.5", "2", "-0.25"], "double"),
        (["1e5", "2.5E-3"], "double"),
        (["0.30000000000000004", "1.7976931348623157e308"], "double"),
        (["1", "NaN", "-inf"], "double"),
        (["true", "FALSE"], "boolean"),
        (["2024-02-29", "1970-01-01"], "date"),
        (["2024-02-29", "2024-02-29T10:00"], "timestamp"),
        (["2024-02-29 23:59:59.123456", "2024-02-29T10:00:00Z", "2024-02-29T10:00:00+05:30"], "timestamp"),
        (["2024-02-29 10:00:00.123456000"], "timestamp"),
        # what a type would lose stays text
        (["007", "1"], "string"),
        (["+49"], "string"),
        (["-0"], "double"),
        (["01.5"], "string"),
        (["9223372036854775808"], "string"),
        (["12345678901234567.1"], "string"),
        (["0.1000000000000000055511151231257827"], "string"),
        (["1e400"], "string"),
        (["1,5"], "string"),
        (["1_000"], "string"),
        (["0x10"], "string"),
        (["1.5f"], "string"),
        (["yes", "no"], "string"),
        (["1", "true"], "string"),
        (["2023-02-29"], "string"),
        (["2024-2-9"], "string"),
        (["12:30"], "string"),
        (["today"], "string"),
        (["2024-01-01 10:00:00.123456789"], "string"),
        (["2024-01-01 24:00"], "string"),
        (["2024-01-01T10:00:00 Europe/Berlin"], "string"),
        (["20240101"], "bigint"),
        (["", None], "string"),
        ([], "string"),
    ],
)
def test_examples(texts: Sequence[str | None], kind: str) -> None:
    assert guess(*texts) == kind


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1))
def test_whole_numbers(values: list[int]) -> None:
    assert guess(*map(str, values)) == "bigint"


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1))
def test_floating_point_numbers_as_python_and_pandas_write_them(values: list[float]) -> None:
    assert guess(*map(repr, values)) == "double"


@given(st.decimals(allow_nan=False, allow_infinity=False))
def test_what_becomes_a_double_is_that_double(value: Decimal) -> None:
    text = format(value, "f")
    if guess(text) == "double":
        assert Decimal(repr(float(text))) == value


@given(st.lists(st.dates(), min_size=1))
def test_dates(values: list[date]) -> None:
    assert guess(*(value.isoformat() for value in values)) == "date"


@given(st.lists(st.datetimes(), min_size=1), st.sampled_from([" ", "T"]))
def test_times(values: list[datetime], separator: str) -> None:
    assert guess(*(value.isoformat(separator) for value in values)) == "timestamp"


@given(st.lists(st.lists(st.sampled_from(["1", "1.5", "x", "", "2024-01-01", "true"]), max_size=3), max_size=4))
def test_the_order_and_the_batches_make_no_difference(batches: list[list[str]]) -> None:
    together = guess(*(text for batch in batches for text in batch))
    one_by_one, joined = Guess(), Guess()
    for batch in reversed(batches):
        one_by_one.look(pa.chunked_array([pa.array(batch, pa.string())]))
        part = Guess()
        part.look(pa.array(batch, pa.string()))
        joined = Guess.from_json(joined.join(part).to_json())
    assert one_by_one.type == joined.type == together
