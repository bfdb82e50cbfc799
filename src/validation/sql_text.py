"""Names and values as SQL text that has one meaning, under every setting of the parser.

Whether doubled quotes in a literal are one quote is a setting of Spark, and Spark substitutes `${...}` in statements,
environment variables included, before it parses them. The forms here avoid both. The meaning of a backslash is a
setting, too: with `escapedStringLiterals` on, Spark misreads raw literals, so `scan` refuses to run.
"""

import math
import re
from datetime import UTC, date, datetime
from decimal import Decimal

_BREAKS = re.compile(r"('|\$(?=\{))")


def identifier(name: str) -> str:
    """A column name in backticks."""
    return "`" + name.replace("`", "``") + "`"


def text_literal(value: str) -> str:
    """A string: `'abc'`, raw if it contains a backslash, in pieces if it contains a quote or `${`."""
    pieces = [_piece(piece) for piece in _BREAKS.split(value) if piece]
    if not pieces:
        return "''"
    return pieces[0] if len(pieces) == 1 else f"concat({', '.join(pieces)})"


def _piece(text: str) -> str:
    if text == "'":
        return "chr(39)"
    return f"r'{text}'" if "\\" in text else f"'{text}'"


def double_literal(value: float) -> str:
    """A double that Spark reads back bit for bit."""
    if math.isinf(value):
        return f"DOUBLE('{'' if value > 0 else '-'}Infinity')"
    return f"{value!r}D"


def decimal_literal(value: Decimal, precision: int, scale: int) -> str:
    """A decimal of the given type."""
    return f"CAST('{value:f}' AS DECIMAL({precision},{scale}))"


def date_literal(value: date) -> str:
    """A date."""
    return f"DATE '{value.isoformat()}'"


def moment_literal(value: datetime, *, time_zone: bool) -> str:
    """A UTC moment, as a timestamp with or without time zone."""
    text = value.astimezone(UTC).replace(tzinfo=None).isoformat()
    return f"TIMESTAMP_LTZ '{text}Z'" if time_zone else f"TIMESTAMP_NTZ '{text}'"
