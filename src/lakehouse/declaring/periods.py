"""Periods of time as people write them, `2024-01` or `2024-01-05..2024-01-07`, and intervals folded into such texts."""

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta

from asgard.common.errors import UsageError
from asgard.lakehouse.declaring.intervals import Cadence, RangeSet, TimeRange, Unit

CADENCE_PROPERTY = "asgard.interval"
"""Table property: the length of its intervals and the column that they go by, e.g. `day(sold_at)`."""
_FORMS = (
    (Unit.YEAR, re.compile(r"(?P<start>\d{4})"), "%Y"),
    (Unit.MONTH, re.compile(r"(?P<start>\d{4}-\d{2})"), "%Y-%m"),
    (Unit.WEEK, re.compile(r"(?P<start>\d{4}-W\d{2})"), "%G-W%V"),
    (Unit.DAY, re.compile(r"(?P<start>\d{4}-\d{2}-\d{2})"), "%Y-%m-%d"),
    (Unit.HOUR, re.compile(r"(?P<start>\d{4}-\d{2}-\d{2}T\d{2})(:00(:00)?)?(Z|\+00:00)?"), "%Y-%m-%dT%H"),
)
_EXAMPLES = {
    Unit.YEAR: "2024",
    Unit.MONTH: "2024-01",
    Unit.WEEK: "2024-W03",
    Unit.DAY: "2024-01-05",
    Unit.HOUR: "2024-01-05T07",
}
_HINT = (
    "Write a year 2024, month 2024-01, week 2024-W03, day 2024-01-05, hour 2024-01-05T07, or 2024-01-05..2024-01-07."
)


def parse_period(text: str) -> TimeRange:
    """Read a year, month, ISO week, day or hour in UTC; or `FIRST..LAST`, which includes both; or `START/END`.

    Raises:
        UsageError: it is none of these, or ends before it begins.
    """
    if "/" in text:
        return TimeRange.parse(*text.split("/", 1))
    first, dots, last = text.partition("..")
    start, end = _parse_one(first, text), _parse_one(last if dots else first, text)
    if end.end <= start.start:
        raise UsageError(f"The period {text!r} ends before it begins.", hint="Write the earlier one first.")
    return TimeRange(start.start, end.end)


def _parse_one(part: str, text: str) -> TimeRange:
    for unit, form, pattern in _FORMS:
        match = form.fullmatch(part)
        if match:
            try:
                start = _moment(unit, match["start"], pattern)
                return TimeRange(start, unit.shift(start, 1))
            except (ValueError, OverflowError) as error:
                raise UsageError(f"{text!r} names no period: {part!r} is in no calendar.", hint=_HINT) from error
    raise UsageError(f"{text!r} is not a period of time.", hint=_HINT)


def _moment(unit: Unit, text: str, pattern: str) -> datetime:
    if unit is Unit.WEEK:  # `strptime` has no week without a day
        text, pattern = f"{text}-1", f"{pattern}-%u"
    return datetime.strptime(text, pattern).replace(tzinfo=UTC)


def published_cadence(properties: Mapping[str, str]) -> Cadence | None:
    """The intervals of a published table, by its properties; None for a table without intervals."""
    unit, _, column = properties.get(CADENCE_PROPERTY, "").rstrip(")").partition("(")
    return Cadence(column, Unit(unit)) if column else None


def whole_intervals(cadence: Cadence, period: TimeRange, what: str) -> TimeRange:
    """The intervals that a period names; a week may also be named by its Monday.

    Args:
        cadence: of a table.
        period: as `parse_period` reads it.
        what: the table, for the error.

    Raises:
        UsageError: the period is not a whole number of intervals.
    """
    if cadence.unit is Unit.WEEK:
        last = period.end - timedelta(days=1)
        if cadence.unit.floor(period.start) == period.start and cadence.unit.floor(last) == last:
            return cadence.cover(period)
    if cadence.cover(period) != period:
        raise UsageError(
            f"{period} is not a whole number of intervals of {what}: each is one {cadence.unit} of {cadence.column}.",
            hint=f"Its intervals are written like {_EXAMPLES[cadence.unit]}; those around this period are "
            f"{', '.join(folded([cadence.cover(period)], cadence.unit))}.",
        )
    return period


def folded(intervals: Iterable[TimeRange], unit: Unit) -> list[str]:
    """Intervals of one length as few texts, in order: `2024-01-05..2024-01-07`, `2024-01-09`.

    Args:
        intervals: or longer stretches; each counts as all intervals that it touches.
        unit: their length.
    """
    cover = Cadence("", unit).cover
    return [_text(part, unit) for part in RangeSet(cover(each) for each in intervals)]


def _text(part: TimeRange, unit: Unit) -> str:
    first, last = part.start, unit.shift(part.end, -1)
    return _name(first, unit) if first == last else f"{_name(first, unit)}..{_name(last, unit)}"


def _name(start: datetime, unit: Unit) -> str:
    pattern = next(pattern for each, _, pattern in _FORMS if each is unit)
    return start.strftime(pattern).rjust(len(_EXAMPLES[unit]), "0")  # %Y has no leading zeros on Linux
