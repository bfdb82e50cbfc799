"""Arithmetic on intervals of time: half-open, in UTC, aligned to a cadence.

A `Cadence` names a table's interval column and how long one interval is. A `TimeRange` is one range of time. A
`RangeSet` is a set of them, e.g. what is computed of a table; missing intervals are the difference of two sets.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum

from asgard.common.errors import DeclarationError, UsageError


class Unit(StrEnum):
    """The length of one interval. Weeks start on Monday (ISO 8601)."""

    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    YEAR = "year"

    def floor(self, moment: datetime) -> datetime:
        """The start of the interval that `moment` lies in."""
        day = moment.replace(hour=0, minute=0, second=0, microsecond=0)
        match self:
            case Unit.HOUR:
                return moment.replace(minute=0, second=0, microsecond=0)
            case Unit.DAY:
                return day
            case Unit.WEEK:
                return day - timedelta(days=day.weekday())
            case Unit.MONTH:
                return day.replace(day=1)
            case Unit.YEAR:
                return day.replace(month=1, day=1)

    def shift(self, start: datetime, count: int) -> datetime:
        """The interval start that lies `count` intervals after the interval start `start`."""
        match self:
            case Unit.HOUR:
                return start + timedelta(hours=count)
            case Unit.DAY:
                return start + timedelta(days=count)
            case Unit.WEEK:
                return start + timedelta(weeks=count)
            case Unit.MONTH:
                months = start.year * 12 + start.month - 1 + count
                return start.replace(year=months // 12, month=months % 12 + 1)
            case Unit.YEAR:
                return start.replace(year=start.year + count)

    def ceil(self, moment: datetime) -> datetime:
        """The first interval start at or after `moment`."""
        start = self.floor(moment)
        return start if start == moment else self.shift(start, 1)

    def starts(self, window: "TimeRange") -> "Iterator[datetime]":
        """Every interval start in a range, in order."""
        start = self.ceil(window.start)
        while start < window.end:
            yield start
            start = self.shift(start, 1)


@dataclass(frozen=True, order=True)
class TimeRange:
    """All moments t with start <= t < end, in UTC.

    Raises:
        UsageError: a bound without a time zone, or start >= end.
    """

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        if self.start.tzinfo is None or self.end.tzinfo is None:
            raise UsageError(f"The range {self.start} to {self.end} has no time zone.", hint="Give both bounds in UTC.")
        object.__setattr__(self, "start", self.start.astimezone(UTC))
        object.__setattr__(self, "end", self.end.astimezone(UTC))
        if self.start >= self.end:
            raise UsageError(
                f"The range {moment_text(self.start)} to {moment_text(self.end)} is empty.",
                hint="The start must lie before the end; the end itself is not part of the range.",
            )

    @classmethod
    def parse(cls, start: str, end: str) -> "TimeRange":
        """Read two ISO 8601 dates or timestamps (UTC where no offset is given).

        Raises:
            UsageError: not a date or timestamp, or start >= end.
        """
        return cls(parse_moment(start), parse_moment(end))

    def intersect(self, other: "TimeRange") -> "TimeRange | None":
        """The moments in both, or None."""
        start, end = max(self.start, other.start), min(self.end, other.end)
        return TimeRange(start, end) if start < end else None

    def __str__(self) -> str:
        return f"{moment_text(self.start)}/{moment_text(self.end)}"


@dataclass(frozen=True)
class Cadence:
    """A table's interval column, the length of one interval, and how many past intervals a run computes again.

    Attributes:
        column: a timestamp or date column of the table.
        unit: the length of one interval.
        lookback: how many intervals before a missing one are computed again with it, for late rows.
    """

    column: str
    unit: Unit
    lookback: int = 0

    def __post_init__(self) -> None:
        if self.lookback < 0:
            raise DeclarationError(
                f"The lookback of interval column {self.column!r} is {self.lookback}.", hint="Use 0 or more intervals."
            )

    @property
    def partition(self) -> str:
        """The coarsest partition field on which intervals can be overwritten exactly."""
        unit = Unit.DAY if self.unit is Unit.WEEK else self.unit
        return f"{unit}({self.column})"

    def is_exact_on(self, partition_field: str) -> bool:
        """Whether every interval is a whole number of partitions of this field."""
        finer: dict[Unit, tuple[str, ...]] = {
            Unit.HOUR: ("hour",),
            Unit.DAY: ("hour", "day"),
            Unit.WEEK: ("hour", "day"),
            Unit.MONTH: ("hour", "day", "month"),
            Unit.YEAR: ("hour", "day", "month", "year"),
        }
        return partition_field == self.column or any(
            partition_field == f"{unit}({self.column})" for unit in finer[self.unit]
        )

    def align(self, window: TimeRange) -> TimeRange | None:
        """The whole intervals inside `window`, or None if there is none."""
        start, end = self.unit.ceil(window.start), self.unit.floor(window.end)
        return TimeRange(start, end) if start < end else None

    def cover(self, window: TimeRange) -> TimeRange:
        """The whole intervals that `window` touches."""
        return TimeRange(self.unit.floor(window.start), self.unit.ceil(window.end))

    def chunks(self, window: TimeRange, size: int) -> Iterator[TimeRange]:
        """An aligned window in pieces of `size` intervals; the last may be shorter.

        Raises:
            UsageError: size < 1.
        """
        if size < 1:
            raise UsageError(f"Pieces of {size} intervals are not possible.", hint="Use 1 or more intervals per run.")
        start = window.start
        while start < window.end:
            end = min(self.unit.shift(start, size), window.end)
            yield TimeRange(start, end)
            start = end


class RangeSet:
    """A set of moments as sorted, disjoint, non-touching ranges."""

    def __init__(self, ranges: Iterable[TimeRange] = ()) -> None:
        self.ranges: tuple[TimeRange, ...] = tuple(_merge(sorted(ranges)))

    def __or__(self, other: "RangeSet") -> "RangeSet":
        return RangeSet((*self.ranges, *other.ranges))

    def __sub__(self, other: "RangeSet") -> "RangeSet":
        left = list(self.ranges)
        for hole in other.ranges:
            left = [piece for part in left for piece in _without(part, hole)]
        return RangeSet(left)

    def __and__(self, other: "RangeSet") -> "RangeSet":
        return RangeSet(
            both for mine in self.ranges for theirs in other.ranges if (both := mine.intersect(theirs)) is not None
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RangeSet) and self.ranges == other.ranges

    def __hash__(self) -> int:
        return hash(self.ranges)

    def __iter__(self) -> Iterator[TimeRange]:
        return iter(self.ranges)

    def __bool__(self) -> bool:
        return bool(self.ranges)

    def __str__(self) -> str:
        return ",".join(map(str, self.ranges))

    def __repr__(self) -> str:
        return f"RangeSet({self})"

    @classmethod
    def parse(cls, text: str) -> "RangeSet":
        """Read what `str()` wrote."""
        return cls(TimeRange.parse(*part.split("/")) for part in text.split(",") if part)


def parse_moment(text: str) -> datetime:
    """Read an ISO 8601 date (its midnight) or timestamp; UTC where no offset is given.

    Raises:
        UsageError: it is neither.
    """
    try:
        moment = datetime.fromisoformat(text)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise UsageError(
            f"{text!r} is not a date or timestamp.", hint="Write 2024-01-31 or 2024-01-31T12:00:00Z."
        ) from error


def as_moment(value: datetime | date | str) -> datetime:
    """A date, timestamp or their text as a moment in UTC."""
    if isinstance(value, str):
        return parse_moment(value)
    return parse_moment(value.isoformat())


def moment_text(moment: datetime) -> str:
    """A moment as short as possible: `2024-01-05` for its midnight, else `2024-01-05T07:00:00Z`."""
    if moment == moment.replace(hour=0, minute=0, second=0, microsecond=0):
        return moment.date().isoformat()
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _merge(ranges: Iterable[TimeRange]) -> Iterator[TimeRange]:
    current: TimeRange | None = None
    for following in ranges:
        if current is None:
            current = following
        elif following.start <= current.end:
            current = TimeRange(current.start, max(current.end, following.end))
        else:
            yield current
            current = following
    if current is not None:
        yield current


def _without(part: TimeRange, hole: TimeRange) -> Iterator[TimeRange]:
    if part.intersect(hole) is None:
        yield part
        return
    if part.start < hole.start:
        yield TimeRange(part.start, hole.start)
    if hole.end < part.end:
        yield TimeRange(hole.end, part.end)
