"""Plan a backfill from what is published: read what is known of the tables, and decide what to compute."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from asgard.common.names import TableName
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.declaring.declaration import Table
from asgard.lakehouse.declaring.intervals import RangeSet
from asgard.lakehouse.declaring.pipeline import Pipeline
from asgard.lakehouse.freshness.code_digest import CodeDigests, code_digests
from asgard.lakehouse.freshness.facts import read_facts
from asgard.lakehouse.freshness.planning import Plan, PlannedRun, PlanRequest, Step, plan_runs
from asgard.lakehouse.freshness.staleness import Finding, TableFacts, examine
from asgard.lakehouse.runs.takeover import foreign_owner


def plan_backfill(
    lake: Lakehouse, pipeline: Pipeline, selected: Sequence[Table], ref: str, wanted: PlanRequest
) -> Plan:
    """What a backfill of some tables would do from a ref (`name` or `name@hash`).

    Args:
        lake: to read from.
        pipeline: that declares the tables.
        selected: its tables to compute, each after its inputs.
        ref: to start from.
        wanted: what is asked for.

    Raises:
        UsageError: the range touches no complete interval, or a table with intervals has no start.
        ServiceError: metadata can't be read.
    """
    known = Known.of(lake, pipeline, selected, ref, wanted.now)
    found = plan_runs(selected, known.facts, known.findings, wanted, known.owners)
    lost = tuple(each.problem for each in known.facts.values() if each.problem)
    names = {table.name for table in selected}
    return replace(found, notes=(*lost, *found.notes, *_not_selected(pipeline, names, found)))


@dataclass(frozen=True)
class Known:
    """What is known at a ref of some tables and of all tables upstream: facts, findings, and other owners."""

    facts: Mapping[TableName, TableFacts]
    findings: Mapping[TableName, Sequence[Finding]]
    owners: Mapping[TableName, str]

    @classmethod
    def of(cls, lake: Lakehouse, pipeline: Pipeline, selected: Sequence[Table], ref: str, now: datetime) -> "Known":
        """Read it.

        Raises:
            ServiceError: metadata can't be read.
        """
        names = {table.name for table in selected}
        upstream = {name for table in selected for name in pipeline.upstream(table.name)}
        examined = [table for table in pipeline.in_order() if table.name in names | upstream]
        facts = read_facts(lake, examined, ref)
        findings = examine(examined, facts, digests_of(examined), now)
        owners = {table.name: foreign_owner(table, facts[table.name].properties) for table in selected}
        return cls(facts, findings, owners)


def findings_at(lake: Lakehouse, tables: Sequence[Table], ref: str, now: datetime) -> dict[TableName, list[Finding]]:
    """What is wrong with some tables at a ref (`name` or `name@hash`).

    Args:
        lake: to read from.
        tables: each after its inputs, and with all tables upstream.
        ref: to look at.
        now: no interval that ends later is expected.

    Raises:
        ServiceError: metadata can't be read.
    """
    return examine(tables, read_facts(lake, tables, ref), digests_of(tables), now)


def digests_of(tables: Iterable[Table]) -> dict[TableName, CodeDigests]:
    """The digests of the code of tables as it is declared now; sources have none."""
    return {table.name: code_digests(table) for table in tables if table.function is not None}


def _not_selected(pipeline: Pipeline, selected: Collection[TableName], plan: Plan) -> Iterator[str]:
    """A note of the tables that read what is planned, and that are not selected."""
    written = {step.table.name for run in plan.runs for step in run}
    readers = {reader for name in written for reader in pipeline.downstream(name)} - set(selected)
    if readers:
        names = ", ".join(map(str, sorted(readers)))
        yield f"not selected, and stale afterwards where what they read changes: {names}"


def still_wanted(steps: PlannedRun, plan: Plan) -> PlannedRun:
    """What is left of a planned run, after others have published.

    Args:
        steps: as planned.
        plan: of the same tables, now.
    """
    now = {step.table.name: step for run in plan.runs for step in run}
    left = (_still(step, now.get(step.table.name)) for step in steps)
    return tuple(step for step in left if step is not None)


def _still(step: Step, now: Step | None) -> Step | None:
    """What is left of one step. Intervals that follow stay: they are computed only if what they read has changed."""
    if step.table.interval is None:
        if now is None:
            return step if step.only_if_moved else None
        return replace(step, reason=now.reason, only_if_moved=now.only_if_moved)
    ranges = RangeSet(step.ranges) & RangeSet(now.ranges if now else ())
    follows = RangeSet((*step.ranges, *step.follows)) & RangeSet((*step.follows, *(now.follows if now else ())))
    follows -= ranges
    return replace(step, ranges=ranges.ranges, follows=follows.ranges) if ranges or follows else None
