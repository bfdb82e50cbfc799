"""What is missing, partial, stale or in doubt of each table, and why: from declarations, states and file indexes."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from asgard.common.names import TableName
from asgard.lakehouse.declaring.declaration import Table
from asgard.lakehouse.declaring.intervals import Cadence, RangeSet, TimeRange
from asgard.lakehouse.freshness.code_digest import CodeDigests
from asgard.lakehouse.freshness.file_index import FileIndex, SnapshotChange
from asgard.lakehouse.freshness.interval_state import INPUTS_PROPERTY, IntervalRecord, IntervalState, Read
from asgard.lakehouse.freshness.stretch import EVERYTHING, Stretch, micros


class Condition(StrEnum):
    """What can be wrong with an interval, the most urgent first."""

    MISSING = "missing"
    """It was never computed."""
    PARTIAL = "partial"
    """It was computed when the declared `end` lay inside of it, and `end` is later now."""
    DOUBT = "in doubt"
    """Somebody other than a recorded run changed its rows."""
    DATA = "stale by data"
    """Rows that it read of an input have changed."""
    INPUT = "stale by input"
    """Rows that it read of an input are missing, stale or in doubt themselves."""
    CODE = "stale by code"
    """Other code, or another declaration, computes it now."""
    UNKNOWN = "unknown"
    """It was computed by a version of Asgard that did not write down from what, or that is lost."""
    CHECKS = "checks changed"
    """Other checks are declared now; its rows would be the same."""
    DOCUMENTATION = "documentation changed"
    """Owner, description or the like changed."""


STALE_BY_DATA = frozenset({Condition.PARTIAL, Condition.DATA, Condition.INPUT, Condition.DOUBT})
"""What `--stale` computes again, beside what is missing."""
STALE_BY_CODE = frozenset({Condition.CODE, Condition.UNKNOWN})
"""What `--changed` computes again."""
HARMLESS = frozenset({Condition.CHECKS, Condition.DOCUMENTATION})
"""What leaves the rows as they would be."""


@dataclass(frozen=True)
class Finding:
    """Why one interval is not as it would be if it was computed now.

    Attributes:
        interval: None for a table without intervals.
        inputs: the inputs that it is because of, with what was read of each.
        record: what it was computed from; None where it is missing or unknown.
    """

    table: TableName
    interval: TimeRange | None
    condition: Condition
    inputs: tuple[TableName, ...] = ()
    record: IntervalRecord | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "table": str(self.table),
            "interval": str(self.interval) if self.interval else None,
            "condition": str(self.condition),
            "inputs": [str(name) for name in self.inputs],
            "computed_by": self.record.run if self.record else None,
        }


@dataclass(frozen=True)
class TableFacts:
    """What is known of one table at one commit.

    Attributes:
        exists: it was published.
        snapshot: its current one; 0 for none.
        state: of it; None where it was published by no version that writes one.
        files: its live files; None where it is not there.
        done: stretches that an older version of Asgard noted as computed.
        properties: of the table.
        foreign: what snapshots did since the state was written that wrote none themselves.
        problem: why its state can't be read; "" if it can, or there is none.
    """

    exists: bool = False
    snapshot: int = 0
    state: IntervalState | None = None
    files: FileIndex | None = None
    done: RangeSet = field(default_factory=RangeSet)
    properties: Mapping[str, str] = field(default_factory=dict)
    foreign: tuple[SnapshotChange, ...] = ()
    problem: str = ""

    def foreign_to(self, stretch: Stretch) -> int:
        """The first foreign snapshot that may have changed rows of a stretch; 0 for none."""
        return next((each.snapshot for each in self.foreign if each.touches(stretch)), 0)


def is_over(table: Table, cadence: Cadence, now: datetime) -> RangeSet:
    """The whole intervals that a table is declared for and that are over by `now`; from year 1 on without a start."""
    start = cadence.unit.floor(table.start) if table.start else datetime(1, 1, 1, tzinfo=UTC)
    closed = table.end is not None and table.end <= now
    end = cadence.unit.ceil(table.end) if table.end and closed else cadence.unit.floor(now)
    return RangeSet([TimeRange(start, end)] if start < end else [])


def expected(table: Table, cadence: Cadence, now: datetime) -> RangeSet:
    """The same; none without a start."""
    return is_over(table, cadence, now) if table.start else RangeSet()


def cut_at(table: Table, interval: TimeRange) -> int | None:
    """The declared end, in microseconds since 1970, where it lies inside an interval."""
    if table.end is None or not interval.start < table.end < interval.end:
        return None
    return micros(table.end)


def examine(
    tables: Sequence[Table],
    facts: Mapping[TableName, TableFacts],
    digests: Mapping[TableName, CodeDigests],
    now: datetime,
) -> dict[TableName, list[Finding]]:
    """Everything that is wrong with some tables.

    Args:
        tables: each after its inputs; sources have no findings.
        facts: of them and of all of their inputs.
        digests: of their code as it is declared now.
        now: no interval that ends later is expected.

    Returns:
        The findings of each table, in the order of its intervals, one for each interval at most: the most urgent.
    """
    findings: dict[TableName, list[Finding]] = {}
    unsettled: dict[TableName, Unsettled] = {}
    for table in tables:
        if table.function is None:
            continue
        found = [
            finding
            for interval, record in _expected_records(table, facts[table.name], now)
            if (finding := _finding(table, interval, record, facts, digests[table.name], unsettled)) is not None
        ]
        findings[table.name] = found
        unsettled[table.name] = Unsettled.of(table, found)
    return findings


@dataclass(frozen=True)
class Unsettled:
    """The stretches of a table that will change when it is computed."""

    column: str
    ranges: tuple[tuple[int, int], ...]
    whole: bool

    @classmethod
    def of(cls, table: Table, findings: Sequence[Finding]) -> "Unsettled":
        """What will change of a table once its findings are put right."""
        changing = [each for each in findings if each.condition not in HARMLESS]
        ranges = RangeSet(each.interval for each in changing if each.interval is not None)
        return cls.within(table, ranges, whole=any(each.interval is None for each in changing))

    @classmethod
    def within(cls, table: Table, ranges: RangeSet, *, whole: bool) -> "Unsettled":
        """These stretches of a table, or all of it."""
        column = table.interval.column if table.interval else ""
        return cls(column, tuple((micros(each.start), micros(each.end)) for each in ranges), whole)

    def __bool__(self) -> bool:
        return self.whole or bool(self.ranges)

    def touches(self, stretch: Stretch) -> bool:
        """Whether rows of a stretch may change."""
        if self.whole or (self.ranges and (not stretch.is_bounded or stretch.column != self.column)):
            return True
        return any(
            (stretch.end is None or low < stretch.end) and (stretch.start is None or high > stretch.start)
            for low, high in self.ranges
        )


def _expected_records(
    table: Table, facts: TableFacts, now: datetime
) -> list[tuple[TimeRange | None, IntervalRecord | None]]:
    records = facts.state.records if facts.state else {}
    if table.interval is None:
        return [(None, records.get(0))]
    starts = [
        (start, table.interval.unit.shift(start, 1))
        for part in expected(table, table.interval, now)
        for start in table.interval.unit.starts(part)
    ]
    return [(TimeRange(start, end), records.get(micros(start))) for start, end in starts]


def _finding(
    table: Table,
    interval: TimeRange | None,
    record: IntervalRecord | None,
    facts: Mapping[TableName, TableFacts],
    digests: CodeDigests,
    unsettled: Mapping[TableName, Unsettled],
) -> Finding | None:
    own = facts[table.name]
    if record is None:
        return _unrecorded(table, interval, facts)
    if record.doubt or own.foreign_to(own_stretch(table, interval)):
        return Finding(table.name, interval, Condition.DOUBT, record=record)
    if interval is not None and (record.end != micros(interval.end) or record.until != cut_at(table, interval)):
        return Finding(table.name, interval, Condition.PARTIAL, record=record)
    inputs = dict.fromkeys(table.inputs.values())
    reads = [read for read in record.reads if read.table in inputs]  # others are no inputs any more: other code
    recorded = {read.table for read in reads}
    declared_since = (name for name in inputs if name not in recorded)
    moved = (*(read.table for read in reads if not _is_same(read, facts.get(read.table))), *declared_since)
    if moved:
        return Finding(table.name, interval, Condition.DATA, moved, record)
    waiting = tuple(
        read.table for read in reads if read.table in unsettled and unsettled[read.table].touches(read.stretch)
    )
    if waiting:
        return Finding(table.name, interval, Condition.INPUT, waiting, record)
    for mine, now, condition in (
        (record.code.rows, digests.rows, Condition.CODE),
        (record.code.checks, digests.checks, Condition.CHECKS),
        (record.code.documentation, digests.documentation, Condition.DOCUMENTATION),
    ):
        if mine != now:
            return Finding(table.name, interval, condition, record=record)
    return None


def _unrecorded(table: Table, interval: TimeRange | None, facts: Mapping[TableName, TableFacts]) -> Finding:
    """An interval without a record: missing, or computed by a version of Asgard that wrote none.

    That version noted the snapshots of all inputs, which tells whether a table without intervals is as new as they are.
    """
    own = facts[table.name]
    if interval is not None:
        is_done = not (RangeSet([interval]) - own.done)
        return Finding(table.name, interval, Condition.UNKNOWN if is_done else Condition.MISSING)
    if not own.exists or (
        own.state is not None and INPUTS_PROPERTY not in own.properties
    ):  # what computed it is undone
        return Finding(table.name, None, Condition.MISSING)
    used = json.loads(own.properties.get(INPUTS_PROPERTY) or "{}")
    inputs = dict.fromkeys(table.inputs.values())
    moved = tuple(name for name in inputs if name in facts and used.get(str(name)) != facts[name].snapshot)
    return Finding(table.name, None, Condition.DATA if moved else Condition.UNKNOWN, moved)


def own_stretch(table: Table, interval: TimeRange | None) -> Stretch:
    """The rows of one interval of a table; all rows of a table without intervals."""
    if table.interval is None or interval is None:
        return EVERYTHING
    return Stretch(table.interval.column, micros(interval.start), micros(interval.end), nulls=False)


def _is_same(read: Read, facts: TableFacts | None) -> bool:
    """Whether an input still has the files that were read of it, and no others."""
    if facts is None or facts.files is None:
        return False
    return facts.files.fingerprint(read.stretch) == read.fingerprint
