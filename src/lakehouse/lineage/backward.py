"""Where the rows of some intervals come from: runs, what these read of each input, down to source files.

Each interval's record names its run, the digest of its code, and per input the stretch that was read with its
fingerprint. If the input still has that fingerprint, its rows are those that were read, and its current records say
where they come from. If not, the records that were published with the input's snapshot of that time say it.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from asgard.common.errors import AsgardError
from asgard.common.names import TableName
from asgard.lakehouse.declaring.intervals import Cadence, RangeSet, TimeRange
from asgard.lakehouse.declaring.periods import folded, published_cadence
from asgard.lakehouse.freshness.interval_state import IntervalRecord, Read
from asgard.lakehouse.freshness.staleness import TableFacts
from asgard.lakehouse.freshness.stretch import EVERYTHING, Stretch, merged
from asgard.lakehouse.lineage.selection import own_stretch, select
from asgard.lakehouse.lineage.sources import Sources, sources_of
from asgard.lakehouse.lineage.states import States
from asgard.lakehouse.runs.records import RunRecords

_DEEPEST = 50
"""Tables below each other that are followed; more are only possible where pipelines read each other in a circle."""
_EARLIER = 20
"""Earlier states of one input that are looked into: those that most intervals read."""


@dataclass(frozen=True)
class Computed:
    """The intervals that one run computed with one code.

    Attributes:
        code: the digest of what decides the rows.
        intervals: folded; empty for a table without intervals.
    """

    run: str
    code: str
    intervals: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"run_id": self.run, "code": self.code, "intervals": list(self.intervals)}


@dataclass(frozen=True)
class InputRead:
    """What some intervals read of one input, of one state of it.

    Attributes:
        stretches: of the input's rows.
        readers: number of intervals that read them; 1 for a table without intervals.
        snapshot: where the input has changed since, its snapshot then; None if what was read is still there.
        node: where these rows come from; None if that state can't be read any more, or is too deep to be followed.
    """

    table: TableName
    stretches: tuple[Stretch, ...]
    readers: int
    snapshot: int | None
    node: "IntervalNode | None"

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "table": str(self.table),
            "read": [str(each) for each in self.stretches],
            "readers": self.readers,
            "changed_since": self.snapshot is not None,
            "snapshot_id": self.snapshot,
            "lineage": self.node.to_json() if self.node else None,
        }


@dataclass(frozen=True)
class IntervalNode:
    """Some rows of one table, at one snapshot, and where they come from.

    Attributes:
        stretches: which rows.
        count: number of intervals that they belong to.
        intervals: these, folded; empty for a table without intervals.
        is_exact: False: the stretches go by another column than the intervals, so at most these intervals hold them.
        unrecorded: intervals of the stretches that have no record: never computed, or not known.
        unknown: of these, those that a version before 0.2 computed: from what is not known.
        doubtful: intervals that others than recorded runs changed.
        sources: of a table whose state has no records, the files that the rows come from.
    """

    table: TableName
    snapshot: int
    stretches: tuple[Stretch, ...]
    count: int
    intervals: tuple[str, ...]
    is_exact: bool
    unrecorded: tuple[str, ...]
    unknown: tuple[str, ...]
    doubtful: tuple[str, ...]
    computed: tuple[Computed, ...]
    inputs: tuple[InputRead, ...]
    sources: Sources | None
    has_state: bool

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "table": str(self.table),
            "snapshot_id": self.snapshot,
            "rows": [str(each) for each in self.stretches],
            "intervals": list(self.intervals),
            "number_of_intervals": self.count,
            "exact": self.is_exact,
            "without_record": list(self.unrecorded),
            "of_an_older_version": list(self.unknown),
            "in_doubt": list(self.doubtful),
            "state_known": self.has_state,
            "computed_by": [each.to_json() for each in self.computed],
            "inputs": [each.to_json() for each in self.inputs],
            "sources": self.sources.to_json() if self.sources else None,
        }


def backward(states: States, table: TableName, stretches: Sequence[Stretch]) -> IntervalNode:
    """Where some rows of a table come from.

    Args:
        states: of tables, at the commit to look at.
        table: that exists there.
        stretches: of its rows.

    Raises:
        UnknownTableError: it is not there.
        ServiceError: its metadata can't be read.
    """
    return _Walk(states).node(table, merged(stretches), str(states.at), states.now(table), 0)


class _Walk:
    """Follows what was read; the same rows of the same state are looked into once."""

    def __init__(self, states: States) -> None:
        self._states = states
        self._records = RunRecords(states.lake.storage)
        self._nodes: dict[tuple[TableName, str, tuple[Stretch, ...]], IntervalNode] = {}

    def node(
        self, table: TableName, stretches: tuple[Stretch, ...], ref: str, facts: TableFacts, depth: int
    ) -> IntervalNode:
        key = (table, ref, stretches)
        if key not in self._nodes:
            self._nodes[key] = self._node(table, stretches, ref, facts, depth)
        return self._nodes[key]

    def _node(
        self, table: TableName, stretches: tuple[Stretch, ...], ref: str, facts: TableFacts, depth: int
    ) -> IntervalNode:
        found = select(facts, stretches)
        cadence = published_cadence(facts.properties)
        is_source = not (facts.state and facts.state.records)
        unknown = found.unrecorded & facts.done
        return IntervalNode(
            table=table,
            snapshot=facts.snapshot,
            stretches=stretches,
            count=len(found.records),
            intervals=_folded(found.records, cadence),
            is_exact=found.is_exact,
            unrecorded=() if is_source else _ranges(found.unrecorded, cadence),
            unknown=_ranges(unknown, cadence),
            doubtful=_ranges(_doubtful(found.records, facts, cadence), cadence) if cadence else _whole_doubt(facts),
            computed=tuple(_computed(found.records, cadence)),
            inputs=tuple(self._inputs(found.records, depth + 1)),
            sources=self._sources(table, stretches, ref) if is_source else None,
            has_state=facts.state is not None,
        )

    def _sources(self, table: TableName, stretches: tuple[Stretch, ...], ref: str) -> Sources | None:
        try:
            return sources_of(self._records, self._states.table(table, ref), stretches)
        except AsgardError:  # manifests of an earlier state may be gone
            return None

    def _inputs(self, records: Sequence[IntervalRecord], depth: int) -> Iterator[InputRead]:
        by_input: dict[TableName, list[Read]] = {}
        for record in records:
            for read in record.reads:
                by_input.setdefault(read.table, []).append(read)
        self._states.read(by_input)
        for name, reads in by_input.items():
            yield from self._of_input(name, reads, depth)

    def _of_input(self, name: TableName, reads: Sequence[Read], depth: int) -> Iterator[InputRead]:
        """What was read of one input: what is still there, then earlier states of it, the most read ones first."""
        now = self._states.now(name)
        still = [each for each in reads if _is_still_there(each, now)]
        if still:
            stretches = merged(each.stretch for each in still)
            ref = str(self._states.at)
            node = self.node(name, stretches, ref, now, depth) if depth < _DEEPEST else None
            yield InputRead(name, stretches, len(still), None, node)
        earlier: dict[int, list[Read]] = {}
        for each in reads:
            if not _is_still_there(each, now):
                earlier.setdefault(each.snapshot, []).append(each)
        for place, (snapshot, group) in enumerate(sorted(earlier.items(), key=lambda each: -len(each[1]))):
            stretches = merged(each.stretch for each in group)
            then = self._states.then(name, snapshot) if place < _EARLIER and depth < _DEEPEST else None
            node = self.node(name, stretches, *then, depth) if then else None
            yield InputRead(name, stretches, len(group), snapshot, node)


def _is_still_there(read: Read, now: TableFacts) -> bool:
    return now.files is not None and now.files.fingerprint(read.stretch) == read.fingerprint


def _computed(records: Iterable[IntervalRecord], cadence: Cadence | None) -> Iterator[Computed]:
    groups: dict[tuple[str, str], list[IntervalRecord]] = {}
    for each in records:
        groups.setdefault((each.run, each.code.rows), []).append(each)
    for (run, code), group in sorted(groups.items()):
        yield Computed(run, code, _folded(group, cadence))


def _folded(records: Iterable[IntervalRecord], cadence: Cadence | None) -> tuple[str, ...]:
    return _ranges(RangeSet(each.interval for each in records if each.start < each.end), cadence)


def _ranges(ranges: Iterable[TimeRange], cadence: Cadence | None) -> tuple[str, ...]:
    return tuple(folded(ranges, cadence.unit)) if cadence else ()


def _doubtful(records: Iterable[IntervalRecord], facts: TableFacts, cadence: Cadence | None) -> RangeSet:
    """The intervals that others than recorded runs changed."""
    return RangeSet(
        each.interval
        for each in records
        if each.start < each.end
        and cadence is not None
        and (each.doubt or any(change.touches(own_stretch(cadence, each)) for change in facts.foreign))
    )


def _whole_doubt(facts: TableFacts) -> tuple[str, ...]:
    """The same for a table without intervals."""
    records = facts.state.records.values() if facts.state else ()
    is_doubtful = any(each.doubt for each in records) or any(each.touches(EVERYTHING) for each in facts.foreign)
    return ("all rows",) if is_doubtful and records else ()
