"""Texts that plainly are values of a type, many at once and without Spark.

What is not plain (`1e5f`, ` 7`, `12.0` for a whole number, `soon` for a time) is left to `fitting`, which asks
Spark text by text. For what is plain both give the same values; a property-based test holds them together.
"""

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

_WHOLE = "^-?[0-9]{1,18}$"
_NUMBER = r"^-?[0-9]{1,300}(\.[0-9]{1,300})?$"
_BOOLEAN = "(?i)^(true|false)$"
_DATE = "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"
_MOMENT = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[ T][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?$"


def arrow_type(target: str) -> "pa.DataType | None":
    """The Arrow type of a column, by Spark's short name; None for one whose texts are never plain."""
    import pyarrow as pa

    decimal = re.fullmatch(r"decimal\((\d+),(\d+)\)", target)
    if decimal:
        return pa.decimal128(int(decimal[1]), int(decimal[2]))
    return {
        "tinyint": pa.int8(),
        "smallint": pa.int16(),
        "int": pa.int32(),
        "bigint": pa.int64(),
        "double": pa.float64(),
        "boolean": pa.bool_(),
        "date": pa.date32(),
        "timestamp": pa.timestamp("us", "UTC"),
    }.get(target)


def plain_values(texts: "pa.Array", target: str) -> "pa.Array | None":
    """The values of texts that are all plain, with null for null; None if one is not.

    Args:
        texts: strings.
        target: the column's type, one that `arrow_type` knows.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = arrow_type(target)
    if kind is None or pc.all(pc.match_substring_regex(texts, _pattern(kind))).as_py() is False:
        return None
    try:
        if pa.types.is_timestamp(kind):
            return texts.cast(pa.timestamp("us")).cast(kind)
        return texts.cast(kind)
    except pa.ArrowInvalid:
        return None


def _pattern(kind: "pa.DataType") -> str:
    import pyarrow as pa

    if pa.types.is_integer(kind):
        return _WHOLE
    if pa.types.is_boolean(kind):
        return _BOOLEAN
    if pa.types.is_date(kind):
        return _DATE
    return _MOMENT if pa.types.is_timestamp(kind) else _NUMBER
