"""What one publish of a source made stale downstream, and the command that computes it again. Metadata only."""

import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

from asgard.common.names import CommitHash, TableName
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.declaring.declaration import Restate, Table
from asgard.lakehouse.declaring.intervals import Cadence, Unit
from asgard.lakehouse.declaring.pipeline import Pipeline
from asgard.lakehouse.freshness.facts import facts_of
from asgard.lakehouse.freshness.planning import PlanRequest
from asgard.lakehouse.freshness.staleness import Condition, Finding
from asgard.lakehouse.freshness.words import merged_intervals, stretches
from asgard.lakehouse.runs.planned import findings_at

_STALE = frozenset({Condition.DATA, Condition.INPUT})


@dataclass(frozen=True)
class MadeStale:
    """What became stale downstream of one table, and what was missing there already.

    Attributes:
        findings: stale now and not before, each table after its inputs.
        missing: tables with intervals that were never computed.
        tables: downstream, by name.
    """

    findings: tuple[Finding, ...]
    missing: tuple[TableName, ...]
    tables: Mapping[TableName, Table]

    def command(self, pipeline: str) -> str:
        """The backfill that computes it; "" for nothing to compute.

        Args:
            pipeline: as a user names it on the command line.
        """
        moved = [each for each in self._computable() if each.condition is Condition.DATA]
        if not moved and not self.missing:
            return ""
        wanted = PlanRequest(datetime.max.replace(tzinfo=UTC))
        needs_option = any(not wanted.takes(self.tables[each.table], each.condition) for each in moved)
        return f"asgard backfill -p {shlex.quote(pipeline)}{' --stale' if needs_option else ''}"

    def lines(self, pipeline: str) -> Iterator[str]:
        """What became stale, a line for each table, and the command; nothing where there is nothing to compute."""
        for name, group in groupby(self.findings, key=lambda each: each.table):
            found = list(group)
            never = self.tables[name].restate is Restate.NEVER
            where = f" for {stretches(found)}" if found[0].interval else ""
            how = "; only --start and --end compute it again (restate='never')" if never else ""
            yield f"{name} becomes stale{where}{how}"
        command = self.command(pipeline)
        if command and self._computable():
            yield f"`{command}` computes it again"
        elif command:
            yield f"`{command}` computes what is missing of {', '.join(map(str, self.missing))}"

    def to_json(self, pipeline: str) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "stale": [
                {"table": str(name), "intervals": str(merged_intervals(group))}
                for name, group in groupby(self.findings, key=lambda each: each.table)
            ],
            "missing": list(map(str, self.missing)),
            "command": self.command(pipeline) or None,
        }

    def _computable(self) -> list[Finding]:
        return [each for each in self.findings if self.tables[each.table].restate is not Restate.NEVER]


def made_stale(lake: Lakehouse, pipeline: Pipeline, source: TableName, commit: CommitHash, now: datetime) -> MadeStale:
    """What a publish commit of a source made stale downstream of it.

    Args:
        lake: to read from.
        pipeline: that declares the source.
        source: the table that was published.
        commit: on the target ref; its parent is what was there before.
        now: no interval that ends later is expected.

    Raises:
        ServiceError: metadata can't be read.
    """
    downstream = pipeline.downstream(source)
    inputs = {name for each in downstream for name in pipeline.upstream(each)}
    tables = [table for table in pipeline.in_order() if table.name in downstream | inputs]

    def findings(ref: str) -> Sequence[Finding]:
        found = findings_at(lake, tables, ref, now)
        return [each for name, of_table in found.items() if name in downstream for each in of_table]

    at = f"{lake.target}@{commit}"
    after = findings(at)
    before = set()
    if any(each.condition in _STALE for each in after):
        before = {(each.table, each.interval) for each in findings(f"{at}~1") if each.condition in _STALE}
    stale = [each for each in after if each.condition in _STALE and (each.table, each.interval) not in before]
    missing = dict.fromkeys(each.table for each in after if each.condition is Condition.MISSING)
    return MadeStale(tuple(stale), tuple(missing), {table.name: table for table in tables})


def read_by(lake: Lakehouse, pipeline: Pipeline, source: TableName, ref: str) -> Cadence | None:
    """The column of time that tables of a pipeline read a source by, with the length of their shortest intervals.

    Returns:
        None where no table that reads it was computed, or none filters it by a column of time.

    Raises:
        ServiceError: metadata can't be read.
    """
    readers = [table for table in pipeline.tables.values() if source in table.inputs.values() and table.interval]
    facts = facts_of(lake, (table.name for table in readers), ref)
    columns: Counter[str] = Counter()
    units: dict[str, list[Unit]] = {}
    for table in readers:
        state = facts[table.name].state
        for record in state.records.values() if state else ():
            for read in record.reads:
                if read.table == source and read.stretch.is_bounded and table.interval:
                    columns[read.stretch.column] += 1
                    units.setdefault(read.stretch.column, []).append(table.interval.unit)
    if not columns:
        return None
    ((column, _),) = columns.most_common(1)
    return Cadence(column, min(units[column], key=list(Unit).index))
