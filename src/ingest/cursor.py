"""Cursor values: how far a database table was read, and from where it is read again.

A watermark is the database's own text of the greatest value. The next read takes what is above it, and once more the
rows from `watermark - overlap` on: those that landed are left out (`relanding`), so that a row that came late, or
later at an equal value, is not missed.
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
OVERLAP_HINT = "E.g. '2 hours', '30 minutes', '1 day'; for a cursor of numbers a number."


def latest(values: Iterable[str]) -> str | None:
    """The greatest of some watermarks, of one column."""
    return max(values, key=_comparable, default=None)


def _comparable(value: str) -> Decimal | datetime:
    return Decimal(value) if _NUMBER.fullmatch(value) else datetime.fromisoformat(value)


def literal(value: str) -> str:
    """A cursor value that the database gave, as it takes it back.

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
    """An overlap: a number, or a duration.

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
        raise UsageError(f"The overlap {text!r} is longer than all of history.", hint=OVERLAP_HINT) from error


def read_again_from(watermark: str, overlap: str | None, order: Order) -> str:
    """The least cursor value to read once more.

    Args:
        watermark: as the database wrote it.
        overlap: how far below it; None: rows that equal the watermark only.
        order: what the cursor column holds.

    Raises:
        UsageError: the overlap is a duration for numbers, or a number for times.
    """
    if overlap is None:
        return watermark
    back = parse_overlap(overlap)
    if isinstance(back, Decimal) != order.is_number:
        raise UsageError(
            f"The overlap is {overlap!r}, but the cursor column holds {'numbers' if order.is_number else 'times'}.",
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
    """Where a value of a column stands: a number as itself, a time in microseconds since year 1.

    Args:
        text: a number, or a date or time in ISO 8601; without an offset it is in UTC.
        order: what the column holds.

    Returns:
        None for what stands nowhere: NaN, infinity, a time before year 1 or after 9999.
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
    """Literals that cut the values from `low` to `high` into parts of one length: ascending, each once."""
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
