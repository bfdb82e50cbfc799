"""Lossless JSON values: the log of lookups contains them, and its check compares them.

Values are equal exactly if their JSON texts are equal. Whole numbers, booleans and texts are unchanged. A float is the
shortest number that reads back as the same float, or the text `NaN`, `Infinity` or `-Infinity`; minus zero becomes
zero. A decimal is a text with all digits of its scale; dates and timestamps are in ISO 8601, timestamps in UTC with
microseconds; binary is base64; an array is a list. A null is null.
"""

import base64
import json
import math
from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Context, Decimal
from typing import Any

from asgard.common.data_type import DataType

_DIGITS = Context(prec=38)


def plain(value: Any) -> Any:
    """Convert a feature's value to JSON."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        if math.isfinite(value):
            return value + 0.0
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, datetime):
        return (value.astimezone(UTC) if value.tzinfo else value).isoformat(timespec="microseconds")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return [plain(each) for each in value]


def plain_key(value: Any, kind: str) -> Any:
    """Convert a key's value, which callers may give in several forms, to JSON."""
    if kind in ("int", "bigint"):
        return int(value)
    scale = DataType.parse(kind).scale
    if scale is not None:
        return f"{Decimal(value).quantize(Decimal(1).scaleb(-scale), context=_DIGITS):f}"
    return plain(value)


def value_of(given: Any, kind: str) -> Any:
    """Convert a value that `plain` wrote back; `kind` is its type in Spark SQL.

    Raises:
        ValueError, TypeError, ArithmeticError: the value is not of that type.
    """
    return _value_of(given, DataType.parse(kind))


def _value_of(given: Any, kind: DataType) -> Any:
    if given is None:
        return None
    if kind.element is not None:
        return [_value_of(each, kind.element) for each in given]
    if kind.is_floating:
        return float(given)
    if kind.base == "decimal":
        return Decimal(given)
    if kind.base == "date":
        return date.fromisoformat(given)
    if kind.base in ("timestamp", "timestamp_ntz"):
        return datetime.fromisoformat(given)
    return base64.b64decode(given, validate=True) if kind.base == "binary" else given


def text(values: Mapping[str, Any]) -> str:
    """Serialize plain values as one JSON text, in their order."""
    return json.dumps(values, separators=(",", ":"), allow_nan=False)
