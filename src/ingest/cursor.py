"""Cursor values: how far a database table was read, and where the next read starts.

A watermark is the greatest value read, as the database writes it. The next read takes the rows above the watermark and
re-reads the rows from `watermark - overlap` on, of which those that already landed are dropped (`relanding`). So a row
that was added late, or later with an equal value, is not missed.
"""

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from decimal import ROUND_FLOOR, Decimal, InvalidOperation, localcontext

from asgard.common.errors import InputDataError, UsageError
from asgard.ingest.database_types import Order

_YEAR_1 = datetime(1, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_DIGITS = 200
"""More than any database's numbers have."""
_NUMBER = re.compile(r"-?\d+(\.\d+)?")
_DAY = re.compile(r"\d{4}-\d\d-\d\d")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d( \d\d:\d\d:\d\d(\.\d+)?([+-]\d\d(:?\d\d)?)?)?")
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(second|minute|hour|day|week)s?")
OVERLAP_HINT = "E.g. '2 hours', '30 minutes', '1 day'; for a numeric cursor, a number."


def latest(values: Iterable[str]) -> str | None:
    """The greatest of one column's watermarks; None if there are none."""
    return max(values, key=_comparable, default=None)


def _comparable(value: str) -> Decimal | datetime:
    return Decimal(value) if _NUMBER.fullmatch(value) else datetime.fromisoformat(value)


def literal(value: str) -> str:
    """A cursor value that the database returned, as a literal for its SQL.

    Raises:
        InputDataError: it is neither a number nor a time that exists.
    """
    if _NUMBER.fullmatch(value):
        return value
    if _MOMENT.fullmatch(value) and _exists(value):
        return f"'{value}'"
    raise InputDataError(
        f"The cursor's greatest value is {value!r}, which is neither a number nor a time.",
        hint="Take another cursor column, or a query that leaves such rows out.",
    )


def _exists(value: str) -> bool:
    try:
        datetime.fromisoformat(value)
    except ValueError:
        return False
    return True


def parse_overlap(text: str) -> Decimal | timedelta:
    """Parse an overlap: a number or a duration.

    Raises:
        UsageError: it is neither.
    """
    if _NUMBER.fullmatch(text) and not text.startswith("-"):
        return Decimal(text)
    match = _DURATION.fullmatch(text.strip().lower())
    if match is None:
        raise UsageError(f"The overlap {text!r} is neither a duration nor a number.", hint=OVERLAP_HINT)
    try:
        return timedelta(**{f"{match[2]}s": float(match[1])})
    except OverflowError as error:
        raise UsageError(f"The overlap {text!r} is longer than any supported duration.", hint=OVERLAP_HINT) from error


def read_again_from(watermark: str, overlap: str | None, order: Order) -> str:
    """The smallest cursor value to re-read.

    Args:
        watermark: as the database wrote it.
        overlap: how far below the watermark to start; None: re-read only rows that equal the watermark.
        order: the kind of the cursor column's values.

    Raises:
        UsageError: the overlap is a duration but the column has numbers, or a number but the column has times.
    """
    if overlap is None:
        return watermark
    back = parse_overlap(overlap)
    if isinstance(back, Decimal) != order.is_number:
        raise UsageError(
            f"The overlap is {overlap!r}, but the cursor column contains {'numbers' if order.is_number else 'times'}.",
            hint=OVERLAP_HINT,
        )
    if isinstance(back, Decimal):
        with localcontext(prec=_DIGITS):
            return f"{Decimal(watermark) - back:f}"
    least = _earlier(datetime.fromisoformat(watermark), back)
    return least.date().isoformat() if _DAY.fullmatch(watermark) else least.isoformat(sep=" ")


def _earlier(moment: datetime, back: timedelta) -> datetime:
    try:
        return moment - back
    except OverflowError:
        return datetime.min.replace(tzinfo=moment.tzinfo)


def position(text: str, order: Order) -> Decimal | None:
    """A column's value as a number: a number as itself, a time in microseconds since year 1.

    Args:
        text: a number, or a date or time in ISO 8601; without an offset it is in UTC.
        order: the kind of the column's values.

    Returns:
        None for NaN, infinity, and a time before year 1 or after 9999.
    """
    try:
        if order.is_number:
            number = Decimal(text)
            return number if number.is_finite() else None
        moment = datetime.fromisoformat(text)
    except (ValueError, InvalidOperation):
        return None
    utc = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return Decimal((utc - _YEAR_1) // _MICROSECOND)


def cuts(low: Decimal, high: Decimal, parts: int, order: Order) -> list[str]:
    """SQL literals that split the values from `low` to `high` into parts of equal length: ascending, distinct."""
    found = {_rounded(low + (high - low) * place / parts, order): None for place in range(1, parts)}
    return [_cut_literal(place, order) for place in found if low < place <= high]


def _rounded(place: Decimal, order: Order) -> Decimal:
    if order is Order.DECIMAL:
        return place
    unit = Decimal(timedelta(days=1) // _MICROSECOND) if order is Order.DATE else Decimal(1)
    return (place / unit).to_integral_value(ROUND_FLOOR) * unit


def _cut_literal(place: Decimal, order: Order) -> str:
    if order.is_number:
        return f"{place:f}"
    moment = _YEAR_1.replace(tzinfo=None) + int(place) * _MICROSECOND
    if order is Order.DATE:
        return f"'{moment.date().isoformat()}'"
    return f"'{moment.isoformat(sep=' ')}{'+00' if order is Order.ZONED else ''}'"
