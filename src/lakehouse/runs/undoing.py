"""What undoing a run means for one table: which files leave and come back, and what is known of its intervals then.

A table is looked at in three states: before the run, right after it, and now. The files that the run added must still
be there, those that it removed must not, and the intervals that it computed must not have been computed again since:
then one change of files undoes the run, and leaves alone whatever later runs did elsewhere.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from asgard.common.names import TableName
from asgard.lakehouse.declaring.intervals import RangeSet, TimeRange
from asgard.lakehouse.declaring.periods import published_cadence
from asgard.lakehouse.freshness.file_index import FileIndex, IndexedFile
from asgard.lakehouse.freshness.interval_state import INTERVALS_PROPERTY, STATE_PROPERTY, IntervalRecord
from asgard.lakehouse.freshness.staleness import TableFacts
from asgard.lakehouse.freshness.stretch import EVERYTHING, Stretch

_DESCRIPTION = "comment"
_OWN = "asgard."
Records = Mapping[int, IntervalRecord | None]
"""Of some intervals, by their start, what is known; None for nothing."""


@dataclass(frozen=True)
class TableStates:
    """What is known of one table before a run, right after it, and now."""

    name: TableName
    before: TableFacts
    after: TableFacts
    now: TableFacts

    @cached_property
    def added(self) -> Mapping[int, IndexedFile]:
        """The files that the run added, by their numbers."""
        return self._difference[0]

    @cached_property
    def removed(self) -> Mapping[int, IndexedFile]:
        """The files that the run removed."""
        return self._difference[1]

    @cached_property
    def _difference(self) -> tuple[dict[int, IndexedFile], dict[int, IndexedFile]]:
        return _files(self.after).since(_files(self.before))

    @cached_property
    def records(self) -> Records:
        """The intervals that the run computed, with what was known of them before."""
        before, after = _records(self.before), _records(self.after)
        starts = sorted(before.keys() | after.keys())
        changed = (start for start in starts if not _is_same(before.get(start), after.get(start)))
        return {start: _doubted(before[start], self.before) if start in before else None for start in changed}

    @property
    def has_delete_files(self) -> bool:
        """Whether some rows are deleted by other files, in one of the three states."""
        return any(
            file.is_delete for facts in (self.before, self.after, self.now) for file in _files(facts).files.values()
        )

    @property
    def is_left_alone(self) -> bool:
        """Whether nothing was done to the table since."""
        return self.now.snapshot == self.after.snapshot and self.now.properties == self.after.properties


@dataclass(frozen=True)
class Clash:
    """What has happened since, so that a run can't be undone alone.

    Attributes:
        gone: files that the run added and that are not there now.
        returned: files that the run removed and that are there again.
        computed_by: runs that computed its intervals again, newest last.
        forgotten: some of its intervals are not known any more.
    """

    gone: frozenset[int] = frozenset()
    returned: frozenset[int] = frozenset()
    computed_by: tuple[str, ...] = ()
    forgotten: bool = False

    def __bool__(self) -> bool:
        return bool(self.gone or self.returned or self.computed_by or self.forgotten)


@dataclass(frozen=True)
class TableUndo:
    """What undoes a run in one table.

    Attributes:
        back, out: the files that come back and those that leave, by their numbers.
        records: what is known of the intervals of the run afterwards.
        properties: of the table, as far as they change; an empty text for one that goes.
        intervals: of the run, as ranges of time.
        is_new: the run created the table.
        drops: the table is dropped: the run created it, and nothing was done to it since.
        new_columns: that the run added; they stay.
    """

    name: TableName
    back: Mapping[int, IndexedFile] = field(default_factory=dict)
    out: Mapping[int, IndexedFile] = field(default_factory=dict)
    records: Records = field(default_factory=dict)
    properties: Mapping[str, str] = field(default_factory=dict)
    intervals: RangeSet = field(default_factory=RangeSet)
    is_new: bool = False
    drops: bool = False
    new_columns: tuple[str, ...] = ()

    @property
    def rows_back(self) -> int:
        """Rows of the files that come back."""
        return sum(file.rows for file in self.back.values())

    @property
    def rows_out(self) -> int:
        """Rows of the files that leave."""
        return sum(file.rows for file in self.out.values())

    def with_columns(self, new: tuple[str, ...]) -> "TableUndo":
        """The same, with the columns that stay."""
        return replace(self, new_columns=new)

    def empties(self, now: TableFacts) -> bool:
        """Whether no row of the table is left."""
        return not self.back and not _files(now).files.keys() - self.out.keys()

    def facts(self, now: TableFacts) -> TableFacts:
        """What will be known of the table, from what is known now."""
        if self.drops:
            return TableFacts()
        files = {number: file for number, file in _files(now).files.items() if number not in self.out} | dict(self.back)
        state = now.state
        if state is not None:
            kept = {start: each for start, each in state.records.items() if start not in self.records}
            put = {start: each for start, each in self.records.items() if each is not None}
            state = replace(state, records=dict(sorted((kept | put).items())))
        return replace(now, files=FileIndex(files), state=state)


def clash_of(states: TableStates) -> Clash:
    """What hinders to undo a run in a table; an empty clash if nothing does."""
    live = _files(states.now).files.keys()
    after, now = _records(states.after), _records(states.now)
    again = {start: now.get(start) for start in states.records if not _is_same(after.get(start), now.get(start))}
    return Clash(
        gone=frozenset(states.added.keys() - live),
        returned=frozenset(states.removed.keys() & live),
        computed_by=tuple(sorted({each.run for each in again.values() if each is not None})),
        forgotten=any(each is None for each in again.values()),
    )


def undo_of(states: TableStates, *, written_since: bool, is_registered: bool) -> TableUndo:
    """What undoes a run in a table that has no clash.

    Args:
        states: of the table.
        written_since: a later run that stands wrote to the table: the table's description is that run's.
        is_registered: a view reads the table, which must stay for it.
    """
    is_new = not states.before.exists
    return TableUndo(
        name=states.name,
        back=states.removed,
        out=states.added,
        records=states.records,
        properties={**({} if written_since else _described(states)), **_done(states)},
        intervals=_intervals(states),
        is_new=is_new,
        drops=is_new and states.is_left_alone and not is_registered,
    )


def stretch_of(files: Mapping[int, IndexedFile], column: str) -> Stretch:
    """A stretch by a column of time that all of some files lie in; all rows, if that is not known."""
    spans = [file.spans.get(column) for file in files.values()]
    known = [span for span in spans if span is not None and not span[2] and span[0] <= span[1]]
    if not known or len(known) < len(spans):
        return EVERYTHING
    return Stretch(column, min(span[0] for span in known), max(span[1] for span in known) + 1, nulls=False)


def _files(facts: TableFacts) -> FileIndex:
    return facts.files or FileIndex({})


def _records(facts: TableFacts) -> Mapping[int, IntervalRecord]:
    return facts.state.records if facts.state else {}


def _is_same(one: IntervalRecord | None, other: IntervalRecord | None) -> bool:
    """Whether two records are of the same computation; who changed the rows afterwards is another matter."""
    if one is None or other is None:
        return one is other
    return replace(one, doubt=0) == replace(other, doubt=0)


def _doubted(record: IntervalRecord, facts: TableFacts) -> IntervalRecord:
    """A record, in doubt if somebody other than a recorded run had changed its rows: they come back with it."""
    cadence = published_cadence(facts.properties)
    is_part = cadence is not None and record.start < record.end
    stretch = Stretch(cadence.column, record.start, record.end, nulls=False) if cadence and is_part else EVERYTHING
    return replace(record, doubt=record.doubt or facts.foreign_to(stretch))


def _described(states: TableStates) -> dict[str, str]:
    """The properties that the run changed, as they were."""
    before, after, now = (each.properties for each in (states.before, states.after, states.now))
    own = (name for name in before.keys() | after.keys() if name == _DESCRIPTION or name.startswith(_OWN))
    return {
        name: before.get(name, "")
        for name in sorted(own)
        if before.get(name, "") != after.get(name, "") == now.get(name, "") and name != STATE_PROPERTY
    }


def _done(states: TableStates) -> dict[str, str]:
    """The stretches that count as computed, where the run changed them."""
    before, after, now = (each.done for each in (states.before, states.after, states.now))
    return {} if before == after else {INTERVALS_PROPERTY: str((now - (after - before)) | (before - after))}


def _intervals(states: TableStates) -> RangeSet:
    computed = _records(states.after)
    return RangeSet(_ranges({start: computed.get(start) or record for start, record in states.records.items()}))


def _ranges(records: Records) -> Iterator[TimeRange]:
    return (each.interval for each in records.values() if each is not None and each.start < each.end)
