"""Who read some rows of a table: intervals of other tables, at all levels, by what each recorded that it read.

No pipeline is needed: the state of every table at the commit names what its intervals read.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from asgard.common.names import TableName
from asgard.lakehouse.declaring.intervals import RangeSet
from asgard.lakehouse.declaring.periods import folded, published_cadence
from asgard.lakehouse.freshness.interval_state import INPUTS_PROPERTY, IntervalRecord, Read
from asgard.lakehouse.freshness.staleness import TableFacts
from asgard.lakehouse.freshness.stretch import EVERYTHING, Stretch, merged
from asgard.lakehouse.lineage.consumers import Consumer, consumers
from asgard.lakehouse.lineage.selection import is_touched, on_column, own_stretch
from asgard.lakehouse.lineage.states import States


@dataclass(frozen=True)
class Reader:
    """The intervals of one table that read some rows, directly or through other tables.

    Attributes:
        level: 1 for a table that reads the rows themselves; else one more than the nearest table between.
        inputs: the tables through which it read them.
        count: number of intervals; 1 for a table without intervals.
        intervals: these, folded; empty for a table without intervals.
        outdated: of these intervals, those that read other rows than are there now.
        is_exact: False: it reads by another column than the intervals go by: at most these intervals read the rows.
    """

    table: TableName
    snapshot: int
    level: int
    inputs: tuple[TableName, ...]
    count: int
    intervals: tuple[str, ...]
    outdated: int
    is_exact: bool

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "table": str(self.table),
            "snapshot_id": self.snapshot,
            "level": self.level,
            "inputs": [str(name) for name in self.inputs],
            "number_of_intervals": self.count,
            "intervals": list(self.intervals),
            "outdated": self.outdated,
            "exact": self.is_exact,
        }


@dataclass(frozen=True)
class Downstream:
    """Who read some rows of a table.

    Attributes:
        stretches: which rows.
        readers: by level and name.
        unknown: tables that read one of these tables, but which rows is not recorded, e.g. by a version before 0.2.
        consumers: feature views, models and predictions that read one of these tables.
    """

    table: TableName
    snapshot: int
    stretches: tuple[Stretch, ...]
    readers: tuple[Reader, ...]
    unknown: tuple[TableName, ...]
    consumers: tuple[Consumer, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "table": str(self.table),
            "snapshot_id": self.snapshot,
            "rows": [str(each) for each in self.stretches],
            "readers": [each.to_json() for each in self.readers],
            "unknown": [str(name) for name in self.unknown],
            "consumers": [each.to_json() for each in self.consumers],
        }


def forward(states: States, table: TableName, stretches: Sequence[Stretch]) -> Downstream:
    """Who read some rows of a table, at all levels.

    Args:
        states: of tables, at the commit to look at.
        table: that exists there.
        stretches: of its rows.

    Raises:
        ServiceError: a table's state can't be read.
    """
    names = sorted(states.lake.nessie.entries(str(states.at)))
    states.read(names)
    facts = {name: states.now(name) for name in names}
    readers = tuple(find_readers(facts, table, merged(stretches)))
    found = {table, *(each.table for each in readers)}
    return Downstream(
        table=table,
        snapshot=states.now(table).snapshot,
        stretches=merged(stretches),
        readers=readers,
        unknown=tuple(name for name, each in facts.items() if name not in found and _read_unknown(each, found)),
        consumers=consumers(states, found, names),
    )


def _read_unknown(facts: TableFacts, found: Iterable[TableName]) -> bool:
    """Whether a table without records was computed from one of some tables."""
    inputs = json.loads(facts.properties.get(INPUTS_PROPERTY) or "{}")
    return not (facts.state and facts.state.records) and any(str(name) in inputs for name in found)


def find_readers(
    facts: Mapping[TableName, TableFacts], table: TableName, stretches: tuple[Stretch, ...]
) -> Iterator[Reader]:
    """The intervals of all tables that read some rows of one, by level and name: from states alone.

    Args:
        facts: of all tables.
        table: whose rows.
        stretches: of these rows.
    """
    affected: dict[TableName, tuple[Stretch, ...]] = {table: stretches}
    levels = {table: 0}
    chosen: dict[TableName, dict[int, IntervalRecord]] = {}
    reads = _reads_by_input(facts)
    waiting = [table]
    while waiting:
        source = waiting.pop(0)
        touched = _Touched(source, affected[source], facts.get(source, TableFacts()))
        for name, records in reads.get(source, {}).items():
            before = chosen.setdefault(name, {})
            new = {each.start: each for each, read in records if each.start not in before and touched(read)}
            if new:
                before |= new
                levels.setdefault(name, levels[source] + 1)
                affected[name] = merged((*affected.get(name, ()), *_rows_of(facts[name], new.values())))
                waiting.append(name)
    for name in sorted(levels, key=lambda each: (levels[each], each)):
        if name != table:
            yield _reader(facts, name, levels[name], chosen[name], affected)


def _reads_by_input(
    facts: Mapping[TableName, TableFacts],
) -> dict[TableName, dict[TableName, list[tuple[IntervalRecord, Read]]]]:
    """What the intervals of all tables read: by the table that is read, then by the table that reads."""
    found: dict[TableName, dict[TableName, list[tuple[IntervalRecord, Read]]]] = {}
    for name, each in facts.items():
        for record in each.state.records.values() if each.state else ():
            for read in record.reads:
                found.setdefault(read.table, {}).setdefault(name, []).append((record, read))
    return found


class _Touched:
    """Tells whether what was read of one table touches some of its rows."""

    def __init__(self, table: TableName, stretches: tuple[Stretch, ...], facts: TableFacts) -> None:
        self._table, self._stretches, self._facts = table, stretches, facts
        self._by_column: dict[str, tuple[Stretch, ...]] = {}

    def __call__(self, read: Read) -> bool:
        if read.table != self._table:
            return False
        column = read.stretch.column
        if not read.stretch.is_bounded:
            return True
        if column not in self._by_column:
            self._by_column[column] = on_column(self._facts, self._stretches, column)
        return is_touched(read.stretch, self._by_column[column])

    def is_exact(self, read: Read) -> bool:
        """Whether that follows from bounds of the same column."""
        return not read.stretch.is_bounded or all(
            not each.is_bounded or each.column == read.stretch.column for each in self._stretches
        )


def _rows_of(facts: TableFacts, records: Iterable[IntervalRecord]) -> Iterator[Stretch]:
    cadence = published_cadence(facts.properties)
    for each in records:
        yield own_stretch(cadence, each) if cadence and each.start < each.end else EVERYTHING


def _reader(
    facts: Mapping[TableName, TableFacts],
    name: TableName,
    level: int,
    records: Mapping[int, IntervalRecord],
    affected: Mapping[TableName, tuple[Stretch, ...]],
) -> Reader:
    touched = {
        source: _Touched(source, stretches, facts.get(source, TableFacts())) for source, stretches in affected.items()
    }
    reads = [read for record in records.values() for read in record.reads if read.table in touched]
    through = [read for read in reads if touched[read.table](read)]
    outdated = sum(any(_is_outdated(read, facts) for read in record.reads) for record in records.values())
    cadence = published_cadence(facts[name].properties)
    ranges = RangeSet(each.interval for each in records.values() if each.start < each.end)
    return Reader(
        table=name,
        snapshot=facts[name].snapshot,
        level=level,
        inputs=tuple(sorted({read.table for read in through})),
        count=len(records),
        intervals=tuple(folded(ranges, cadence.unit)) if cadence else (),
        outdated=outdated,
        is_exact=all(touched[read.table].is_exact(read) for read in through),
    )


def _is_outdated(read: Read, facts: Mapping[TableName, TableFacts]) -> bool:
    files = facts.get(read.table, TableFacts()).files
    return files is None or files.fingerprint(read.stretch) != read.fingerprint
