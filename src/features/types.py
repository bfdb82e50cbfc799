"""Types of features: as Spark SQL says them, and what they are in Arrow and DuckDB."""

from typing import TYPE_CHECKING

from asgard.common.data_type import DataType
from asgard.common.errors import DeclarationError

if TYPE_CHECKING:
    import pyarrow as pa

_ALIASES = {"bool": "boolean", "text": "string"}
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


def check_type(text: str, what: str) -> str:
    """A type in its one spelling, e.g. `bigint`, `decimal(10,2)`, `array<double>`.

    Raises:
        DeclarationError: a feature can't be of it.
    """
    return str(_checked(DataType.parse(text.lower().replace(" ", "")), text, what))


def _checked(kind: DataType, text: str, what: str) -> DataType:
    if kind.element is not None:
        return DataType.array(_checked(kind.element, str(kind.element), what))
    known = DataType(_ALIASES[kind.base]) if kind.base in _ALIASES else kind
    if not _is_scalar(known):
        raise DeclarationError(
            f"{what}: {text!r} is no type of a feature.",
            hint=f"Use {', '.join(_DUCKDB)}, decimal(p,s) or array<...> of them.",
        )
    return known


def is_scalar(kind: str) -> bool:
    """Whether a type is one plain value: no array, struct or map, and nothing that Spark SQL has no name for."""
    return _is_scalar(DataType.parse(kind))


def _is_scalar(kind: DataType) -> bool:
    return kind.base in _DUCKDB or kind.digits is not None


def is_feature_type(kind: str) -> bool:
    """Whether a feature may be of a type."""
    return _is_scalar(DataType.parse(kind).innermost)


def is_key_type(kind: str) -> bool:
    """Whether a type names an entity: equal values are equal everywhere, and written down in one way."""
    return is_scalar(kind) and kind not in ("binary", "float", "double")


def to_duckdb(kind: str) -> str:
    """A type as DuckDB says it."""
    return _to_duckdb(DataType.parse(kind))


def _to_duckdb(kind: DataType) -> str:
    return f"{_to_duckdb(kind.element)}[]" if kind.element else _DUCKDB.get(kind.base, str(kind).upper())


def to_arrow(kind: str) -> "pa.DataType":
    """A feature's type as Arrow says it."""
    arrow = DataType.parse(kind).to_arrow()
    if arrow is None:
        raise KeyError(kind)
    return arrow
