"""The packed codec: every type there and back, equal rows as equal bytes, damage told."""

import math
import struct
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asgard.common.errors import ServiceError
from asgard.features.types import to_arrow
from asgard.serving.packed import Packed

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


@st.composite
def rows(draw: st.DrawFn) -> tuple[dict[str, str], list[dict[str, Any]], list[int]]:
    kinds = draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=12))
    features = {f"f{place}": kind for place, kind in enumerate(kinds)}
    row = st.fixed_dictionaries({name: st.none() | _values(kind) for name, kind in features.items()})
    found = draw(st.lists(row, max_size=4))
    return features, found, draw(st.lists(_LONG, min_size=len(found), max_size=len(found)))


def encode(features: dict[str, str], found: list[dict[str, Any]], events: list[int]) -> list[bytes]:
    schema = pa.schema([(name, to_arrow(kind)) for name, kind in features.items()])
    batch = pa.RecordBatch.from_pylist(found, schema=schema)
    return Packed(features).encode(batch, np.array(events, dtype=np.int64))


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(rows())
def test_every_type_comes_back_as_it_was(case: tuple[dict[str, str], list[dict[str, Any]], list[int]]) -> None:
    features, found, events = case
    codec = Packed(features)
    assert [codec.decode(value) for value in encode(features, found, events)] == list(zip(events, found, strict=True))


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(rows())
def test_a_slice_of_a_batch_is_written_as_its_own_rows(
    case: tuple[dict[str, str], list[dict[str, Any]], list[int]],
) -> None:
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
    assert math.isnan(Packed({"x": "double"}).decode(one)[1]["x"])


def test_the_bytes_are_those_that_are_documented() -> None:
    features = {"n": "bigint", "name": "string", "missing": "int", "price": "decimal(10,2)"}
    row = {"n": 7, "name": "é", "missing": None, "price": Decimal("1.05")}
    (value,) = encode(features, [row], [1_000_000])
    assert value == struct.pack("<BqBqiq", 1, 1_000_000, 0b100, 7, 0, 105) + struct.pack("<I", 2) + "é".encode()


@pytest.mark.parametrize(
    "damage", [lambda value: value[:-1], lambda value: value[:3], lambda value: b"\x02" + value[1:]]
)
def test_damage_is_told(damage: Any) -> None:
    (value,) = encode({"n": "bigint", "name": "string"}, [{"n": 7, "name": "abc"}], [1])
    with pytest.raises(ServiceError, match="layout"):
        Packed({"n": "bigint", "name": "string"}).decode(damage(value))
