"""What the report says, as plain values: read from run records, Nessie and the published tables."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from asgard.common.errors import AsgardError
from asgard.common.names import TableName, audit_branch, parse_audit_branch
from asgard.lakehouse.catalog.files import TableState
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.catalog.nessie import LogEntry
from asgard.lakehouse.catalog.snapshots import At, resolve
from asgard.lakehouse.runs.history import RunSummary, describe_tables, list_runs

COMMITS_SHOWN = 30
LAYERS = ("bronze", "silver", "gold")


@dataclass(frozen=True)
class SourceFileFact:
    """A file that a bronze table was ingested from, as its ledger says."""

    name: str
    bytes: int
    rows: int


@dataclass(frozen=True)
class TableFact:
    """A published table and the run that wrote what is there now.

    Attributes:
        run: None if no record names it.
        inputs: tables that it was computed from.
        files: that it was ingested from.
    """

    name: str
    described: Mapping[str, Any]
    run: RunSummary | None
    inputs: tuple[str, ...]
    files: tuple[SourceFileFact, ...]

    @property
    def layer(self) -> str:
        """Before the dot."""
        return self.name.partition(".")[0]

    @property
    def rows(self) -> int:
        """Rows that are there now."""
        return int(self.described["rows"])

    @property
    def checks(self) -> Sequence[Mapping[str, Any]]:
        """What the audit of that run said of this table."""
        return checks_of(self.run, self.name) if self.run else ()


@dataclass(frozen=True)
class GraphLine:
    """One line of the branch graph.

    Attributes:
        commit: of main; None for a branch that main never got.
        run: that made it; None if no record names one.
        base: number of the line where its branch began; one more than the last: further back than the graph
            goes; its own number: it had no branch.
    """

    commit: LogEntry | None
    run: RunSummary | None
    branch: str | None
    base: int


@dataclass(frozen=True)
class Facts:
    """Everything that the report shows of a lakehouse at one commit."""

    at: At
    tables: tuple[TableFact, ...]
    runs: tuple[RunSummary, ...]
    graph: tuple[GraphLine, ...]
    is_whole_log: bool
    engine: Mapping[str, str]
    """Versions that the snapshots name: Spark's and Iceberg's."""

    def rows_in(self, table: TableFact) -> int:
        """Rows of everything that a table was made from."""
        rows = {each.name: each.rows for each in self.tables}
        return sum(rows.get(name, 0) for name in table.inputs) + sum(file.rows for file in table.files)

    @property
    def failed_audits(self) -> tuple[RunSummary, ...]:
        """Runs whose audit failed, newest first."""
        return tuple(run for run in self.runs if run.status == "audit failed" and run.attempt.record)


def gather(lake: Lakehouse) -> Facts:
    """Read what there is to say, all as of one commit of the target ref."""
    at = resolve(lake, None)
    runs = tuple(list_runs(lake))
    states = dict(_states(lake, at))
    makers = {
        (name, write["snapshot_id"]): run
        for run in reversed(runs)
        if run.is_published
        for name, write in run.attempt.record.get("writes", {}).items()
    }
    tables = []
    for described in sorted(describe_tables(lake, at), key=lambda row: (_place(row["table"]), row["table"])):
        name = str(described["table"])
        run = makers.get((name, described["snapshot_id"]))
        tables.append(TableFact(name, described, run, inputs_of(run, name), tuple(_files(states, name))))
    log, is_whole = _log(lake, at)
    engine = {
        key: value
        for state in states.values()
        for key in ("engine-version", "iceberg-version")
        if (value := state.summary(key))
    }
    return Facts(at, tuple(tables), runs, tuple(_graph(lake, log, runs, is_whole=is_whole)), is_whole, engine)


def checks_of(run: RunSummary, table: str) -> Sequence[Mapping[str, Any]]:
    """What the audit of a run said of a table."""
    audits = run.attempt.record.get("verdict", {}).get("tables", ())
    return next((audit["results"] for audit in audits if audit["table"] == table), ())


def inputs_of(run: RunSummary | None, table: str) -> tuple[str, ...]:
    """The tables that a run computed a table from."""
    steps = run.attempt.record.get("params", {}).get("steps", ()) if run else ()
    return next((tuple(step["reads"]) for step in steps if step["table"] == table), ())


def _states(lake: Lakehouse, at: At) -> Iterator[tuple[str, TableState]]:
    for name, content in lake.nessie.entries(str(at)).items():
        with suppress(AsgardError):  # a table that can't be read is in no part of the report
            yield str(name), TableState.load(content.metadata_location, lake.settings)


def _files(states: Mapping[str, TableState], table: str) -> Iterator[SourceFileFact]:
    layer, _, name = table.partition(".")
    ledger = states.get(f"ledger.{layer}_{name}")
    if ledger is None:
        return
    for row in ledger.table.scan(selected_fields=("source", "bytes", "rows")).to_arrow().to_pylist():
        source = str(row["source"]).rstrip("/").rpartition("/")[2]
        yield SourceFileFact(source, int(row["bytes"] or 0), int(row["rows"]))


def _log(lake: Lakehouse, at: At) -> tuple[list[LogEntry], bool]:
    found: list[LogEntry] = []
    for entry in lake.nessie.log(at.reference, at=at.commit):
        if len(found) == COMMITS_SHOWN:
            return found, False
        found.append(entry)
    return found, True


def _graph(
    lake: Lakehouse, log: Sequence[LogEntry], runs: Sequence[RunSummary], *, is_whole: bool
) -> Iterator[GraphLine]:
    """Main's commits and the audit branches that are still there, newest first."""
    by_branch = {str(audit_branch(run.attempt.run_id, run.attempt.attempt)): run for run in runs}
    lines: list[tuple[datetime, LogEntry | None, RunSummary | None, str | None]] = []
    for entry in log:
        run_id, attempt = (entry.properties.get(f"asgard.{name}", "") for name in ("run-id", "attempt"))
        branch = f"audit_{run_id}_{attempt}"
        lines.append((entry.committed, entry, by_branch.get(branch), branch if branch in by_branch else None))
    published = {branch for _, _, _, branch in lines}
    oldest = datetime.min.replace(tzinfo=UTC) if is_whole else log[-1].committed
    for reference in lake.nessie.references("audit_"):
        run = by_branch.get(reference.name)
        if run is None or reference.name in published or not parse_audit_branch(reference.name):
            continue
        when = datetime.fromisoformat(run.attempt.outcome.get("ended") or run.attempt.start["started"])
        if when >= oldest:
            lines.append((when, None, run, reference.name))
    lines.sort(key=lambda line: line[0], reverse=True)
    places = {entry.hash: place for place, (_, entry, _, _) in enumerate(lines) if entry is not None}
    end = len(lines)
    for place, (_, commit, maker, name) in enumerate(lines):
        base = place if maker is None else places.get(maker.attempt.record.get("base", ""), end)
        yield GraphLine(commit, maker, name, base)


def rows_of_batch(run: RunSummary, table: str) -> int:
    """Rows that a run added to a table on its branch."""
    return int(run.attempt.record.get("writes", {}).get(table, {}).get("rows_added", 0))


def _place(table: str) -> int:
    layer = layer_of(table)
    return LAYERS.index(layer) if layer in LAYERS else len(LAYERS)


def layer_of(name: str) -> str:
    """The layer of a table, or `other`."""
    layer = TableName.parse(name).layer
    return layer if layer in LAYERS else "other"
