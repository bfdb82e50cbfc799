"""Which rows of a table a person means by a period of time."""

from collections.abc import Mapping

from asgard.common.errors import UsageError
from asgard.common.names import TableName
from asgard.lakehouse.declaring.intervals import Cadence, RangeSet, TimeRange
from asgard.lakehouse.declaring.periods import folded, published_cadence, whole_intervals
from asgard.lakehouse.freshness.staleness import TableFacts
from asgard.lakehouse.freshness.stretch import Stretch, micros

_OWN = "_ingested_at"
"""The time of ingestion: it says nothing of the time that a row is about."""
_SHOWN = 5


def rows_of_period(table: TableName, facts: Mapping[TableName, TableFacts], period: TimeRange) -> Stretch:
    """The rows of a table that a period means.

    Of a table with recorded intervals the period has to be whole intervals that were computed. Of other tables it is
    any period of their column of time.

    Args:
        table: that exists.
        facts: of it; of tables that read it, if the column of time may depend on how they read it.
        period: as a person wrote it.

    Raises:
        UsageError: the period is not made of computed intervals, or the table has no column of time, or several.
    """
    own = facts[table]
    cadence = published_cadence(own.properties)
    records = own.state.records.values() if own.state else ()
    if cadence is None and records:
        raise UsageError(
            f"{table} has no intervals: each run computes all of its rows.",
            hint=f"Leave --interval out: asgard lineage {table}",
        )
    if cadence is None:
        return _stretch(_time_column(table, facts), period)
    if records:
        period = whole_intervals(cadence, period, str(table))
        _require_computed(table, own, cadence, period)
    return _stretch(cadence.column, period)


def _stretch(column: str, period: TimeRange) -> Stretch:
    return Stretch(column, micros(period.start), micros(period.end), nulls=False)


def _require_computed(table: TableName, facts: TableFacts, cadence: Cadence, period: TimeRange) -> None:
    records = facts.state.records.values() if facts.state else ()
    there = RangeSet(each.interval for each in records if each.start < each.end) | facts.done
    missing = RangeSet([period]) - there
    if not missing:
        return
    intervals = folded(there, cadence.unit)
    more = f" and {len(intervals) - _SHOWN} more stretches" if len(intervals) > _SHOWN else ""
    raise UsageError(
        f"{table} has no rows computed for {', '.join(folded(missing, cadence.unit)[:_SHOWN])}.",
        hint=f"Computed are {', '.join(intervals[-_SHOWN:]) or 'no intervals'}{more}.",
    )


def _time_column(table: TableName, facts: Mapping[TableName, TableFacts]) -> str:
    """The one column of time of a table without intervals: of several, the one that is read by."""
    files = facts[table].files
    columns = {name for file in (files.files.values() if files else ()) for name in file.spans} - {_OWN}
    if len(columns) > 1:
        read_by = {
            read.stretch.column
            for each in facts.values()
            if each.state
            for record in each.state.records.values()
            for read in record.reads
            if read.table == table and read.stretch.is_bounded
        }
        columns = columns & read_by or columns
    if len(columns) == 1:
        return columns.pop()
    what = (
        f"several columns of time: {', '.join(sorted(columns))}" if columns else "no column of time with known bounds"
    )
    raise UsageError(
        f"{table} has {what}.",
        hint=f"Declare the one that its rows go by: interval=Daily({sorted(columns)[0] if columns else 'at'!r})."
        if columns
        else f"Leave --interval out: asgard lineage {table}",
    )
