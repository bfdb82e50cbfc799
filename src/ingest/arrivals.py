"""Which intervals of time a bronze table got rows for, and which of them are late: counted from the rows just written.

One aggregate over the rows of the run. What was there before is known from the bounds of the table's files.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from asgard.common.names import TableName
from asgard.common.spark_utils import explained
from asgard.ingest.own_columns import CORRUPT, RAW, RUN_ID
from asgard.lakehouse.catalog.lake import identifier
from asgard.lakehouse.declaring.declaration import INTERVAL_TYPES
from asgard.lakehouse.declaring.intervals import Cadence, Unit
from asgard.lakehouse.declaring.schema_changes import quoted
from asgard.lakehouse.freshness.file_index import FileIndex
from asgard.lakehouse.freshness.stretch import moment_of
from asgard.lakehouse.runs.attempt import Attempt

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

_MOST_INTERVALS = 10_000
"""Beyond so many intervals a coarser unit is counted: there are fewer than 10,000 years."""
_COARSER = {Unit.HOUR: Unit.DAY, Unit.DAY: Unit.MONTH, Unit.WEEK: Unit.MONTH, Unit.MONTH: Unit.YEAR}
_MOST_SPANS = 20
_SHOWN_SPANS = 5
_AFTER_YEAR = {Unit.HOUR: "-%m-%dT%H:00Z", Unit.MONTH: "-%m", Unit.YEAR: ""}


@dataclass(frozen=True)
class Arrivals:
    """What arrived, by interval.

    Attributes:
        column: of time, that the intervals go by.
        unit: their length.
        rows: how many arrived for each interval, by its start, in order.
        newest: start of the newest interval that had rows before; None for none, or if that is not known.
        without: rows that arrived without a value, or with one outside of the years 1 to 9999.
        unreadable: those of them whose text is no time: it is in `_raw`.
        corrupt: those of them that could not be parsed at all: they are in `_corrupt`.
    """

    column: str
    unit: Unit
    rows: Mapping[datetime, int]
    newest: datetime | None = None
    without: int = 0
    unreadable: int = 0
    corrupt: int = 0

    @cached_property
    def late(self) -> Mapping[datetime, int]:
        """What arrived for intervals before the newest that was there."""
        return {start: rows for start, rows in self.rows.items() if self.newest is not None and start < self.newest}

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON and the run's record; intervals as spans from a first to a last one."""
        return {
            "column": self.column,
            "unit": str(self.unit),
            **self._spans_json(self.rows),
            "newest_before": self._label(self.newest) if self.newest else None,
            "late": self._spans_json(self.late),
            "without_time": {"rows": self.without, "unreadable": self.unreadable, "corrupt": self.corrupt},
        }

    def lines(self) -> Iterator[str]:
        """The same in words."""
        if self.rows:
            yield f"rows arrived for {self._counted(self.rows)}"
        if self.late and self.newest:
            rows = sum(self.late.values())
            yield (
                f"late: {rows:,} {'row' if rows == 1 else 'rows'} for {self._counted(self.late)}; "
                f"the newest {self.unit} before was {self._label(self.newest)}"
            )
        if self.without:
            yield (
                f"{self.without:,} {'row has' if self.without == 1 else 'rows have'} no {self.column}: "
                f"{', '.join(self._reasons())}"
            )

    def _reasons(self) -> Iterator[str]:
        if self.unreadable:
            yield f"{self.unreadable:,} with a text that is no time (see {RAW})"
        if self.corrupt:
            yield f"{self.corrupt:,} not parsed (see {CORRUPT})"
        if empty := self.without - self.unreadable - self.corrupt:
            yield f"{empty:,} empty, or outside of the years 1 to 9999"

    def _counted(self, rows: Mapping[datetime, int]) -> str:
        spans = self._spans(rows)
        shown = ", ".join(" .. ".join(dict.fromkeys(map(self._label, span))) for span in spans[:_SHOWN_SPANS])
        last = self._label(spans[-1][1])
        more = f" and {len(spans) - _SHOWN_SPANS} more spans, up to {last}" if len(spans) > _SHOWN_SPANS else ""
        return f"{len(rows):,} {self.unit}{'' if len(rows) == 1 else 's'} of {self.column}: {shown}{more}"

    def _spans_json(self, rows: Mapping[datetime, int]) -> dict[str, Any]:
        spans = self._spans(rows)
        return {
            "rows": sum(rows.values()),
            "intervals": len(rows),
            "spans": [list(map(self._label, span)) for span in spans[:_MOST_SPANS]],
            "more_spans": max(len(spans) - _MOST_SPANS, 0),
            "last": self._label(spans[-1][1]) if spans else None,
        }

    def _spans(self, starts: Mapping[datetime, int]) -> list[tuple[datetime, datetime]]:
        """Intervals that follow each other, as their first and last."""
        spans: list[tuple[datetime, datetime]] = []
        for start in sorted(starts):
            if spans and self.unit.shift(spans[-1][1], 1) == start:
                spans[-1] = (spans[-1][0], start)
            else:
                spans.append((start, start))
        return spans

    def _label(self, start: datetime) -> str:
        return f"{start.year:04d}{start.strftime(_AFTER_YEAR.get(self.unit, '-%m-%d'))}"


def arrivals(attempt: Attempt, table: TableName, cadence: Cadence) -> Arrivals | None:
    """What this run wrote to a bronze table, by the intervals of a column; None if that is no column of time.

    Raises:
        AsgardError: Spark failed.
    """
    with explained(f"Counting what was written to {table}"):
        written = attempt.session.table(identifier(table, attempt.branch))
        column = next((name for name in written.columns if name.lower() == cadence.column.lower()), None)
        if column is None or dict(written.dtypes)[column] not in INTERVAL_TYPES:
            return None
        unit, rows = cadence.unit, _counts(written, column, attempt, cadence.unit)
        while len(rows) > _MOST_INTERVALS:
            unit = _COARSER[unit]
            rows = _counts(written, column, attempt, unit)
    without = next((row for row in rows if row[0] is None), (None, 0, 0, 0))
    by_start = {moment_of(row[0]): row[1] for row in rows if row[0] is not None}
    newest = _newest(attempt.keeper.facts(table).files, column)
    return Arrivals(column, unit, by_start, unit.floor(newest) if newest else None, *without[1:])


def _counts(written: "DataFrame", column: str, attempt: Attempt, unit: Unit) -> Sequence[tuple[Any, ...]]:
    """Rows by the start of their interval in microseconds; without a value in front. One more than the most at most."""
    from pyspark.sql import functions as F

    value = F.col(quoted(column))
    start = F.when(F.year(value).between(1, 9999), F.unix_micros(F.date_trunc(unit, value.cast("timestamp"))))
    return (
        written.where(F.col(RUN_ID) == attempt.run_id)
        .groupBy(start.alias("start"))
        .agg(F.count("*"), F.count_if(value.isNull() & F.col(RAW)[column].isNotNull()), F.count(CORRUPT))
        .orderBy(F.col("start").asc_nulls_first())
        .limit(_MOST_INTERVALS + 2)
        .collect()
    )


def _newest(files: FileIndex | None, column: str) -> datetime | None:
    """The greatest value of a column, from the bounds of a table's files."""
    spans = [file.spans[column] for file in (files.files if files else {}).values() if column in file.spans]
    latest = max((high for low, high, _ in spans if low <= high), default=None)
    try:
        return moment_of(latest) if latest is not None else None
    except OverflowError:  # beyond the years of Python
        return None
