"""The plain values that a check may be declared with: numbers, text, dates, moments, booleans."""

import math
import numbers
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import StrEnum

from asgard.common.errors import CheckDefinitionError

Scalar = bool | int | float | Decimal | str | date | datetime


class Family(StrEnum):
    """Values of one family compare with each other, and with columns of that family only."""

    NUMBER = "number"
    TEXT = "text"
    DATE = "date"
    MOMENT = "timestamp"
    BOOLEAN = "boolean"


def scalar(value: object, what: str) -> Scalar:
    """Return `value` as one of Python's own scalars (numpy's and pandas' included).

    Args:
        value: what was declared.
        what: how an error names it, e.g. `between(sales_value): low`.

    Raises:
        CheckDefinitionError: another type, NaN, a datetime without a time zone, or text that isn't Unicode.
    """
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _text(value, what)
    if isinstance(value, datetime):
        return _moment(value, what)
    if isinstance(value, date):
        return date(value.year, value.month, value.day)
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, Decimal | numbers.Real):
        number = value if isinstance(value, Decimal) else float(value)
        if number.is_nan() if isinstance(number, Decimal) else math.isnan(number):
            raise CheckDefinitionError(f"{what} is NaN.", hint="NaN compares with nothing; give a number.")
        return number
    raise CheckDefinitionError(
        f"{what} is {value!r}, a {type(value).__name__}.",
        hint="Give a bool, int, float, Decimal, str, date, or datetime with a time zone.",
    )


def family_of(value: Scalar) -> Family:
    """The family that a scalar belongs to."""
    match value:
        case bool():
            return Family.BOOLEAN
        case int() | float() | Decimal():
            return Family.NUMBER
        case str():
            return Family.TEXT
        case datetime():
            return Family.MOMENT
        case date():
            return Family.DATE


def _text(value: str, what: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise CheckDefinitionError(
            f"{what} is {value!r}, which is not valid Unicode.", hint="Remove the lone surrogate."
        ) from error
    return str(value)


def _moment(value: datetime, what: str) -> datetime:
    if value.tzinfo is None:
        raise CheckDefinitionError(
            f"{what} is {value}, a datetime without a time zone.",
            hint="Write datetime(..., tzinfo=UTC): everything in Asgard is in UTC.",
        )
    utc = value.astimezone(UTC)
    return datetime(utc.year, utc.month, utc.day, utc.hour, utc.minute, utc.second, utc.microsecond, UTC)
