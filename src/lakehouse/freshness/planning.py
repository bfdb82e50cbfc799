"""What a backfill computes: which intervals of which tables, in which runs, and what it leaves. Pure arithmetic."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from asgard.common.errors import UsageError
from asgard.common.names import TableName
from asgard.lakehouse.declaring.declaration import Restate, Table
from asgard.lakehouse.declaring.intervals import Cadence, RangeSet, TimeRange, Unit
from asgard.lakehouse.freshness.staleness import (
    HARMLESS,
    STALE_BY_CODE,
    STALE_BY_DATA,
    Condition,
    Finding,
    TableFacts,
    Unsettled,
    expected,
    is_over,
)

_BY_ITSELF = frozenset({Condition.MISSING, Condition.PARTIAL})


@dataclass(frozen=True)
class PlanRequest:
    """What a backfill is asked for.

    Attributes:
        now: no interval that ends later is complete.
        window: compute the intervals that it touches, again if need be; None: what is missing.
        stale: also what is stale by data, or in doubt.
        changed: also what is stale by code.
        full_refresh: compute tables without intervals again, whatever is known of them.
        intervals_per_run: cut into runs of so many intervals of the longest cadence; None: one run.
    """

    now: datetime
    window: TimeRange | None = None
    stale: bool = False
    changed: bool = False
    full_refresh: bool = False
    intervals_per_run: int | None = None

    def takes(self, table: Table, condition: Condition) -> bool:
        """Whether intervals in a condition are computed, where no range is given."""
        if condition is Condition.INPUT:
            return False  # it follows, if its input is computed: before that there is nothing new to read
        if condition in _BY_ITSELF:
            return True
        if table.restate is Restate.NEVER or condition in HARMLESS:
            return False
        if table.interval is None and condition is Condition.DATA:
            return True
        by_data = condition in STALE_BY_DATA and (self.stale or table.restate is Restate.AUTO)
        return by_data or (condition in STALE_BY_CODE and self.changed)


@dataclass(frozen=True)
class Step:
    """One table in one run: its stretches of time (none for a table without intervals), and why.

    Attributes:
        ranges: computed in any case.
        follows: computed if what they read has changed once their inputs are written.
        only_if_moved: the same, of a table without intervals.
        belongs_to: another pipeline, from which the run would have to take the table over; "" for none.
    """

    table: Table
    ranges: tuple[TimeRange, ...]
    reason: str
    belongs_to: str = ""
    follows: tuple[TimeRange, ...] = ()
    only_if_moved: bool = False

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "table": str(self.table.name),
            "mode": self.table.mode,
            "intervals": [str(window) for window in self.ranges],
            "if_inputs_change": [str(window) for window in self.follows],
            "reason": self.reason,
            "belongs_to": self.belongs_to,
            "reads": [str(name) for name in self.table.inputs.values()],
            "checks": [check.name for check in self.table.audited_checks],
        }


PlannedRun = tuple[Step, ...]
"""The steps of one run, in the order of the graph."""


@dataclass(frozen=True)
class Plan:
    """What a backfill would do, and what it would leave.

    Attributes:
        runs: one after the other.
        findings: everything that is wrong with the selected tables.
        left: those of the findings that the runs would not put right.
        notes: what the given range does not say by itself: intervals that it was widened to, or that it leaves out.
    """

    runs: tuple[PlannedRun, ...]
    findings: tuple[Finding, ...] = ()
    left: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass
class _Todo:
    """What is planned of one table.

    Attributes:
        direct: stretches that are computed in any case.
        follows: stretches that are computed if their inputs change.
        whole: of a table without intervals: it is computed.
        only_if_moved: of a table without intervals: if its inputs change.
        reasons: why, in order.
    """

    direct: RangeSet = field(default_factory=RangeSet)
    follows: RangeSet = field(default_factory=RangeSet)
    whole: bool = False
    only_if_moved: bool = False
    reasons: list[str] = field(default_factory=list)

    def covers(self, finding: Finding) -> bool:
        if finding.interval is None:
            return self.whole
        return not RangeSet([finding.interval]) - (self.direct | self.follows)


def plan_runs(
    tables: Sequence[Table],
    facts: Mapping[TableName, TableFacts],
    findings: Mapping[TableName, Sequence[Finding]],
    request: PlanRequest,
    owners: Mapping[TableName, str],
) -> Plan:
    """Decide what to compute.

    Args:
        tables: selected, each after its inputs; sources are passed over.
        facts: of them and of their inputs.
        findings: of them, from `examine`.
        request: what is asked for.
        owners: other pipelines that tables belong to.

    Raises:
        UsageError: the range touches no complete interval of any table, or a table with intervals has no start.
    """
    computed = [table for table in tables if table.function is not None]
    todo: dict[TableName, _Todo] = {}
    notes: list[str] = []
    for table in computed:
        todo[table.name] = _todo(table, facts, findings.get(table.name, ()), request, todo, computed, notes)
    with_intervals = [table for table in computed if table.interval]
    if request.window is not None and with_intervals and not any(todo[table.name].direct for table in with_intervals):
        raise UsageError(
            f"The range {request.window} touches no complete interval of "
            f"{', '.join(str(table.name) for table in with_intervals)}.",
            hint="An interval is computed once it is over, and from the declared start on.",
        )
    runs = _runs(computed, todo, request.intervals_per_run, owners)
    everything = [each for table in computed for each in findings.get(table.name, ())]
    left = [each for each in everything if each.condition not in HARMLESS and not todo[each.table].covers(each)]
    return Plan(runs, tuple(everything), tuple(left), tuple(notes))


def _todo(
    table: Table,
    facts: Mapping[TableName, TableFacts],
    findings: Sequence[Finding],
    request: PlanRequest,
    upstream: Mapping[TableName, _Todo],
    tables: Sequence[Table],
    notes: list[str],
) -> _Todo:
    cadence = table.interval
    found = _Todo()
    moving = {each.name: _unsettled(each, upstream[each.name]) for each in tables if each.name in upstream}
    inputs = [name for name in dict.fromkeys(table.inputs.values()) if moving.get(name)]
    follows = table.restate is not Restate.NEVER or request.window is not None
    followers = _followers(table, facts[table.name], inputs, moving)
    if not follows:
        notes += (f"{table.name} may become stale for {part}, and stays so: restate='never'" for part in followers)
        followers = RangeSet()
    if request.window is not None and cadence is not None:
        found.direct = _asked(table, cadence, request.window, request.now, notes)
        found.reasons.append("asked for")
        outside = (followers & is_over(table, cadence, request.now)) - found.direct
        notes += (f"{table.name} may become stale for {part}: it reads what this range computes" for part in outside)
        return found
    if cadence is not None and table.start is None:
        raise UsageError(
            f"{table.name} has intervals but no start, so its missing intervals are unknown.",
            hint="Declare start='2024-01-01' (for the table, or the whole pipeline), or give --start and --end.",
        )
    taken = [each for each in findings if request.takes(table, each.condition)]
    if cadence is None:
        found.whole = bool(taken) or request.full_refresh or request.window is not None
        found.reasons.extend(dict.fromkeys(_reason(each) for each in taken))
        if not taken and found.whole:
            found.reasons.append("asked for")
        if not found.whole and inputs and follows:
            found.whole = found.only_if_moved = True
            found.reasons.append(f"its inputs will change: {', '.join(map(str, inputs))}")
        return found
    span = expected(table, cadence, request.now)
    direct = RangeSet(each.interval for each in taken if each.interval is not None)
    new = RangeSet(each.interval for each in taken if each.interval is not None and each.condition is Condition.MISSING)
    back = RangeSet(TimeRange(cadence.unit.shift(part.start, -cadence.lookback), part.end) for part in new)
    found.direct = (direct | back) & span
    found.reasons.extend(dict.fromkeys(_reason(each) for each in taken))
    found.follows = (followers & span) - found.direct
    if found.follows:
        found.reasons.append(f"if its inputs change: {', '.join(map(str, inputs))}")
    return found


def _followers(
    table: Table,
    facts: TableFacts,
    inputs: Sequence[TableName],
    moving: Mapping[TableName, Unsettled],
) -> RangeSet:
    """The intervals that read something that is about to be written."""
    state = facts.state
    if table.interval is None or state is None or not inputs:
        return RangeSet()
    return RangeSet(
        record.interval
        for record in state.records.values()
        if record.start < record.end  # else from when the table had no intervals
        and any(read.table in inputs and moving[read.table].touches(read.stretch) for read in record.reads)
    )


def _unsettled(table: Table, todo: _Todo) -> Unsettled:
    return Unsettled.within(table, todo.direct | todo.follows, whole=todo.whole)


def _asked(table: Table, cadence: Cadence, window: TimeRange, now: datetime, notes: list[str]) -> RangeSet:
    """The intervals that a range touches, without those that are not over or lie outside what is declared."""
    touched = cadence.cover(window)
    found = RangeSet([touched]) & is_over(table, cadence, now)
    if touched != window and found:
        notes.append(f"{table.name} is computed for {found}: whole intervals of one {cadence.unit}")
    for part in RangeSet([touched]) - found:
        why = "before its start" if table.start and part.end <= table.start else "not over, or after its end"
        notes.append(f"{table.name} is not computed for {part}: {why}")
    return found


_REASONS = {
    Condition.MISSING: "missing",
    Condition.PARTIAL: "partial",
    Condition.DOUBT: "in doubt",
    Condition.CODE: "its code changed",
    Condition.UNKNOWN: "computed from unknown inputs",
}


def _reason(finding: Finding) -> str:
    if finding.interval is None and finding.condition is Condition.MISSING:
        return "not published yet"
    if finding.condition in (Condition.DATA, Condition.INPUT):
        return f"its inputs changed: {', '.join(map(str, sorted(set(finding.inputs))))}"
    return _REASONS[finding.condition]


_Share = Mapping[TableName, tuple[RangeSet, RangeSet]]
"""What one run computes of each table: in any case, and if its inputs change."""


def _runs(
    tables: Sequence[Table],
    todo: Mapping[TableName, _Todo],
    intervals_per_run: int | None,
    owners: Mapping[TableName, str],
) -> tuple[PlannedRun, ...]:
    shares = list(_shares(tables, todo, intervals_per_run))
    runs = []
    for number, share in enumerate(shares):
        steps = []
        for table in tables:
            planned, owner = todo[table.name], owners.get(table.name, "")
            reason = "; ".join(planned.reasons)
            if table.interval is not None:
                ranges, follows = share[table.name]
                if ranges or follows:
                    steps.append(Step(table, ranges.ranges, reason, owner, follows.ranges))
            elif planned.whole and number in _turns(table, tables, len(shares) - 1):
                steps.append(Step(table, (), reason, owner, only_if_moved=planned.only_if_moved))
        if steps:
            runs.append(tuple(steps))
    return tuple(runs)


def _shares(
    tables: Sequence[Table], todo: Mapping[TableName, _Todo], intervals_per_run: int | None
) -> Iterator[_Share]:
    """Cut what is to do into runs: each interval falls to one, after what it reads of its own time.

    A cut that would leave a run nothing before its end is left out, so that no two runs begin at the same time.
    """
    left: _Share = {table.name: (todo[table.name].direct, todo[table.name].follows) for table in tables}
    for chunk in _chunks(left, tables, intervals_per_run)[:-1]:
        ends = _ends(tables, chunk.end)
        before = {name: RangeSet([TimeRange(_BEGINNING, ends[name])]) for name in left}
        share = {name: (direct & before[name], follows & before[name]) for name, (direct, follows) in left.items()}
        if any(part.start < chunk.end for both in share.values() for ranges in both for part in ranges):
            yield share
            left = {name: (direct - before[name], follows - before[name]) for name, (direct, follows) in left.items()}
    yield left


_BEGINNING = datetime(1, 1, 1, tzinfo=UTC)


def _ends(tables: Sequence[Table], moment: datetime) -> dict[TableName, datetime]:
    """How far each table is computed by the run that ends at a moment: as far as longer intervals read it."""
    ends: dict[TableName, datetime] = {}
    for table in reversed(tables):
        users = (ends[each.name] for each in tables if each.name in ends and table.name in each.inputs.values())
        latest = max([moment, *users])
        ends[table.name] = table.interval.unit.ceil(latest) if table.interval else latest
    return ends


def _chunks(share: _Share, tables: Sequence[Table], intervals_per_run: int | None) -> list[TimeRange]:
    """The stretches of the runs, in order, by the longest cadence of the tables that something is to do of."""
    if intervals_per_run is None:
        return []
    stretches = {name: direct | follows for name, (direct, follows) in share.items()}
    cadences = [table.interval for table in tables if table.interval and stretches[table.name]]
    if not cadences:
        return []
    longest = max(cadences, key=lambda cadence: list(Unit).index(cadence.unit))
    everything = RangeSet(longest.cover(part) for ranges in stretches.values() for part in ranges)
    return [chunk for part in everything for chunk in longest.chunks(part, intervals_per_run)]


def table_by_table(run: PlannedRun, intervals_per_run: int | None) -> tuple[PlannedRun, ...]:
    """A run as it is if it is short enough, else one table after the other, each in short runs.

    Each table is complete before what reads it is computed, so no run makes an earlier one's intervals stale.
    """
    share = {step.table.name: (RangeSet(step.ranges), RangeSet(step.follows)) for step in run}
    if len(_chunks(share, [step.table for step in run], intervals_per_run)) <= 1:
        return (run,)
    runs: list[PlannedRun] = []
    for step in run:
        todo = _Todo(RangeSet(step.ranges), RangeSet(step.follows))
        for part in _shares([step.table], {step.table.name: todo}, intervals_per_run):
            ranges, follows = part[step.table.name]
            if ranges or follows or step.table.interval is None:
                runs.append((replace(step, ranges=ranges.ranges, follows=follows.ranges),))
    return tuple(runs)


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
