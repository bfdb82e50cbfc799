"""What a backfill has to compute: which intervals of which tables, in which runs. Pure arithmetic."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from asgard.common.errors import UsageError
from asgard.common.names import TableName
from asgard.lakehouse.declaring.declaration import Table
from asgard.lakehouse.declaring.intervals import Cadence, RangeSet, TimeRange, Unit


@dataclass(frozen=True)
class Progress:
    """How much of a table is computed.

    Attributes:
        exists: whether the table was published before.
        done: time ranges that are computed.
        stale_inputs: inputs that changed, or were declared, since the table was last written.
        belongs_to: the other pipeline that published the table; "" if the table may be written.
    """

    exists: bool = False
    done: RangeSet = field(default_factory=RangeSet)
    stale_inputs: tuple[TableName, ...] = ()
    belongs_to: str = ""


@dataclass(frozen=True)
class Step:
    """One table in one run: its time ranges (none for a table without intervals), and the reason.

    Attributes:
        belongs_to: the other pipeline that the run would have to take the table over from; "" for none.
    """

    table: Table
    ranges: tuple[TimeRange, ...]
    reason: str
    belongs_to: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "table": str(self.table.name),
            "mode": self.table.mode,
            "intervals": [str(window) for window in self.ranges],
            "reason": self.reason,
            "belongs_to": self.belongs_to,
            "reads": [str(name) for name in self.table.inputs.values()],
            "checks": [check.name for check in self.table.audited_checks],
        }


PlannedRun = tuple[Step, ...]
"""The steps of one run, in the order of the graph."""


def plan_runs(
    tables: Sequence[Table],
    progress: Mapping[TableName, Progress],
    *,
    window: TimeRange | None,
    now: datetime,
    intervals_per_run: int | None = None,
) -> tuple[PlannedRun, ...]:
    """Decide what to compute.

    Args:
        tables: the selected tables, each after its inputs; sources are skipped.
        progress: of each table.
        window: compute all whole intervals in it, even computed ones; None: compute the missing intervals.
        now: an interval that ends later is not complete.
        intervals_per_run: split into runs of this many intervals of the longest cadence; None: one run.

    Raises:
        UsageError: the window contains no whole interval, or a table with intervals has no start.
    """
    computed = [table for table in tables if table.function is not None]
    todo = {table.name: _todo(table, progress[table.name], window, now) for table in computed if table.interval}
    if window is not None and todo and not any(todo.values()):
        raise UsageError(
            f"The range {window} contains no whole interval of {', '.join(map(str, todo))}.",
            hint="Widen it: an interval is computed as a whole, and the end is not included.",
        )
    chunks = _chunks(computed, todo, intervals_per_run)
    moving: set[TableName] = {name for name, ranges in todo.items() if ranges}
    whole: dict[TableName, str] = {}
    for table in computed:
        if table.interval is None:
            reason = _reason(table, progress[table.name], moving, window)
            if reason:
                whole[table.name] = reason
                moving.add(table.name)
    runs = []
    last = max(len(chunks), 1) - 1
    for number, chunk in enumerate(chunks or [None]):
        steps = []
        for table in computed:
            if table.interval is not None:
                ranges = _share(table.interval, todo[table.name], chunk)
                if ranges:
                    reason = "asked for" if window else "missing"
                    steps.append(Step(table, ranges, reason, progress[table.name].belongs_to))
            elif table.name in whole and number in _turns(table, computed, last):
                steps.append(Step(table, (), whole[table.name], progress[table.name].belongs_to))
        if steps:
            runs.append(tuple(steps))
    return tuple(runs)


def still_missing(steps: PlannedRun, progress: Mapping[TableName, Progress], *, now: datetime) -> PlannedRun:
    """The steps that are still necessary of a run that was planned without a window, after others have published.

    Args:
        steps: the planned steps.
        progress: the present progress of each of their tables.
        now: the same value as for the plan.
    """
    left: list[Step] = []
    for step in steps:
        name = step.table.name
        if step.table.interval is not None:
            ranges = (RangeSet(step.ranges) & _todo(step.table, progress[name], None, now)).ranges
            if ranges:
                left.append(replace(step, ranges=ranges))
        elif reason := _reason(step.table, progress[name], {each.table.name for each in left}, None):
            left.append(replace(step, reason=reason))
    return tuple(left)


def _todo(table: Table, progress: Progress, window: TimeRange | None, now: datetime) -> RangeSet:
    cadence = table.interval
    if cadence is None:
        return RangeSet()
    if window is not None:
        aligned = cadence.align(window)
        return RangeSet([aligned]) & _declared_span(table, cadence, now) if aligned else RangeSet()
    if table.start is None:
        raise UsageError(
            f"{table.name} has intervals but no start, so its missing intervals are unknown.",
            hint="Declare start='2024-01-01' (for the table, or the whole pipeline), or give --start and --end.",
        )
    span = _declared_span(table, cadence, now)
    back = []
    for part in span - progress.done:
        whole = cadence.cover(part)  # the table may have had another cadence when a part was done
        back.append(TimeRange(cadence.unit.shift(whole.start, -cadence.lookback), whole.end))
    return RangeSet(back) & span


def _declared_span(table: Table, cadence: Cadence, now: datetime) -> RangeSet:
    """All complete intervals that the table is declared for; none that ends after `now`."""
    start = cadence.unit.floor(table.start) if table.start else datetime(1, 1, 1, tzinfo=UTC)
    closed = table.end is not None and table.end <= now
    end = cadence.unit.ceil(table.end) if table.end and closed else cadence.unit.floor(now)
    return RangeSet([TimeRange(start, end)] if start < end else [])


def _reason(table: Table, progress: Progress, moving: Iterable[TableName], window: TimeRange | None) -> str:
    if not progress.exists:
        return "not published yet"
    moved = [str(name) for name in table.inputs.values() if name in set(moving)]
    if moved:
        return f"its inputs will change: {', '.join(moved)}"
    if progress.stale_inputs:
        return f"its inputs changed: {', '.join(map(str, progress.stale_inputs))}"
    return "asked for" if window else ""


def _chunks(
    tables: Sequence[Table], todo: Mapping[TableName, RangeSet], intervals_per_run: int | None
) -> list[TimeRange | None]:
    if intervals_per_run is None:
        return []
    cadences = [table.interval for table in tables if table.interval and todo[table.name]]
    if not cadences:
        return []
    longest = max(cadences, key=lambda cadence: list(Unit).index(cadence.unit))
    everything = RangeSet(longest.cover(part) for ranges in todo.values() for part in ranges)
    return [chunk for part in everything for chunk in longest.chunks(part, intervals_per_run)]


def _share(cadence: Cadence, todo: RangeSet, chunk: TimeRange | None) -> tuple[TimeRange, ...]:
    """A table's part of one chunk: each interval belongs to the chunk that contains its start.

    So the rows that a longer interval of the chunk reads from this table are computed before it.
    """
    if chunk is None:
        return todo.ranges
    start, end = cadence.unit.ceil(chunk.start), cadence.unit.ceil(chunk.end)
    return (todo & RangeSet([TimeRange(start, end)])).ranges if start < end else ()


def _turns(table: Table, tables: Sequence[Table], last: int) -> set[int]:
    """In which of the runs a table without intervals is computed: after its inputs, before its users."""
    by_name = {each.name: each for each in tables}

    def has_interval_input(name: TableName) -> bool:
        inputs = by_name[name].inputs.values() if name in by_name else ()
        return any(each in by_name and (by_name[each].interval or has_interval_input(each)) for each in inputs)

    def has_interval_user(name: TableName) -> bool:
        return any(name in each.inputs.values() and (each.interval or has_interval_user(each.name)) for each in tables)

    if not has_interval_input(table.name):
        return {0}
    return set(range(last + 1)) if has_interval_user(table.name) else {last}
