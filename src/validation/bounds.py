"""Declared values converted to a column's own type, so that statistics, Spark and Python compare them alike.

Spark widens both sides of a comparison to a common type and may round on the way (a bigint against a
double). Here the declared value is converted to the column's type instead, once, and exactly: for whole numbers
and decimals, a low bound is rounded up and a high bound down to the next value of the type.
"""

import math
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal

from asgard.validation import sql_text
from asgard.validation.schema import Field, TypeKind, UnfitCheckError
from asgard.validation.values import Family, Scalar, family_of

_EXACT = Context(prec=80)  # decimals have at most 38 digits

FAMILIES = {
    TypeKind.INTEGRAL: Family.NUMBER,
    TypeKind.FLOATING: Family.NUMBER,
    TypeKind.DECIMAL: Family.NUMBER,
    TypeKind.STRING: Family.TEXT,
    TypeKind.BOOLEAN: Family.BOOLEAN,
    TypeKind.DATE: Family.DATE,
    TypeKind.TIMESTAMP: Family.MOMENT,
    TypeKind.TIMESTAMP_NTZ: Family.MOMENT,
}


@dataclass(frozen=True)
class Range:
    """The values [low, high] of a column, in its own type; None is an open bound.

    Attributes:
        nothing: the type has no value in the range: every value lies outside.
        nan_outside: NaN counts as outside.
    """

    field: Field
    low: Scalar | None
    high: Scalar | None
    nothing: bool = False
    nan_outside: bool = True


def fit_range(field: Field, low: Scalar | None, high: Scalar | None, *, nan_outside: bool = True) -> Range:
    """The range in a column's own type.

    Raises:
        UnfitCheckError: the bounds are of another family than the column, or text that is not a date or timestamp.
    """
    low, high = (_from_text(field, bound) if isinstance(bound, str) else bound for bound in (low, high))
    for bound in (low, high):
        if bound is not None:
            require_family(field, bound)
    nan = nan_outside and field.kind is TypeKind.FLOATING
    match field.kind:
        case TypeKind.FLOATING:
            least, most = (None if bound is None else _nearest_float(bound, field) for bound in (low, high))
            return Range(field, None if least == -math.inf else least, most, nan_outside=nan)
        case TypeKind.INTEGRAL | TypeKind.DECIMAL:
            lower, nothing_above = _step(field, low, up=True)
            upper, nothing_below = _step(field, high, up=False)
            gap = lower is not None and upper is not None and lower > upper
            return Range(field, lower, upper, nothing_above or nothing_below or gap, nan)
        case _:
            return Range(field, low, high, nan_outside=nan)


def fit_values(field: Field, values: Iterable[Scalar]) -> tuple[Scalar, ...]:
    """The values in a column's own type.

    Raises:
        UnfitCheckError: a value is of another family, or no value of the type equals it.
    """
    fitted: list[Scalar] = []
    for value in values:
        require_family(field, value)
        if field.kind is TypeKind.FLOATING:
            fitted.append(_nearest_float(value, field) + 0.0)  # -0.0 is 0.0
        elif field.kind in (TypeKind.INTEGRAL, TypeKind.DECIMAL):
            (low, beyond), (high, below) = _step(field, value, up=True), _step(field, value, up=False)
            if low is None or low != high or beyond or below:
                raise UnfitCheckError(
                    f"{value!r} is not a value that {field.name} ({field.type}) can hold.",
                    hint="Give values of the column's type.",
                )
            fitted.append(low)
        else:
            fitted.append(value)
    return tuple(fitted)


def literal(field: Field, value: Scalar) -> str:
    """The SQL literal of a value, in exactly the column's type."""
    match value:
        case bool():
            return "TRUE" if value else "FALSE"
        case int():
            return _integral_literal(field, value)
        case float():
            return sql_text.double_literal(value) if field.type == "double" else f"FLOAT({_float_text(value)})"
        case Decimal():
            return sql_text.decimal_literal(value, *field.decimal)
        case str():
            return sql_text.text_literal(value)
        case datetime():
            return sql_text.moment_literal(value, time_zone=field.kind is TypeKind.TIMESTAMP)
        case date():
            return sql_text.date_literal(value)


def comparable(field: Field, value: object) -> Scalar | None:
    """A bound from statistics, or None where it isn't a plain value of the column's type (then it's unknown)."""
    match field.kind, value:
        case TypeKind.INTEGRAL, int() if not isinstance(value, bool):
            return value
        case TypeKind.FLOATING, float() if not math.isnan(value):
            return value
        case TypeKind.DECIMAL, Decimal() if value.is_finite():
            return value
        case TypeKind.STRING, str():
            return value
        case TypeKind.TIMESTAMP, datetime() if value.tzinfo is not None:
            return value.astimezone(UTC)
        case TypeKind.TIMESTAMP_NTZ, datetime() if value.tzinfo is None:
            return value.replace(tzinfo=UTC)
        case TypeKind.DATE, date() if not isinstance(value, datetime):
            return value
        case _:
            return None


def require_family(field: Field, value: Scalar) -> None:
    """Refuse a declared value that can't be compared with a column.

    Raises:
        UnfitCheckError: the value is of another family; the message names both types.
    """
    family = FAMILIES.get(field.kind)
    if family is None or family_of(value) is not family:
        expected = f"{family} values" if family else "no declared values"
        raise UnfitCheckError(
            f"{field.name} is {field.type}, which compares with {expected}, not with {value!r}.",
            hint="Give values of the column's type, or cast the column in the table's function.",
        )


def _from_text(field: Field, bound: str) -> Scalar:
    """A bound that is given as text; for a date or timestamp column it is read as ISO 8601 (UTC without an offset).

    Raises:
        UnfitCheckError: the column is a date or timestamp, and the text is not one.
    """
    try:
        match field.kind:
            case TypeKind.DATE:
                return date.fromisoformat(bound)
            case TypeKind.TIMESTAMP | TypeKind.TIMESTAMP_NTZ:
                moment = datetime.fromisoformat(bound)
                return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise UnfitCheckError(
            f"{field.name} is {field.type}, and {bound!r} is not such a value in ISO 8601.",
            hint=f"Write {'2024-01-31' if field.kind is TypeKind.DATE else '2024-01-31T12:00:00Z'}.",
        ) from error
    return bound


def _step(field: Field, bound: Scalar | None, *, up: bool) -> tuple[int | Decimal | None, bool]:
    """The nearest value of a discrete type inside a bound; and whether the type has no value inside it."""
    if bound is None:
        return None, False
    if field.kind is TypeKind.INTEGRAL:
        least: int | Decimal
        most: int | Decimal
        least, most = field.integral_range
    else:
        precision, scale = field.decimal
        most = Decimal((0, (9,) * precision, -scale))
        least = most.copy_negate()
    if isinstance(bound, float) and field.kind is TypeKind.DECIMAL:
        bound = Decimal(repr(bound))
    assert isinstance(bound, int | float | Decimal)  # noqa: S101 - of this family, as fit_* required
    if (bound > most) if up else (bound < least):
        return None, True
    if (bound <= least) if up else (bound >= most):
        return (least if up else most), False
    if isinstance(most, int):
        return (math.ceil(bound) if up else math.floor(bound)), False
    step = Decimal((0, (1,), -field.decimal[1]))
    rounding = ROUND_CEILING if up else ROUND_FLOOR
    return Decimal(bound).quantize(step, rounding=rounding, context=_EXACT), False


def _nearest_float(bound: Scalar, field: Field) -> float:
    assert isinstance(bound, int | float | Decimal)  # noqa: S101 - of this family, as fit_* required
    try:
        number = float(bound)
        return number if field.type == "double" else struct.unpack("f", struct.pack("f", number))[0]
    except OverflowError:
        return math.inf if bound > 0 else -math.inf


def _integral_literal(field: Field, value: int) -> str:
    if value == -(1 << 63):  # its digits alone are not a bigint
        return f"CAST('{value}' AS BIGINT)"
    return f"{value}L" if field.type == "bigint" else str(value)


def _float_text(value: float) -> str:
    return sql_text.double_literal(value) if math.isfinite(value) else f"'{'' if value > 0 else '-'}Infinity'"
