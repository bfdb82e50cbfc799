"""A stretch of an input: which of its rows a computation read, by one column of time."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from asgard.lakehouse.declaring.intervals import moment_text

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
DAY = timedelta(days=1) // _MICROSECOND
"""Microseconds of a day."""


def micros(moment: datetime) -> int:
    """Microseconds since 1970 in UTC."""
    return (moment - _EPOCH) // _MICROSECOND


def moment_of(value: int) -> datetime:
    """The moment so many microseconds after 1970 in UTC."""
    return _EPOCH + value * _MICROSECOND


@dataclass(frozen=True)
class Stretch:
    """The rows of a table whose `column` lies in [start, end), and those without a value where `nulls`.

    Attributes:
        column: of type date or timestamp; "" for all rows.
        start, end: microseconds since 1970 in UTC; None for no bound. Equal where only rows without a value are meant.
        nulls: whether rows without a value belong to it.
    """

    column: str = ""
    start: int | None = None
    end: int | None = None
    nulls: bool = True

    @property
    def is_bounded(self) -> bool:
        """Whether a value can lie outside of it."""
        return bool(self.column) and (self.start is not None or self.end is not None)

    def on(self, column: str) -> "Stretch":
        """The same bounds on another column."""
        return replace(self, column=column)

    def narrowed(self, other: "Stretch") -> "Stretch":
        """The rows in both."""
        starts = [each for each in (self.start, other.start) if each is not None]
        ends = [each for each in (self.end, other.end) if each is not None]
        start, end = max(starts, default=None), min(ends, default=None)
        if start is not None and end is not None and start > end:
            end = start
        return Stretch(self.column, start, end, self.nulls and other.nulls)

    def joined(self, other: "Stretch") -> "Stretch":
        """The smallest stretch that holds both; all rows where their columns differ."""
        if self.column != other.column:
            return EVERYTHING
        mine, theirs = self.is_empty, other.is_empty
        if mine or theirs:
            return replace(self if theirs else other, nulls=self.nulls or other.nulls)
        start = None if self.start is None or other.start is None else min(self.start, other.start)
        end = None if self.end is None or other.end is None else max(self.end, other.end)
        return Stretch(self.column, start, end, self.nulls or other.nulls)

    @property
    def is_empty(self) -> bool:
        """Whether no value can lie in it."""
        return self.start is not None and self.start == self.end

    def __str__(self) -> str:
        if not self.is_bounded:
            return "all rows"
        low, high = (moment_text(moment_of(each)) if each is not None else "" for each in (self.start, self.end))
        return f"{self.column} in [{low}, {high}){' or null' if self.nulls else ''}"


EVERYTHING = Stretch()
"""All rows."""
NOTHING = Stretch(start=0, end=0, nulls=False)
"""Not one row."""


def merged(stretches: Iterable[Stretch]) -> tuple[Stretch, ...]:
    """The same rows as few stretches: those of one column that overlap or touch are joined, in order."""
    found: list[Stretch] = []
    for each in sorted(set(stretches), key=_order):
        if not each.is_bounded:
            return (EVERYTHING,)
        last = found[-1] if found else None
        if last is not None and (last.column, last.nulls) == (each.column, each.nulls) and _meets(last, each):
            found[-1] = last.joined(each)
        else:
            found.append(each)
    return (EVERYTHING,) if any(not each.is_bounded for each in found) else tuple(found)


def _order(stretch: Stretch) -> tuple[str, bool, bool, int]:
    return stretch.column, stretch.nulls, stretch.start is not None, stretch.start or 0


def _meets(earlier: Stretch, later: Stretch) -> bool:
    return earlier.end is None or later.start is None or later.start <= earlier.end
