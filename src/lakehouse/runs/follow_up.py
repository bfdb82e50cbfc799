"""What the runs of a backfill in chunks made stale themselves: a later chunk wrote what an earlier one had read.

Only that: what others changed, also meanwhile, is left to the next backfill, as its declaration says.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from asgard.common.names import TableName
from asgard.lakehouse.catalog.files import TableState
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.declaring.declaration import Table
from asgard.lakehouse.declaring.intervals import RangeSet
from asgard.lakehouse.declaring.pipeline import Pipeline
from asgard.lakehouse.freshness.file_index import SnapshotChange, changes_of
from asgard.lakehouse.freshness.interval_state import Read
from asgard.lakehouse.freshness.planning import PlannedRun, PlanRequest, plan_runs, table_by_table
from asgard.lakehouse.freshness.staleness import Condition, Finding
from asgard.lakehouse.runs.planned import Known


def follow_up(
    lake: Lakehouse,
    pipeline: Pipeline,
    selected: Sequence[Table],
    ref: str,
    wanted: PlanRequest,
    is_own: Callable[[str], bool],
    within: Mapping[TableName, RangeSet] | None,
) -> tuple[PlannedRun, ...]:
    """The runs that compute again what runs of this backfill alone made stale, and what follows from that.

    Args:
        lake: to read from.
        pipeline: that declares the tables.
        selected: the tables of the backfill, each after its inputs.
        ref: after its runs (`name` or `name@hash`).
        wanted: what the backfill was asked for.
        is_own: whether a run id is one of its runs.
        within: for a given range, what it computed of each table: nothing else is computed then. None: no range.

    Raises:
        ServiceError: metadata can't be read.
    """
    known = Known.of(lake, pipeline, selected, ref, wanted.now)
    changes = _Changes(lake, ref)
    own = {
        table.name: [
            each
            for each in known.findings.get(table.name, ())
            if each.condition is Condition.DATA and _is_inside(each, within) and changes.are_all(each, is_own)
        ]
        for table in selected
    }
    if not any(own.values()):
        return ()
    counted = [table for table in selected if table.interval is None or table.start is not None]
    runs = plan_runs(counted, known.facts, own, PlanRequest(wanted.now, stale=True), known.owners).runs
    if within is not None:
        runs = tuple(_cut(run, within) for run in runs)
    return tuple(short for run in runs if run for short in table_by_table(run, wanted.intervals_per_run))


def _is_inside(finding: Finding, within: Mapping[TableName, RangeSet] | None) -> bool:
    if within is None or finding.interval is None:
        return within is None or finding.table in within
    return not RangeSet([finding.interval]) - within.get(finding.table, RangeSet())


def _cut(run: PlannedRun, within: Mapping[TableName, RangeSet]) -> PlannedRun:
    """What lies inside of a range."""
    steps = []
    for step in run:
        if step.table.name not in within:
            continue
        inside = within[step.table.name]
        ranges, follows = RangeSet(step.ranges) & inside, RangeSet(step.follows) & inside
        if ranges or follows or step.table.interval is None:
            steps.append(replace(step, ranges=ranges.ranges, follows=follows.ranges))
    return tuple(steps)


@dataclass
class _Changes:
    """What snapshots did to tables at one reference; metadata is read once for each table and snapshot."""

    lake: Lakehouse
    ref: str

    def __post_init__(self) -> None:
        self._states: dict[TableName, TableState | None] = {}
        self._read: dict[tuple[TableName, int], SnapshotChange] = {}

    def are_all(self, finding: Finding, is_own: Callable[[str], bool]) -> bool:
        """Whether whatever made an interval stale was done by own runs."""
        reads = {read.table: read for read in finding.record.reads} if finding.record else {}
        return all(name in reads and self._are_own(reads[name], is_own) for name in finding.inputs)

    def _are_own(self, read: Read, is_own: Callable[[str], bool]) -> bool:
        state = self._state(read.table)
        if state is None or state.snapshot_id is None:
            return False
        chain = state.ancestors(state.snapshot_id)
        if read.snapshot and read.snapshot not in chain:
            return False  # the table was replaced, or moved back
        since = chain[chain.index(read.snapshot) + 1 if read.snapshot else 0 :]
        changes = (self._change(read.table, state, each) for each in since)
        return all(is_own(each.run) for each in changes if each.touches(read.stretch))

    def _change(self, table: TableName, state: TableState, snapshot: int) -> SnapshotChange:
        if (table, snapshot) not in self._read:
            self._read[table, snapshot] = changes_of(state, snapshot)
        return self._read[table, snapshot]

    def _state(self, table: TableName) -> TableState | None:
        if table not in self._states:
            content = self.lake.nessie.content(self.ref, table)
            self._states[table] = (
                TableState.load(content.metadata_location, self.lake.settings) if content is not None else None
            )
        return self._states[table]
