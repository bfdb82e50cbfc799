"""Statistics of data files, as plain values: the code that knows the catalog fills them in."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from asgard.validation.values import Scalar


@dataclass(frozen=True)
class ColumnStatistics:
    """What is known of one column in one file. None is always "unknown", never "nothing".

    Attributes:
        null_count: number of rows with null.
        nan_count: number of rows with NaN (float and double columns).
        lower: no value is below it, except NaN and nulls. A plain Python value of the column's type:
            int, float, Decimal, str, date, datetime in UTC (without time zone for timestamp_ntz). A value of
            another type is treated as unknown.
        upper: no value is above it.
        exact_bounds: both bounds are values that occur (text is usually cut, and then they only enclose).
    """

    null_count: int | None = None
    nan_count: int | None = None
    lower: Scalar | None = None
    upper: Scalar | None = None
    exact_bounds: bool = False


@dataclass(frozen=True)
class FileStatistics:
    """One data file: its rows, and what is known of its columns by name.

    A column that is missing here is unknown. Nested fields are not looked up: they are always read.
    """

    path: str
    record_count: int
    columns: Mapping[str, ColumnStatistics] = field(default_factory=dict)
