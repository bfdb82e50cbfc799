"""What is measured: each measure can be taken from one file's statistics, if they have it, or computed by Spark.

A measure of a batch combines both: the statistics of some files, and the result of a pass over the others. Measures
are equal by value, so two checks that need the same measure share it.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import Enum
from typing import TYPE_CHECKING, Final, Protocol

from asgard.validation.bounds import Range
from asgard.validation.conditions import outside_condition
from asgard.validation.file_facts import column_statistics, file_bounds, nan_count, null_count
from asgard.validation.schema import Field, TypeKind
from asgard.validation.statistics import FileStatistics
from asgard.validation.values import Scalar

if TYPE_CHECKING:
    from pyspark.sql import Column


class UnknownMeasure(Enum):
    """The value of a measure that a file's statistics don't have."""

    UNKNOWN = "unknown"


UNKNOWN: Final = UnknownMeasure.UNKNOWN


class Measure(Protocol):
    """One value of a batch; statistics may have it for some of the files."""

    @property
    def sort_key(self) -> str:
        """Measures of one column sort together, so that a pass that is split in two reads each column once."""

    def from_file(self, file: FileStatistics) -> object:
        """What one file contributes, or UNKNOWN."""

    def combine(self, parts: Iterable[object]) -> object:
        """The measure of several files from that of each."""


class AggregateMeasure(Measure, Protocol):
    """A measure that is one aggregate over the rows; all of a batch are computed together."""

    def column(self) -> "Column":
        """The aggregate."""

    def decode(self, value: object) -> object:
        """Spark's answer, converted to the value that statistics would give."""


class _Count:
    """A number of rows: adds up over files."""

    def combine(self, parts: Iterable[object]) -> object:
        return sum(part for part in parts if isinstance(part, int))

    def decode(self, value: object) -> object:
        return value


@dataclass(frozen=True)
class RecordCount(_Count):
    """How many rows there are."""

    sort_key = ""

    def from_file(self, file: FileStatistics) -> object:
        """The file's record count."""
        return file.record_count

    def column(self) -> "Column":
        """`count(1)`."""
        from pyspark.sql import functions as F

        return F.expr("count(1)")


@dataclass(frozen=True)
class Values(_Count):
    """How many rows have a value, NaN included, in a column."""

    field: Field

    @property
    def sort_key(self) -> str:
        """The column."""
        return self.field.name

    def from_file(self, file: FileStatistics) -> object:
        """Rows less nulls."""
        nulls = null_count(file, self.field)
        return UNKNOWN if nulls is None else file.record_count - nulls

    def column(self) -> "Column":
        """`count(column)`."""
        from pyspark.sql import functions as F

        return F.expr(f"count({self.field.sql})")


@dataclass(frozen=True)
class Failing(_Count):
    """How many rows satisfy a condition that is null where `field` is null."""

    condition: str
    field: Field

    @property
    def sort_key(self) -> str:
        """The column."""
        return self.field.name

    def from_file(self, file: FileStatistics) -> object:
        """0 if the file has only nulls; else unknown."""
        return 0 if null_count(file, self.field) == file.record_count else UNKNOWN

    def column(self) -> "Column":
        """A conditional count."""
        return count_where(self.condition)


@dataclass(frozen=True)
class Outside(_Count):
    """How many values lie outside a range."""

    wanted: Range

    @property
    def sort_key(self) -> str:
        """The column."""
        return self.wanted.field.name

    def from_file(self, file: FileStatistics) -> object:
        """Known if the file's bounds lie wholly inside or wholly outside the range.

        Bounds need not be exact for that: they enclose all values (cut text too, whose upper bound is rounded up), so
        the values lie inside or outside with them. Bounds don't cover NaN, which has its own count; without that
        count the measure is unknown.
        """
        wanted = self.wanted
        nulls, nans = null_count(file, wanted.field), nan_count(file, wanted.field)
        if nulls == file.record_count:
            return 0
        if nans is None:
            return UNKNOWN
        failing_nans = nans if wanted.nan_outside else 0
        if nulls is not None and nulls + nans == file.record_count:
            return failing_nans
        lower, upper = file_bounds(file, wanted.field)
        inside_low = wanted.low is None or _at_most(wanted.low, lower)
        inside_high = wanted.high is None or _at_most(upper, wanted.high)
        if inside_low and inside_high and not wanted.nothing:
            return failing_nans
        if nulls is not None and (wanted.nothing or _below(upper, wanted.low) or _below(wanted.high, lower)):
            return file.record_count - nulls - nans + failing_nans
        return UNKNOWN

    def column(self) -> "Column":
        """A conditional count."""
        return count_where(outside_condition(self.wanted))


@dataclass(frozen=True)
class NotAccepted(_Count):
    """How many values are not among the accepted ones, which are of the column's type."""

    field: Field
    accepted: frozenset[Scalar]
    condition: str

    @property
    def sort_key(self) -> str:
        """The column."""
        return self.field.name

    def from_file(self, file: FileStatistics) -> object:
        """Known if every value that the bounds enclose is accepted, or none is."""
        nulls, nans = null_count(file, self.field), nan_count(file, self.field)
        if nulls == file.record_count:
            return 0
        lower, upper = file_bounds(file, self.field)
        if nans is None or lower is None or upper is None:
            return UNKNOWN
        inside = sum(1 for value in self.accepted if _at_most(lower, value) and _at_most(value, upper))
        whole = lower == upper or (isinstance(lower, int) and isinstance(upper, int) and upper - lower + 1 == inside)
        if inside and whole:
            return nans
        return file.record_count - nulls if not inside and nulls is not None else UNKNOWN

    def column(self) -> "Column":
        """A conditional count."""
        return count_where(self.condition)


@dataclass(frozen=True)
class Broken(_Count):
    """How many rows break a user's own condition."""

    condition: "str | Callable[[], Column]"

    @property
    def sort_key(self) -> str:
        """Last, as the columns that it reads aren't known."""
        return "\U0010ffff"

    def from_file(self, file: FileStatistics) -> object:
        """0 if the file has no rows; else unknown."""
        return UNKNOWN if file.record_count else 0

    def column(self) -> "Column":
        """A conditional count."""
        return count_where(self.failing())

    def failing(self) -> "Column":
        """The condition of the failing rows."""
        from pyspark.sql import functions as F

        return ~(F.expr(self.condition) if isinstance(self.condition, str) else self.condition())


@dataclass(frozen=True)
class Newest:
    """The greatest value of a date or timestamp column, as a moment in UTC; None without values."""

    field: Field

    @property
    def sort_key(self) -> str:
        """The column."""
        return self.field.name

    def from_file(self, file: FileStatistics) -> object:
        """The upper bound, if it is a value that occurs; None if the file has only nulls."""
        if null_count(file, self.field) == file.record_count:
            return None
        known = column_statistics(file, self.field)
        _, upper = file_bounds(file, self.field)
        return UNKNOWN if upper is None or not known.exact_bounds else _moment(upper)

    def combine(self, parts: Iterable[object]) -> object:
        """The latest of the parts."""
        return max((part for part in parts if isinstance(part, datetime)), default=None)

    def column(self) -> "Column":
        """`max`, as whole units since 1970: Python's own conversion depends on the machine's time zone."""
        from pyspark.sql import functions as F

        name = self.field.sql
        if self.field.kind is TypeKind.TIMESTAMP:
            return F.expr(f"unix_micros(max({name}))")
        if self.field.kind is TypeKind.DATE:
            return F.expr(f"unix_date(max({name}))")
        return F.expr(f"max({name})")

    def decode(self, value: object) -> object:
        """A moment in UTC; a value beyond Python's years 1 to 9999 becomes Python's first or last moment."""
        if isinstance(value, int):
            unit = timedelta(days=1) if self.field.kind is TypeKind.DATE else timedelta(microseconds=1)
            try:
                return datetime(1970, 1, 1, tzinfo=UTC) + value * unit
            except OverflowError:
                return (datetime.max if value > 0 else datetime.min).replace(tzinfo=UTC)
        return None if value is None else _moment(value)


@dataclass(frozen=True)
class Mean:
    """The mean of a column's values; None without values."""

    field: Field

    @property
    def sort_key(self) -> str:
        """The column."""
        return self.field.name

    def from_file(self, file: FileStatistics) -> object:
        """None if the file has only nulls; else unknown."""
        return None if null_count(file, self.field) == file.record_count else UNKNOWN

    def combine(self, parts: Iterable[object]) -> object:
        """The one part that is known: files without values contribute nothing, the others are read together."""
        return next((part for part in parts if part is not None), None)

    def column(self) -> "Column":
        """`avg`."""
        from pyspark.sql import functions as F

        return F.expr(f"avg({self.field.sql})")

    def decode(self, value: object) -> object:
        """The same value."""
        return value


@dataclass(frozen=True)
class Shared:
    """Values of a column set that more than one row has: how many, and in how many rows."""

    fields: tuple[Field, ...]

    @property
    def sort_key(self) -> str:
        """The first column."""
        return self.fields[0].name

    def from_file(self, file: FileStatistics) -> object:
        """None if a column has only nulls; else unknown."""
        only_nulls = any(null_count(file, field) == file.record_count for field in self.fields)
        return None if only_nulls else UNKNOWN

    def combine(self, parts: Iterable[object]) -> object:
        """The one part that is known; None if there are no values."""
        return next((part for part in parts if part is not None), None)


@dataclass(frozen=True)
class Orphans(_Count):
    """How many rows have values that another table lacks."""

    fields: tuple[Field, ...]
    table: str
    target_columns: tuple[str, ...]

    @property
    def sort_key(self) -> str:
        """The first column."""
        return self.fields[0].name

    def from_file(self, file: FileStatistics) -> object:
        """0 if a column has only nulls; else unknown."""
        only_nulls = any(null_count(file, field) == file.record_count for field in self.fields)
        return 0 if only_nulls else UNKNOWN


def count_where(condition: "str | Column") -> "Column":
    """How many rows satisfy a condition; null counts as false."""
    from pyspark.sql import functions as F

    return F.count_if(F.expr(condition) if isinstance(condition, str) else condition)


def _moment(value: object) -> datetime:
    if isinstance(value, datetime):
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=UTC)
    raise TypeError(f"{value!r} is not a moment")


def _at_most(left: Scalar | None, right: Scalar | None) -> bool:
    """Both known, and left <= right."""
    return left is not None and right is not None and left <= right  # type: ignore[operator]  # of one type


def _below(left: Scalar | None, right: Scalar | None) -> bool:
    """Both known, and left < right."""
    return left is not None and right is not None and left < right  # type: ignore[operator]  # of one type
