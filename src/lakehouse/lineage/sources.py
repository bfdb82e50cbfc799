"""From which source files the rows of a table's stretch come: by the rows' own columns, else by the runs' records.

`asgard ingest` writes each row's file and run into the row. These two columns are read, of the data files that the
stretch lies in and without Spark, if there are not too many rows. Otherwise, and for tables without these columns, the
snapshot that added a data file names its run, and that run's record names its files: the rows come from these at most.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from asgard.common.errors import AsgardError
from asgard.common.names import RunId
from asgard.lakehouse.catalog.files import TableState
from asgard.lakehouse.freshness.file_index import added_by
from asgard.lakehouse.freshness.stretch import DAY, Stretch, moment_of
from asgard.lakehouse.runs.ledger_rows import RUN_ID, SOURCE_FILE
from asgard.lakehouse.runs.records import RunRecords

if TYPE_CHECKING:
    from pyiceberg.expressions import BooleanExpression
    from pyiceberg.types import IcebergType

MOST_ROWS = 10_000_000
"""If a stretch lies in data files with more rows than this, the rows are not read: only the runs are known."""


@dataclass(frozen=True)
class SourceFile:
    """A file, or a table of a database, that rows come from.

    Attributes:
        run: that ingested it.
        rows: of the stretch that come from it; None where only the run is known.
    """

    name: str
    run: str
    rows: int | None

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"name": self.name, "run_id": self.run, "rows": self.rows}


@dataclass(frozen=True)
class Sources:
    """Where the rows of a stretch come from.

    Attributes:
        files: by run and name.
        is_exact: each file has rows in the stretch, and no other file has. False: at most these files have.
        unnamed: rows that name no file: others wrote them. None where the rows were not read.
        runs: that added the data files of the stretch, in order.
        foreign: snapshots of no recorded run that added data files of the stretch.
        data_files: of the table that may have rows of the stretch.
    """

    files: tuple[SourceFile, ...]
    is_exact: bool
    unnamed: int | None
    runs: tuple[str, ...]
    foreign: tuple[int, ...]
    data_files: int

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "exact": self.is_exact,
            "files": [each.to_json() for each in self.files],
            "rows_of_no_file": self.unnamed,
            "runs": list(self.runs),
            "foreign_snapshots": list(self.foreign),
            "data_files": self.data_files,
        }


def sources_of(
    records: RunRecords, table: TableState, stretches: Sequence[Stretch], *, most_rows: int = MOST_ROWS
) -> Sources:
    """From which source files the rows of some stretches come.

    Args:
        records: of the warehouse's runs.
        table: at its current snapshot.
        stretches: of its rows.
        most_rows: that are read.

    Raises:
        ServiceError: its manifests can't be read.
    """
    added = added_by(table, stretches)
    runs_by_snapshot = {number: summary.get("asgard.run-id", "") for number, summary in table.summaries.items()}
    runs = tuple(sorted({runs_by_snapshot.get(each, "") for each in added} - {""}))
    foreign = tuple(sorted(each for each in added if not runs_by_snapshot.get(each)))
    data_files = sum(count for count, _ in added.values())
    counts = None
    if {SOURCE_FILE, RUN_ID} <= table.columns.keys() and sum(rows for _, rows in added.values()) <= most_rows:
        counts = _counted(table, stretches)
    if counts is None:
        files = tuple(_recorded(records, sorted({*runs, *_rewritten(table, added, runs_by_snapshot)})))
        return Sources(files, not data_files, None if data_files else 0, runs, foreign, data_files)
    files = tuple(
        SourceFile(name, run or "", rows)
        for (run, name), rows in sorted(counts.items(), key=_order)
        if name is not None
    )
    unnamed = sum(rows for (_, name), rows in counts.items() if name is None)
    return Sources(files, True, unnamed, runs, foreign, data_files)


def _order(entry: tuple[tuple[Any, ...], int]) -> tuple[str, str]:
    (run, name), _ = entry
    return run or "", name or ""


def _counted(table: TableState, stretches: Sequence[Stretch]) -> Mapping[tuple[Any, ...], int] | None:
    """Rows of the stretches by run and file; None if PyIceberg can't read them, e.g. because of equality deletes."""
    try:
        return table.counts((RUN_ID, SOURCE_FILE), _filter(table, stretches))
    except AsgardError:
        return None


def _rewritten(table: TableState, added: Iterable[int], runs: Mapping[int, str]) -> set[str]:
    """The runs whose rows may be in data files that a later snapshot wrote again: a compaction, or an uningest."""
    chain = table.ancestors(table.snapshot_id or 0)
    places = [place for place, each in enumerate(chain) if each in set(added) and table.operation(each) != "append"]
    return {runs[each] for each in chain[: max(places) + 1] if runs.get(each)} if places else set()


def _recorded(records: RunRecords, runs: Iterable[str]) -> Iterator[SourceFile]:
    """The files that the records of some runs name."""
    for run in runs:
        named: dict[str, None] = {}
        for attempt in records.attempts(RunId(run)):
            named |= dict.fromkeys(str(each["path"]) for each in attempt.record.get("details", {}).get("files", ()))
        yield from (SourceFile(name, run, None) for name in named)


def _filter(table: TableState, stretches: Sequence[Stretch]) -> "BooleanExpression":
    """The condition of PyIceberg that the rows of some stretches fulfil."""
    from pyiceberg.expressions import AlwaysFalse, AlwaysTrue, And, GreaterThanOrEqual, IsNull, LessThan, Or

    schema = table.table.schema()
    wanted: BooleanExpression = AlwaysFalse()
    for each in stretches:
        if not each.is_bounded:
            return AlwaysTrue()
        column, kind = each.column, schema.find_type(each.column)
        one: BooleanExpression = AlwaysTrue()
        if each.start is not None:
            one = And(one, GreaterThanOrEqual(column, _literal(each.start, kind)))  # type: ignore[arg-type,call-arg]
        if each.end is not None:
            end = _literal(each.end, kind, is_end=True)
            one = And(one, LessThan(column, end))  # type: ignore[arg-type,call-arg]
        wanted = Or(wanted, one)
        if each.nulls:
            wanted = Or(wanted, IsNull(column))  # type: ignore[arg-type,call-arg]
    return wanted


def _literal(value: int, kind: "IcebergType", *, is_end: bool = False) -> str:
    """A bound in microseconds as PyIceberg reads it for a column; the end of a date's day is not part of the day."""
    from pyiceberg.types import DateType, TimestamptzType

    if isinstance(kind, DateType):
        return moment_of(-(-value // DAY) * DAY if is_end else value // DAY * DAY).date().isoformat()
    text = moment_of(value).isoformat()
    return text if isinstance(kind, TimestamptzType) else text.removesuffix("+00:00")
