"""Which intervals of a table some stretches of its rows belong to, by its state: pure."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from asgard.lakehouse.declaring.intervals import Cadence, RangeSet, TimeRange
from asgard.lakehouse.declaring.periods import published_cadence
from asgard.lakehouse.freshness.file_index import FileIndex, IndexedFile, touches
from asgard.lakehouse.freshness.interval_state import IntervalRecord
from asgard.lakehouse.freshness.staleness import TableFacts
from asgard.lakehouse.freshness.stretch import Stretch, merged, moment_of

_NO_FILES = FileIndex({})


@dataclass(frozen=True)
class Selection:
    """The intervals that rows belong to.

    Attributes:
        records: of the intervals that were computed, in order; of a table without intervals, its one record.
        unrecorded: whole intervals that the stretches touch and that have no record.
        is_exact: False: the stretches go by another column than the intervals, so only the bounds of files tell.
    """

    records: tuple[IntervalRecord, ...]
    unrecorded: RangeSet
    is_exact: bool = True


def select(facts: TableFacts, stretches: Sequence[Stretch]) -> Selection:
    """The intervals of a table that some stretches of its rows belong to."""
    records = tuple(facts.state.records.values()) if facts.state else ()
    cadence = published_cadence(facts.properties)
    if cadence is None or any(not each.is_bounded for each in stretches):
        return Selection(records, RangeSet())
    on_intervals = [each for each in stretches if each.column == cadence.column]
    wanted = on_column(facts, stretches, cadence.column)
    chosen = tuple(each for each in records if each.start == each.end or is_touched(own_stretch(cadence, each), wanted))
    unrecorded = _whole(cadence, on_intervals) - RangeSet(each.interval for each in records if each.start < each.end)
    return Selection(chosen, unrecorded, is_exact=len(on_intervals) == len(stretches))


def own_stretch(cadence: Cadence, record: IntervalRecord) -> Stretch:
    """The rows of one recorded interval."""
    return Stretch(cadence.column, record.start, record.end, nulls=False)


def is_touched(stretch: Stretch, others: Iterable[Stretch]) -> bool:
    """Whether a value can lie in a stretch and in one of some others, all on the same column or unbounded."""
    return any(not each.is_bounded or _overlap(stretch, each) for each in others)


def _overlap(one: Stretch, other: Stretch) -> bool:
    starts = one.end is None or other.start is None or other.start < one.end
    ends = other.end is None or one.start is None or one.start < other.end
    return starts and ends and not one.is_empty and not other.is_empty


def on_column(facts: TableFacts, stretches: Sequence[Stretch], column: str) -> tuple[Stretch, ...]:
    """Stretches of a table's rows as stretches of another of its columns, as far as the bounds of its files tell."""
    same = [each for each in stretches if not each.is_bounded or each.column == column]
    others = [each for each in stretches if each.is_bounded and each.column != column]
    return merged((*same, *_in_files((facts.files or _NO_FILES).files.values(), others, column)))


def _in_files(files: Iterable[IndexedFile], stretches: Sequence[Stretch], column: str) -> list[Stretch]:
    found = []
    for file in files:
        if any(touches(file, each) for each in stretches):
            low, high, nulls = file.spans.get(column, (None, None, True))
            if low is None or high is None or file.is_delete:
                return [Stretch()]
            if low <= high:
                found.append(Stretch(column, low, high + 1, nulls=False))
            elif nulls:
                found.append(Stretch(column, 0, 0, nulls=True))
    return found


def _whole(cadence: Cadence, stretches: Iterable[Stretch]) -> RangeSet:
    """The intervals that stretches with both bounds touch."""
    covered = []
    for each in stretches:
        if each.start is not None and each.end is not None and not each.is_empty:
            with suppress(OverflowError, ValueError):  # beyond the years of Python: no table has these intervals
                covered.append(cadence.cover(TimeRange(moment_of(each.start), moment_of(each.end))))
    return RangeSet(covered)
