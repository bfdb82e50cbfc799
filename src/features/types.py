"""Types of features: as Spark SQL says them, and what they are in Arrow and DuckDB."""

import re
from typing import TYPE_CHECKING

from asgard.common.errors import DeclarationError

if TYPE_CHECKING:
    import pyarrow as pa

_ALIASES = {"integer": "int", "long": "bigint", "real": "float", "bool": "boolean", "text": "string"}
_DUCKDB = {
    "boolean": "BOOLEAN",
    "int": "INTEGER",
    "bigint": "BIGINT",
    "float": "FLOAT",
    "double": "DOUBLE",
    "string": "VARCHAR",
    "binary": "BLOB",
    "date": "DATE",
    "timestamp": "TIMESTAMP WITH TIME ZONE",
    "timestamp_ntz": "TIMESTAMP",
}
_DECIMAL = re.compile(r"decimal\((\d+),(\d+)\)")


def check_type(text: str, what: str) -> str:
    """A type in its one spelling, e.g. `bigint`, `decimal(10,2)`, `array<double>`.

    Raises:
        DeclarationError: a feature can't be of it.
    """
    kind = text.strip().lower().replace(" ", "")
    kind = _ALIASES.get(kind, kind)
    inner = re.fullmatch(r"array<(.+)>", kind)
    if inner:
        return f"array<{check_type(inner[1], what)}>"
    if kind not in _DUCKDB and not _DECIMAL.fullmatch(kind):
        raise DeclarationError(
            f"{what}: {text!r} is no type of a feature.",
            hint=f"Use {', '.join(_DUCKDB)}, decimal(p,s) or array<...> of them.",
        )
    return kind


def is_scalar(kind: str) -> bool:
    """Whether a type is one plain value: no array, struct or map, and nothing that Spark SQL has no name for."""
    return kind in _DUCKDB or _DECIMAL.fullmatch(kind) is not None


def is_feature_type(kind: str) -> bool:
    """Whether a feature may be of a type."""
    inner = re.fullmatch(r"array<(.+)>", kind)
    return is_feature_type(inner[1]) if inner else is_scalar(kind)


def is_key_type(kind: str) -> bool:
    """Whether a type names an entity: equal values are equal everywhere, and written down in one way."""
    return is_scalar(kind) and kind not in ("binary", "float", "double")


def to_duckdb(kind: str) -> str:
    """A type as DuckDB says it."""
    inner = re.fullmatch(r"array<(.+)>", kind)
    return f"{to_duckdb(inner[1])}[]" if inner else _DUCKDB.get(kind, kind.upper())


def to_arrow(kind: str) -> "pa.DataType":
    """A type as Arrow says it."""
    import pyarrow as pa

    inner, decimal = re.fullmatch(r"array<(.+)>", kind), _DECIMAL.fullmatch(kind)
    if inner:
        return pa.list_(to_arrow(inner[1]))
    if decimal:
        return pa.decimal128(int(decimal[1]), int(decimal[2]))
    return {
        "boolean": pa.bool_(),
        "int": pa.int32(),
        "bigint": pa.int64(),
        "float": pa.float32(),
        "double": pa.float64(),
        "string": pa.string(),
        "binary": pa.binary(),
        "date": pa.date32(),
        "timestamp": pa.timestamp("us", tz="UTC"),
        "timestamp_ntz": pa.timestamp("us"),
    }[kind]
