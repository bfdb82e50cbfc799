"""Codec `feast`: byte for byte what Feast's own library writes, and read back whatever is in it."""

import contextlib
import importlib.util
import math
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from feast.infra.key_encoding_utils import serialize_entity_key
from feast.infra.online_stores.helpers import _mmh3
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.type_map import python_values_to_proto_values
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from asgard.common.errors import ContractError, EnvironmentSetupError, ServiceError, UsageError
from asgard.features.feast.source import value_type
from asgard.features.types import to_arrow
from asgard.serving import codecs
from asgard.serving.codecs import feast_values
from asgard.serving.codecs.choose import row_codec
from asgard.serving.codecs.feast_rows import FeastRows

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SECONDS = st.datetimes(datetime(1902, 1, 1), datetime(2200, 1, 1)).map(lambda found: found.replace(microsecond=0))
SCALARS: dict[str, st.SearchStrategy[Any]] = {
    "boolean": st.booleans(),
    "int": st.integers(-(2**31), 2**31 - 1),
    "bigint": st.integers(-(2**63), 2**63 - 1),
    "float": st.floats(width=32, allow_nan=False).map(lambda found: found + 0.0),
    "double": st.floats(allow_nan=False).map(lambda found: found + 0.0),
    "string": st.text(),
    "binary": st.binary(min_size=1),  # Feast takes b"" for a null
    "timestamp": SECONDS.map(lambda found: found.replace(tzinfo=UTC)),
    "decimal(12,2)": st.decimals(-(10**9), 10**9, places=2),
}
VALUES = st.sampled_from(sorted(SCALARS)).flatmap(
    lambda kind: st.tuples(st.just(kind), st.lists(st.none() | SCALARS[kind], min_size=1, max_size=6))
)
LISTS = st.sampled_from(sorted(SCALARS)).flatmap(
    lambda kind: st.tuples(st.just(kind), st.lists(SCALARS[kind], min_size=1, max_size=6))
)


@given(VALUES)
def test_values_are_those_of_feast(found: tuple[str, list[Any]]) -> None:
    kind, values = found
    ours = feast_values.values(pa.array(values, to_arrow(kind)), kind)
    theirs = python_values_to_proto_values([value for value in values if value is not None], value_type(kind))
    assert [each for each in ours if each] == [each.SerializeToString() for each in theirs]
    assert [feast_values.value(each, kind) for each in ours] == values


@given(LISTS)
def test_lists_are_those_of_feast(found: tuple[str, list[Any]]) -> None:
    kind, values = found
    whole = f"array<{kind}>"
    (ours,) = feast_values.values(pa.array([values], to_arrow(whole)), whole)
    (theirs,) = python_values_to_proto_values([values], value_type(whole))
    assert ours == theirs.SerializeToString()
    assert feast_values.value(ours, whole) == values


def test_what_is_empty_is_no_null() -> None:
    assert [feast_values.value(each, "binary") for each in feast_values.values(pa.array([b"", None]), "binary")] == [
        b"",
        None,
    ]
    assert [
        feast_values.value(each, "array<bigint>")
        for each in feast_values.values(pa.array([[], None], to_arrow("array<bigint>")), "array<bigint>")
    ] == [[], None]


@pytest.mark.parametrize("kind", ["float", "double"])
def test_equal_numbers_are_equal_bytes(kind: str) -> None:
    zero, minus, nan, other = feast_values.values(pa.array([0.0, -0.0, math.nan, -math.nan], to_arrow(kind)), kind)
    assert zero == minus
    assert nan == other
    assert math.isnan(feast_values.value(nan, kind))


@given(st.dates(date(1902, 1, 1), date(2200, 1, 1)))
def test_a_date_is_its_midnight(day: date) -> None:
    (ours,) = feast_values.values(pa.array([day]), "date")
    seconds = (datetime(day.year, day.month, day.day, tzinfo=UTC) - EPOCH) // timedelta(seconds=1)
    assert ours == Value(unix_timestamp_val=seconds).SerializeToString()
    assert feast_values.value(ours, "date") == day


@given(st.integers(-(2**55), 2**55))
def test_an_event_timestamp_is_protobufs(micros: int) -> None:
    seconds, rest = divmod(micros, 1_000_000)
    assert feast_values.timestamps([micros]) == [Timestamp(seconds=seconds, nanos=rest * 1_000).SerializeToString()]
    assert feast_values.moment(*feast_values.timestamps([micros])) == micros


@given(st.binary(), st.sampled_from([*sorted(SCALARS), "date", "array<double>", "array<string>", "array<bigint>"]))
def test_foreign_bytes_are_refused_or_are_a_value(content: bytes, kind: str) -> None:
    with contextlib.suppress(ServiceError):
        feast_values.value(content, kind)


@given(st.integers(-(2**63), 2**63 - 1), st.integers(-(2**31), 2**31 - 1), st.text())
def test_keys_are_those_of_feast(big: int, small: int, text: str) -> None:
    kinds = {"text": "string", "big": "bigint", "small": "int"}
    rows = FeastRows("view", kinds, {"one": "double"})
    entity = {"big": big, "small": small, "text": text}
    theirs = EntityKey(
        join_keys=["text", "small", "big"],
        entity_values=[Value(string_val=text), Value(int32_val=small), Value(int64_val=big)],
    )
    expected = serialize_entity_key(theirs, entity_key_serialization_version=3)
    assert rows.name(entity) == expected
    batch = pa.record_batch({name: pa.array([value], to_arrow(kinds[name])) for name, value in entity.items()})
    assert rows.entities(batch) == [expected]
    assert rows.key(b"shop.eu:view:feast:", expected) == expected + b"shop_eu"
    (named,) = rows.names([entity], "shop.eu:view:feast:")
    assert named.encode("latin-1") == b"shop.eu:view:feast:" + expected + b"shop_eu"
    assert rows.shown(expected) == "|".join(str(entity[name]) for name in sorted(entity))
    assert rows.fields == [b"_ts:view", _mmh3("view:one")]


def test_a_row_is_read_as_it_was_written() -> None:
    rows = FeastRows("view", {"key": "bigint"}, {"one": "double", "many": "array<string>"})
    batch = pa.record_batch({"key": [1, 2], "one": [1.5, None], "many": [["a", ""], None]})
    first, second = rows.encode(batch, np.array([-1, 86_400_000_000]))
    assert rows.decode([first, None, second]) == (
        [-1, None, 86_400_000_000],
        [[1.5, None, None], [["a", ""], None, None]],
    )
    assert rows.decode([]) == ([], [[], []])


def test_what_feast_has_no_words_for_is_refused() -> None:
    with pytest.raises(ContractError, match="can't use key day"):
        FeastRows("view", {"day": "date"}, {})
    with pytest.raises(ContractError, match="no type for nested"):
        FeastRows("view", {"key": "int"}, {"nested": "array<array<int>>"})
    with pytest.raises(ContractError, match="the same field"):
        FeastRows("v", {"key": "int"}, {"f_51628": "double", "f_104251": "double"})
    rows = FeastRows("view", {"key": "int"}, {"tags": "array<string>"})
    with pytest.raises(ContractError, match="can't store tags"):
        rows.encode(pa.record_batch({"tags": pa.array([["a", None]])}), np.array([0]))
    for wrong in ({}, {"key": "7"}, {"key": None}, {"key": True}, {"key": 2**31}):
        with pytest.raises(UsageError):
            rows.name(wrong)


def test_a_decimal_keeps_its_places() -> None:
    (content,) = feast_values.values(pa.array([Decimal("0.00")], pa.decimal128(12, 2)), "decimal(12,2)")
    assert str(feast_values.value(content, "decimal(12,2)")) == "0.00"


def test_the_class_comes_without_the_rest_of_feast() -> None:
    code = "import sys; import asgard.serving.codecs.feast_rows; sys.exit('feast' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_where_feast_is_not_installed_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "feast.protos.feast.types.Value_pb2")
    for name in ("feast_rows", "feast_values"):
        monkeypatch.delitem(sys.modules, f"asgard.serving.codecs.{name}")
        monkeypatch.delattr(codecs, name)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(EnvironmentSetupError, match=r"Codec feast needs .*: feast is not installed") as caught:
        row_codec("feast", "view", {"key": "int"}, {"one": "double"})
    assert "serving,features" in caught.value.hint
