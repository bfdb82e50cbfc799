"""Facts about one column from one file's statistics, as far as they can be trusted; None is unknown."""

from collections.abc import Sequence

from asgard.validation.bounds import comparable
from asgard.validation.schema import Field, TypeKind
from asgard.validation.statistics import ColumnStatistics, FileStatistics
from asgard.validation.values import Scalar


def column_statistics(file: FileStatistics, field: Field) -> ColumnStatistics:
    """What is known of a column in a file; nothing for a nested field, or a name with a dot."""
    if len(field.path) > 1 or "." in field.name:
        return ColumnStatistics()
    return file.columns.get(field.name, ColumnStatistics())


def null_count(file: FileStatistics, field: Field) -> int | None:
    """Nulls of a column in a file, if known."""
    if file.record_count == 0:
        return 0
    count = column_statistics(file, field).null_count
    return count if count is not None and 0 <= count <= file.record_count else None


def nan_count(file: FileStatistics, field: Field) -> int | None:
    """NaNs of a column in a file, if known; only floating-point columns have any."""
    if file.record_count == 0 or field.kind is not TypeKind.FLOATING:
        return 0
    count = column_statistics(file, field).nan_count
    return count if count is not None and 0 <= count <= file.record_count else None


def file_bounds(file: FileStatistics, field: Field) -> tuple[Scalar | None, Scalar | None]:
    """The bounds of a column in a file, as values that compare with those of the column; None is unknown."""
    known = column_statistics(file, field)
    return comparable(field, known.lower), comparable(field, known.upper)


def extent(files: Sequence[FileStatistics], field: Field) -> tuple[Scalar, Scalar] | None:
    """The least and the greatest value of a column, without NaN; None unless statistics have both exactly."""
    lows: list[Scalar] = []
    highs: list[Scalar] = []
    for file in files:
        nulls, nans = null_count(file, field), nan_count(file, field)
        if nulls is not None and nans is not None and nulls + nans == file.record_count:
            continue
        lower, upper = file_bounds(file, field)
        if lower is None or upper is None or not column_statistics(file, field).exact_bounds:
            return None
        lows.append(lower)
        highs.append(upper)
    return (min(lows), max(highs)) if lows else None
