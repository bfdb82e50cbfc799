"""Who has read the rows that a revert takes out, and what becomes stale by it. Metadata only."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from asgard.common.names import RunId, TableName
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.catalog.registrations import Registrations
from asgard.lakehouse.declaring.intervals import RangeSet
from asgard.lakehouse.freshness.facts import facts_of
from asgard.lakehouse.freshness.interval_state import IntervalRecord
from asgard.lakehouse.freshness.staleness import TableFacts
from asgard.lakehouse.runs.records import RunRecords
from asgard.lakehouse.runs.revert_plan import RevertPlan

_HOLD = "hold_"


@dataclass(frozen=True)
class Stale:
    """What becomes stale of one table.

    Attributes:
        intervals: none for a table without intervals.
        runs: that computed them.
    """

    table: TableName
    intervals: RangeSet
    runs: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"table": str(self.table), "intervals": [str(each) for each in self.intervals], "runs": list(self.runs)}


@dataclass(frozen=True)
class Effects:
    """What a revert means for others.

    Attributes:
        readers: later runs that read a table of the run after it: by their ids the job, and the tables that they wrote.
        stale: what becomes stale because it read the rows that change.
        follows: tables that read those.
        views: registered at a snapshot that has the rows, e.g. `view customer_metrics`.
        holds: tags that keep a state with the rows, e.g. of a model that was trained on it.
    """

    readers: Mapping[str, tuple[str, tuple[str, ...]]] = field(default_factory=dict)
    stale: tuple[Stale, ...] = ()
    follows: tuple[TableName, ...] = ()
    views: tuple[str, ...] = ()
    holds: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        readers = [{"run_id": run, "job": job, "wrote": list(wrote)} for run, (job, wrote) in self.readers.items()]
        return {
            "readers": readers,
            "stale": [each.to_json() for each in self.stale],
            "follows": [str(each) for each in self.follows],
            "views": list(self.views),
            "holds": list(self.holds),
        }


def effects_of(lake: Lakehouse, plan: RevertPlan) -> Effects:
    """What undoing a run means for others.

    Raises:
        ServiceError: metadata or records can't be read.
    """
    facts = facts_of(lake, lake.nessie.entries(str(plan.at)), str(plan.at))
    then = {**facts, **{each.undo.name: each.undo.facts(facts[each.undo.name]) for each in plan.tables}}
    stale = tuple(found for name in sorted(facts) if (found := _stale(name, facts, then, plan)) is not None)
    snapshots = {each.undo.name: _snapshots(each.facts, plan, each.undo.name, lake) for each in plan.tables}
    registered = Registrations(lake.storage).of_every_kind()
    return Effects(
        readers=dict(_readers(lake, plan, snapshots)),
        stale=stale,
        follows=_follows({each.table for each in stale}, then),
        views=tuple(
            f"{each.kind} {each.name} (snapshot {each.snapshot_id} of {each.table})"
            for each in registered
            if each.target == lake.target and each.snapshot_id in snapshots.get(each.table, ())
        ),
        holds=_holds(lake, plan),
    )


def _stale(
    name: TableName, now: Mapping[TableName, TableFacts], then: Mapping[TableName, TableFacts], plan: RevertPlan
) -> Stale | None:
    changing = {each.undo.name for each in plan.tables if each.undo.back or each.undo.out}
    state = then[name].state
    records = [each for each in (state.records.values() if state else ()) if _becomes_stale(each, changing, now, then)]
    if not records:
        return None
    intervals = RangeSet(each.interval for each in records if each.start < each.end)
    return Stale(name, intervals, tuple(sorted({each.run for each in records})))


def _becomes_stale(
    record: IntervalRecord,
    changing: set[TableName],
    now: Mapping[TableName, TableFacts],
    then: Mapping[TableName, TableFacts],
) -> bool:
    """Whether a record read of an input what is there now, and will not be there then."""
    for read in record.reads:
        if read.table not in changing:
            continue
        was, will = (facts[read.table].files for facts in (now, then))
        is_now = was is not None and was.fingerprint(read.stretch) == read.fingerprint
        if is_now and (will is None or will.fingerprint(read.stretch) != read.fingerprint):
            return True
    return False


def _follows(stale: set[TableName], facts: Mapping[TableName, TableFacts]) -> tuple[TableName, ...]:
    """The tables that read some tables, directly or not, without these themselves."""
    reads = {
        name: {read.table for record in (each.state.records.values() if each.state else ()) for read in record.reads}
        for name, each in facts.items()
    }
    found = set(stale)
    while more := {name for name, inputs in reads.items() if inputs & found} - found:
        found |= more
    return tuple(sorted(found - stale))


def _snapshots(facts: TableFacts, plan: RevertPlan, name: TableName, lake: Lakehouse) -> frozenset[int]:
    """The snapshots of a table from the run's publish on."""
    commits = {entry.hash for entry in (plan.published.entry, *plan.published.later)}
    found = {facts.snapshot}
    for entry, content in lake.nessie.history(str(plan.at), name):
        if entry.hash not in commits:
            break
        if content is not None and content.is_table:
            found.add(content.snapshot_id)
    return frozenset(found)


def _readers(
    lake: Lakehouse, plan: RevertPlan, snapshots: Mapping[TableName, frozenset[int]]
) -> Iterator[tuple[str, tuple[str, tuple[str, ...]]]]:
    """Later runs that stand and read one of the snapshots, newest first."""
    records = RunRecords(lake.storage)
    data = {name: found for name, found in snapshots.items() if name.layer != "ledger"}  # an ingest reads its own
    wanted = {(str(name), snapshot) for name, found in data.items() for snapshot in found}
    for entry in plan.published.later:
        run_id, attempt = entry.properties.get("asgard.run-id"), entry.properties.get("asgard.attempt")
        if not run_id or entry.hash in plan.published.undone or "asgard.reverts" in entry.properties:
            continue
        for each in records.attempts(RunId(run_id)):
            if str(each.attempt) == attempt and wanted & set(_read(each.record)):
                yield run_id, (entry.properties.get("asgard.job", ""), tuple(each.record.get("writes", {})))


def _read(record: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """The tables that a run read, with their snapshots: its inputs, and those of its views."""
    for name, read in record.get("reads", {}).items():
        yield name, int(read["snapshot_id"])
    for version in record.get("details", {}).get("prediction", {}).get("versions", ()):
        for view in version["views"]:
            yield str(view["table"]), int(view["snapshot_id"])


def _holds(lake: Lakehouse, plan: RevertPlan) -> tuple[str, ...]:
    commits = {entry.hash for entry in (plan.published.entry, *plan.published.later)}
    return tuple(sorted(each.name for each in lake.nessie.references(_HOLD) if each.hash in commits))
