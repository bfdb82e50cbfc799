"""Types of features: their Spark SQL names, and their types in Arrow and DuckDB."""

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
    """A type in its normal spelling, e.g. `bigint`, `decimal(10,2)`, `array<double>`.

    Raises:
        DeclarationError: a feature can't have this type.
    """
    return str(_checked(DataType.parse(text.lower().replace(" ", "")), text, what))


def _checked(kind: DataType, text: str, what: str) -> DataType:
    if kind.element is not None:
        return DataType.array(_checked(kind.element, str(kind.element), what))
    known = DataType(_ALIASES[kind.base]) if kind.base in _ALIASES else kind
    if not _is_scalar(known):
        raise DeclarationError(
            f"{what}: {text!r} is not a type of a feature.",
            hint=f"Use {', '.join(_DUCKDB)}, decimal(p,s) or array<...> of them.",
        )
    return known


def is_scalar(kind: str) -> bool:
    """Whether a type is a single value: not an array, struct or map, and with a name in Spark SQL."""
    return _is_scalar(DataType.parse(kind))


def _is_scalar(kind: DataType) -> bool:
    return kind.base in _DUCKDB or kind.digits is not None


def is_feature_type(kind: str) -> bool:
    """Whether a feature may have this type."""
    return _is_scalar(DataType.parse(kind).innermost)


def is_key_type(kind: str) -> bool:
    """Whether a type can identify an entity: equal values are equal everywhere, and have one text form."""
    return is_scalar(kind) and kind not in ("binary", "float", "double")


def to_duckdb(kind: str) -> str:
    """DuckDB's name of a type."""
    return _to_duckdb(DataType.parse(kind))


def _to_duckdb(kind: DataType) -> str:
    return f"{_to_duckdb(kind.element)}[]" if kind.element else _DUCKDB.get(kind.base, str(kind).upper())


def to_arrow(kind: str) -> "pa.DataType":
    """The Arrow type of a feature's type."""
    arrow = DataType.parse(kind).to_arrow()
    if arrow is None:
        raise KeyError(kind)
    return arrow
