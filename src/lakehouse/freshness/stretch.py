"""A stretch of an input: which of its rows a computation read, by one column of time."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

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
        low, high = (moment_of(each).isoformat() if each is not None else "" for each in (self.start, self.end))
        return f"{self.column} in [{low}, {high})"


EVERYTHING = Stretch()
"""All rows."""
NOTHING = Stretch(start=0, end=0, nulls=False)
"""Not one row."""
