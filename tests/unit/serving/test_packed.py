"""The packed codec: every type there and back, equal rows as equal bytes, damage told."""

import math
import struct
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, localcontext
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from asgard.common.errors import ServiceError
from asgard.features.types import to_arrow
from asgard.serving.codecs.packed import Packed

_LONG = st.integers(-(2**63), 2**63 - 1)
_MICROS = st.integers(-(10**15), 10**15)
SCALARS: dict[str, st.SearchStrategy[Any]] = {
    "boolean": st.booleans(),
    "int": st.integers(-(2**31), 2**31 - 1),
    "bigint": _LONG,
    "float": st.floats(width=32, allow_nan=False),
    "double": st.floats(allow_nan=False),
    "string": st.text(),
    "binary": st.binary(),
    "date": st.integers(-700_000, 2_000_000).map(lambda days: date(1970, 1, 1) + timedelta(days=days)),
    "timestamp": _MICROS.map(lambda micros: datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)),
    "timestamp_ntz": _MICROS.map(lambda micros: datetime(1970, 1, 1) + timedelta(microseconds=micros)),
    "decimal(10,2)": st.integers(-(10**10) + 1, 10**10 - 1).map(lambda number: Decimal(number).scaleb(-2)),
    "decimal(38,10)": st.integers(-(10**37), 10**37).map(
        lambda number: Decimal((int(number < 0), tuple(map(int, str(abs(number)))), -10))
    ),
}


def _values(kind: str) -> st.SearchStrategy[Any]:
    if kind.startswith("array<"):
        return st.lists(st.none() | _values(kind.removeprefix("array<").removesuffix(">")), max_size=10)
    return SCALARS[kind]


KINDS = (*SCALARS, *(f"array<{kind}>" for kind in SCALARS), "array<array<string>>", "array<array<bigint>>")


MANY = 16
Case = tuple[dict[str, str], list[dict[str, Any]], list[int]]
"""Features, rows, and their event timestamps."""


@st.composite
def rows(draw: st.DrawFn) -> Case:
    some = st.sampled_from(KINDS), st.sampled_from([kind for kind in SCALARS if kind not in ("string", "binary")])
    kinds = draw(st.one_of(st.lists(each, min_size=1, max_size=12) for each in some))
    features = {f"f{place}": kind for place, kind in enumerate(kinds)}
    row = st.fixed_dictionaries({name: st.none() | _values(kind) for name, kind in features.items()})
    found = draw(st.lists(row, max_size=4))
    return features, found, draw(st.lists(_LONG, min_size=len(found), max_size=len(found)))


def encode(features: dict[str, str], found: list[dict[str, Any]], events: list[int]) -> list[bytes]:
    schema = pa.schema([(name, to_arrow(kind)) for name, kind in features.items()])
    batch = pa.RecordBatch.from_pylist(found, schema=schema)
    return Packed(features).encode(batch, np.array(events, dtype=np.int64))


def decode(features: dict[str, str], values: Sequence[bytes | None]) -> list[tuple[int | None, dict[str, Any]]]:
    """Event timestamps and rows."""
    events, columns = Packed(features).decode(values)
    return [
        (event, {name: column[place] for name, column in zip(features, columns, strict=True)})
        for place, event in enumerate(events)
    ]


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(rows())
def test_every_type_comes_back_as_it_was(case: Case) -> None:
    features, found, events = case
    values = encode(features, found, events)
    assert decode(features, values) == list(zip(events, found, strict=True))
    assert decode(features, values * MANY) == list(zip(events, found, strict=True)) * MANY


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(rows(), st.data())
def test_many_are_read_as_one_by_one_and_what_is_missing_leaves_the_others_alone(
    case: Case, data: st.DataObject
) -> None:
    features, found, events = case
    values: list[bytes | None] = [*encode(features, found, events)]
    assert decode(features, [None]) == [(None, dict.fromkeys(features))]
    for _ in range(data.draw(st.integers(0, 3))):
        values.insert(data.draw(st.integers(0, len(values))), None)
    values *= data.draw(st.sampled_from((1, MANY)))
    assert decode(features, values) == [row for value in values for row in decode(features, [value])]


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(rows(), st.data())
def test_one_damaged_value_refuses_them_all(case: Case, data: st.DataObject) -> None:
    features, found, events = case
    values = encode(features, found, events)
    assume(values)
    place = data.draw(st.integers(0, len(values) - 1))
    value = values[place]
    cut = st.integers(0, len(value) - 1).map(lambda end: value[:end])
    longer = st.binary(min_size=1).map(value.__add__)
    other = st.integers(0, 255).filter(lambda version: version != 1).map(lambda version: bytes([version]) + value[1:])
    values *= data.draw(st.sampled_from((1, MANY)))
    values[place] = data.draw(cut | longer | other)
    with pytest.raises(ServiceError, match="layout"):
        Packed(features).decode(values)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(rows(), st.data())
def test_foreign_bytes_are_refused_or_are_a_row_of_the_layout(case: Case, data: st.DataObject) -> None:
    features, _, _ = case
    size = len(encode(features, [dict.fromkeys(features)], [0])[0])
    like_it = st.binary(min_size=size - 1, max_size=size - 1) | st.binary(min_size=size - 1, max_size=size + 60)
    foreign = data.draw(st.binary() | like_it.map(b"\x01".__add__))
    with suppress(ServiceError):
        event, row = decode(features, [foreign] * data.draw(st.sampled_from((1, MANY))))[-1]
        assert event is not None
        (again,) = encode(features, [row], [event])
        assert encode(features, [decode(features, [again])[0][1]], [event]) == [again]


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(rows())
def test_a_slice_of_a_batch_is_written_as_its_own_rows(case: Case) -> None:
    features, found, events = case
    schema = pa.schema([(name, to_arrow(kind)) for name, kind in features.items()])
    batch = pa.RecordBatch.from_pylist(found, schema=schema)[1:]
    assert Packed(features).encode(batch, np.array(events[1:], dtype=np.int64)) == encode(features, found, events)[1:]


def test_equal_rows_are_equal_bytes() -> None:
    zero, minus = encode({"x": "double"}, [{"x": 0.0}, {"x": -0.0}], [1, 1])
    assert zero == minus
    other = struct.unpack("<d", struct.pack("<Q", 0x7FF8_0000_0000_0001))[0]
    one, two = encode({"x": "double"}, [{"x": math.nan}, {"x": other}], [1, 1])
    assert one == two
    assert math.isnan(decode({"x": "double"}, [one])[0][1]["x"])


def test_the_bytes_are_those_that_are_documented() -> None:
    features = {"n": "bigint", "name": "string", "missing": "int", "price": "decimal(10,2)"}
    row = {"n": 7, "name": "é", "missing": None, "price": Decimal("1.05")}
    (value,) = encode(features, [row], [1_000_000])
    assert value == struct.pack("<BqBqiq", 1, 1_000_000, 0b100, 7, 0, 105) + struct.pack("<I", 2) + "é".encode()


def test_a_decimal_is_exact_whatever_the_context_of_the_thread() -> None:
    features = {"short": "decimal(18,2)", "long": "decimal(38,10)"}
    row = {"short": Decimal("-1234567890123456.78"), "long": Decimal("1234567890123456789012345678.0123456789")}
    (value,) = encode(features, [row], [1])
    with localcontext(prec=3):
        assert decode(features, [value]) == [(1, row)]


@pytest.mark.parametrize("count", [1, MANY])
@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("date", struct.pack("<i", 2**31 - 1)),
        ("timestamp", struct.pack("<q", 2**62)),
        ("decimal(10,2)", struct.pack("<q", 10**10)),
        ("decimal(38,0)", (10**38).to_bytes(16, "little")),
        ("string", struct.pack("<I", 1) + b"\xff"),
        ("array<int>", struct.pack("<I", 0)),
        ("array<int>", struct.pack("<II", 4, 2**32 - 1)),
        ("array<int>", struct.pack("<II", 5, 0) + b"x"),
    ],
)
def test_what_is_no_value_of_its_type_is_told(kind: str, content: bytes, count: int) -> None:
    with pytest.raises(ServiceError, match="layout"):
        Packed({"x": kind}).decode([struct.pack("<BqB", 1, 0, 0) + content] * count)
