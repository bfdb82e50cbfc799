"""The states of the tables that an attempt writes: noted while it computes, stored when it is sealed."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from asgard.common.names import RunId, TableName
from asgard.lakehouse.catalog.files import TableState
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.declaring.declaration import Table
from asgard.lakehouse.declaring.intervals import TimeRange
from asgard.lakehouse.freshness.code_digest import code_digests
from asgard.lakehouse.freshness.facts import facts_of
from asgard.lakehouse.freshness.file_index import FileIndex, IndexedFile, SnapshotChange, changes_since, net
from asgard.lakehouse.freshness.interval_state import (
    STATE_PROPERTY,
    IntervalRecord,
    Read,
    Segment,
    StateName,
    StateStore,
)
from asgard.lakehouse.freshness.staleness import TableFacts, cut_at, own_stretch
from asgard.lakehouse.freshness.stretch import Stretch, micros

_EVERYTHING_BEFORE = (-(1 << 62), 1 << 62)


@dataclass(frozen=True)
class Difference:
    """The files that a table gained and lost, by number."""

    added: Mapping[int, IndexedFile] = field(default_factory=dict, hash=False)
    removed: Mapping[int, IndexedFile] = field(default_factory=dict, hash=False)

    @property
    def rows_added(self) -> int:
        """Rows of the new data files."""
        return sum(file.rows for file in self.added.values() if not file.is_delete)

    @property
    def rows_removed(self) -> int:
        """Rows of the data files that are gone."""
        return sum(file.rows for file in self.removed.values() if not file.is_delete)

    @property
    def files_added(self) -> int:
        """Number of new data files."""
        return sum(not file.is_delete for file in self.added.values())


@dataclass(frozen=True)
class Kept:
    """A stored state: the text of the property that names it, and what the attempt did to the table's files."""

    name: str
    difference: Difference


@dataclass
class StateKeeper:
    """What one attempt notes of the tables that it writes.

    Attributes:
        at_base: the reference at which the attempt began.
        seen: the state of a table on the attempt's branch now; None for one that it did not write.
    """

    lake: Lakehouse
    run_id: RunId
    at_base: str
    seen: Callable[[TableName], TableState | None]
    _facts: dict[TableName, TableFacts] = field(default_factory=dict)
    _computed: dict[TableName, dict[TimeRange | None, Mapping[TableName, Stretch]]] = field(default_factory=dict)
    _seen: dict[TableName, TableState | None] = field(default_factory=dict)
    _accepted: set[TableName] = field(default_factory=set)
    _restored: dict[TableName, Mapping[int, IntervalRecord | None]] = field(default_factory=dict)
    _indexes: dict[tuple[TableName, int | None], FileIndex] = field(default_factory=dict)

    def facts(self, name: TableName) -> TableFacts:
        """What is known of a table at the attempt's base."""
        if name not in self._facts:
            self._facts |= facts_of(self.lake, [name], self.at_base)
        return self._facts[name]

    def note(self, table: TableName, interval: TimeRange | None, stretches: Mapping[TableName, Stretch]) -> None:
        """Note what an interval that was just written has read of each input; None for a table without intervals."""
        self._computed.setdefault(table, {})[interval] = stretches

    def accept(self, name: TableName) -> tuple[int, int]:
        """Count what others did to a table as accepted; how many of their snapshots, and intervals in doubt."""
        base = self.facts(name)
        self._accepted.add(name)
        records = base.state.records.values() if base.state else ()
        return len(base.foreign), sum(bool(each.doubt) for each in records)

    def restore(self, name: TableName, records: Mapping[int, IntervalRecord | None]) -> None:
        """Set the records of some intervals, by their start, to what they were once; None where there was none."""
        self._restored[name] = records

    def forget(self, name: TableName) -> None:
        """Look again at what the branch holds of a table: the attempt has just written it."""
        self._seen.pop(name, None)

    def _state(self, name: TableName) -> TableState | None:
        if name not in self._seen:
            self._seen[name] = self.seen(name)
        return self._seen[name]

    def index(self, name: TableName) -> FileIndex | None:
        """The files of a table as the attempt sees it now; None if it is not there."""
        state = self._state(name)
        base = self.facts(name)
        if state is None:
            return base.files
        key = (name, state.snapshot_id)
        if key not in self._indexes:
            changes = _own_changes(state, base)
            known = base.files or FileIndex({})
            self._indexes[key] = FileIndex.of(state) if changes is None else known.changed(changes)
        return self._indexes[key]

    def has_moved(self, table: Table, interval: TimeRange | None) -> bool:
        """Whether rows that an interval read when it was computed have changed since, also by this attempt."""
        state = self.facts(table.name).state
        record = state.records.get(micros(interval.start) if interval else 0) if state else None
        return record is None or any(
            self._fingerprint(each.table, each.stretch) != each.fingerprint for each in record.reads
        )

    def keep(self, table: Table, after: TableState) -> "Kept":
        """Store the state of a written table.

        Raises:
            ServiceError: it can't be stored.
        """
        base = self.facts(table.name)
        before = StateName.parse(base.properties.get(STATE_PROPERTY, "")) if base.state else None
        computed = self._computed.get(table.name, {})
        own = self._own_difference(after, base)
        restored = self._restored.get(table.name, {})
        back = (each for each in restored.values() if each is not None)
        if table.name in self._accepted:
            others = _accepted(base)
        else:
            again = {*restored, *(micros(each.start) if each else 0 for each in computed)}
            others = (*_doubts(table, base, again), *_still_in_doubt(table, base, back))
        records = (*self._records(table, computed), *others)
        cleared = (*((each.start, each.end) for each in records), *((start, start) for start in restored))
        if None in computed:
            cleared = (_EVERYTHING_BEFORE,)  # records of intervals, from when the table had some
        elif computed and base.state is not None and (0 in base.state.records) and not base.state.records[0].end:
            cleared = (*cleared, (0, 0))  # the record of the whole table, from when it had no intervals
        snapshot = after.snapshot_id or 0
        if base.state is None:
            segment = Segment(cleared, records, FileIndex.of(after).files)
        else:
            added, removed = net([*base.foreign, SnapshotChange(snapshot, "", own.added, own.removed)])
            segment = Segment(cleared, records, added, frozenset(removed))
        if not segment.size and not restored and before is not None and before.snapshot == snapshot:
            return Kept(str(before), own)
        return Kept(str(StateStore(self.lake.storage).append(table.name, before, snapshot, segment)), own)

    def _own_difference(self, after: TableState, base: TableFacts) -> "Difference":
        changes = _own_changes(after, base)
        if changes is not None:
            return Difference(*net(changes))
        return Difference(*FileIndex.of(after).since(base.files or FileIndex({})))

    def _records(
        self, table: Table, computed: Mapping[TimeRange | None, Mapping[TableName, Stretch]]
    ) -> Iterable[IntervalRecord]:
        if not computed:
            return
        code = code_digests(table)
        for interval, stretches in computed.items():
            reads = tuple(
                Read(name, stretch, self._fingerprint(name, stretch) or 0, self._snapshot(name))
                for name, stretch in stretches.items()
            )
            start, end = (micros(interval.start), micros(interval.end)) if interval else (0, 0)
            until = cut_at(table, interval) if interval else None
            yield IntervalRecord(start, end, self.run_id, code, reads, until)

    def _fingerprint(self, name: TableName, stretch: Stretch) -> int | None:
        index = self.index(name)
        return index.fingerprint(stretch) if index is not None else None

    def _snapshot(self, name: TableName) -> int:
        state = self._state(name)
        if state is not None:
            return state.snapshot_id or 0
        return self.facts(name).snapshot


def _own_changes(after: TableState, base: TableFacts) -> list[SnapshotChange] | None:
    """What an attempt's snapshots did to a table; None where they don't follow from its base."""
    return changes_since(after, base.snapshot or None)


def _doubts(table: Table, base: TableFacts, again: Collection[int]) -> Iterator[IntervalRecord]:
    """The records of intervals that somebody else changed, and that the attempt did not write again."""
    for record in base.state.records.values() if base.state and base.foreign else ():
        foreign = _foreign_to(table, base, record)
        if foreign and not record.doubt and record.start not in again:
            yield replace(record, doubt=foreign)


def _still_in_doubt(table: Table, base: TableFacts, restored: Iterable[IntervalRecord]) -> Iterator[IntervalRecord]:
    """Restored records, in doubt if somebody else changed the rows of their interval in the meantime."""
    known = base.state.records if base.state else {}
    for record in restored:
        since = known[record.start].doubt if record.start in known else 0
        yield replace(record, doubt=record.doubt or since or _foreign_to(table, base, record))


def _foreign_to(table: Table, base: TableFacts, record: IntervalRecord) -> int:
    """The snapshot by which somebody else changed rows of an interval since the last recorded run; 0 for none."""
    stretch = own_stretch(table, record.interval if record.start < record.end else None)
    return base.foreign_to(stretch)


def _accepted(base: TableFacts) -> Iterable[IntervalRecord]:
    """The records that were in doubt, without it."""
    records = base.state.records.values() if base.state else ()
    return (replace(each, doubt=0) for each in records if each.doubt)
