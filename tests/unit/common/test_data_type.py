"""A type's name is read once, and said again as it was."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgard.common.data_type import ALIASES, WHOLE_BITS, DataType
from asgard.lakehouse.declaring.columns_text import read_columns

SCALARS = st.sampled_from([
    *(*WHOLE_BITS, "float", "double", "boolean", "string", "binary"),
    *("date", "timestamp", "timestamp_ntz", "variant"),
]).map(DataType)  # fmt: skip
DECIMALS = st.integers(1, 38).flatmap(
    lambda precision: st.integers(0, precision).map(lambda scale: DataType.decimal(precision, scale))
)
LENGTHS = st.tuples(st.sampled_from(["char", "varchar"]), st.integers(1, 9_999)).map(lambda each: DataType(*each))


def _struct(kinds: list[DataType]) -> DataType:
    return DataType("struct", parts=",".join(f"f{place}:{kind}" for place, kind in enumerate(kinds)))


TYPES = st.recursive(
    st.one_of(SCALARS, DECIMALS, LENGTHS),
    lambda inner: st.one_of(
        inner.map(DataType.array),
        st.lists(inner, max_size=3).map(_struct),
        inner.map(lambda kind: DataType("map", parts=f"string,{kind}")),
    ),
    max_leaves=5,
)


@given(TYPES)
def test_a_type_is_read_as_it_is_said(kind: DataType) -> None:
    text = str(kind)
    assert DataType.parse(text) == kind
    assert DataType.parse(f" {text} ") == kind
    assert hash(DataType.parse(text)) == hash(kind)


@given(TYPES)
def test_columns_are_read_as_the_same_types(kind: DataType) -> None:
    (text,) = read_columns(f"x {kind}").values()
    assert DataType.parse(text) == kind


@given(st.text(max_size=30))
def test_any_text_is_read_and_said_again(text: str) -> None:
    kind = DataType.parse(text)
    assert DataType.parse(str(kind)) == kind


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("DECIMAL( 10 , 2 )", DataType("decimal", 10, 2)),
        ("decimal(7)", DataType("decimal", 7, 0)),
        ("numeric", DataType("decimal", 10, 0)),
        ("Array< Array<Long> >", DataType.array(DataType.array(DataType("bigint")))),
        ("character(3)", DataType("char", 3)),
        ("struct<A b:int,c:array<int>>", DataType("struct", parts="A b:int,c:array<int>")),
        ("interval day to second", DataType("interval day to second")),
        ("decimal(10,2", DataType("decimal(10,2")),
        ("bigint(3)", DataType("bigint(3)")),
        ("fixed[16]", DataType("fixed[16]")),
    ],
)
def test_other_spellings_and_what_is_none(text: str, kind: DataType) -> None:
    assert DataType.parse(text) == kind


def test_an_alias_is_another_name_of_a_type() -> None:
    assert {str(DataType.parse(alias)) for alias in ALIASES} == {
        *("tinyint", "smallint", "int", "bigint", "float", "timestamp", "decimal(10,0)", "char"),
    }


@given(TYPES)
def test_what_a_type_is(kind: DataType) -> None:
    text = str(kind)
    assert kind.is_nested == text.startswith(("array<", "map<", "struct<"))
    assert (kind.digits is not None) == text.startswith("decimal(")
    assert kind.is_number == text.startswith(("tinyint", "smallint", "int", "bigint", "float", "double", "decimal("))
    assert "array<" not in str(kind.innermost)[:6]


@given(st.recursive(st.one_of(SCALARS, DECIMALS), lambda inner: inner.map(DataType.array), max_leaves=3))
def test_arrow_has_the_same_type(kind: DataType) -> None:
    arrow = kind.to_arrow()
    if kind.innermost.base == "variant":
        assert arrow is None
        return
    assert arrow is not None
    found = str(arrow).replace("item: ", "").replace("list<", "array<").replace("decimal128", "decimal")
    names = {"bool": "boolean", "int8": "tinyint", "int16": "smallint", "int32": "int", "int64": "bigint"}
    names |= {"date32[day]": "date", "timestamp[us, tz=UTC]": "timestamp", "timestamp[us]": "timestamp_ntz"}
    inner = found.rpartition("array<")[2].rstrip(">")
    assert DataType.parse(found.replace(inner, names.get(inner, inner))) == kind
    assert isinstance(arrow, pa.DataType)


@pytest.mark.parametrize(("digits", "possible"), [((38, 38), True), ((0, 0), False), ((39, 1), False), ((5, 6), False)])
def test_a_decimal_has_room_for_its_digits(digits: tuple[int, int], *, possible: bool) -> None:
    assert DataType.decimal(*digits).is_possible is possible
