"""The report's facts about a pipeline, as plain values: from its declaration, Nessie, Iceberg metadata, run records.

Nothing is computed: row counts come from Iceberg's metadata, check results from the audits. No Spark starts.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from asgard.common.errors import AsgardError
from asgard.common.names import TableName, audit_branch, ledger_name, parse_audit_branch
from asgard.features.views import Declared
from asgard.lakehouse.catalog.files import TableState
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.catalog.nessie import Content, LogEntry
from asgard.lakehouse.catalog.snapshots import At, resolve
from asgard.lakehouse.declaring.declaration import Table
from asgard.lakehouse.declaring.pipeline import Pipeline
from asgard.lakehouse.freshness.planning import PlanRequest
from asgard.lakehouse.runs.history import RunSummary, describe, list_runs
from asgard.lakehouse.runs.ledger_rows import standing_rows
from asgard.lakehouse.runs.planned import plan_backfill
from asgard.lakehouse.runs.run import Status
from asgard.model.batch.request import predictions_of
from asgard.model.declaration import Model

COMMITS_SHOWN = 30
ATTEMPTS_READ = 100
"""Number of the newest attempts of the warehouse's runs that are read; each is three small files."""
LAYERS = ("bronze", "silver", "gold")
"""Layers with their own colour."""


@dataclass(frozen=True)
class SourceFileFact:
    """A file, or a table of a database, that a table was ingested from, according to its ledger.

    Attributes:
        bytes: size of the file; None for a database.
        rows: number of rows ingested from it; for a database, in all ingests.
    """

    name: str
    bytes: int | None
    rows: int


@dataclass(frozen=True)
class TableFact:
    """A table of the pipeline: as declared, as published, and the run that wrote its current state.

    Attributes:
        declared: the declaration; None for a ledger, and for a model's predictions.
        described: the published state, see `describe`; empty if there is none.
        run: the run that made the current snapshot; None if no record names one.
        refused: a newer run whose audit of this table failed.
        inputs: tables that it is computed from.
        files: files that it was ingested from.
        model: the model whose predictions it contains; "" for any other table.
        waiting: what a backfill would compute in it, and why; "" for nothing.
        problem: why the published state can't be read; "" if it can.
    """

    name: str
    declared: Table | None = None
    described: Mapping[str, Any] = field(default_factory=dict, hash=False)
    run: RunSummary | None = None
    refused: RunSummary | None = None
    inputs: tuple[str, ...] = ()
    files: tuple[SourceFileFact, ...] = ()
    model: str = ""
    waiting: str = ""
    problem: str = ""

    @property
    def layer(self) -> str:
        """The part of the name before the dot."""
        return self.name.partition(".")[0]

    @property
    def is_published(self) -> bool:
        """Whether the table is on the target ref and can be read."""
        return bool(self.described)

    @property
    def is_ledger(self) -> bool:
        """Whether it is Asgard's own record of what was ingested into another table."""
        return self.layer == "ledger" and self.declared is None

    @property
    def rows(self) -> int | None:
        """Current number of rows; None if only a scan could count them."""
        rows: int | None = self.described.get("rows")
        return rows

    @property
    def checks(self) -> Sequence[Mapping[str, Any]]:
        """The results of the audit of the run that wrote it."""
        return checks_of(self.run, self.name) if self.run else ()


@dataclass(frozen=True)
class GraphLine:
    """One line of the branch graph.

    Attributes:
        commit: commit of the target ref; None for a branch that was never published.
        run: the run that made it; None if no record names one.
        base: number of the line where its branch began; one more than the last: before the beginning of the
            graph; its own number: it had no branch.
    """

    commit: LogEntry | None
    run: RunSummary | None
    branch: str | None
    base: int


@dataclass(frozen=True)
class ReportFacts:
    """Everything that the report shows of a pipeline's tables and runs at one commit.

    Attributes:
        tables: each after its inputs, then ledgers.
        runs: runs of this pipeline among the attempts that were read, newest first.
        is_whole_log: whether the graph goes back to the beginning of the target ref.
        are_all_runs: whether all attempts of the warehouse were read, or only the newest ones.
        engine: versions of Spark and Iceberg recorded in the snapshots.
    """

    pipeline: str
    at: At
    tables: tuple[TableFact, ...]
    runs: tuple[RunSummary, ...]
    graph: tuple[GraphLine, ...]
    is_whole_log: bool
    engine: Mapping[str, str] = field(default_factory=dict, hash=False)
    are_all_runs: bool = True

    @property
    def catalog(self) -> tuple[TableFact, ...]:
        """The tables without the ledgers."""
        return tuple(table for table in self.tables if not table.is_ledger)

    def rows_in(self, table: TableFact) -> int:
        """Total rows of all inputs of a table."""
        rows = {each.name: each.rows or 0 for each in self.tables}
        return sum(rows.get(name, 0) for name in table.inputs) + sum(file.rows for file in table.files)

    @property
    def failed_audits(self) -> tuple[RunSummary, ...]:
        """Runs whose audit failed, newest first."""
        return tuple(run for run in self.runs if is_failed_audit(run))


def gather(lake: Lakehouse, pipeline: Pipeline, now: datetime) -> ReportFacts:
    """Read the facts about a pipeline, all as of one commit of the target ref.

    Args:
        lake: the lakehouse that it is published to.
        pipeline: the declared pipeline.
        now: the current time; intervals that end later do not count as missing.
    """
    at = resolve(lake, None)
    inputs, models = _graph_of(pipeline)
    names = [TableName.parse(name) for name in inputs]
    ledgers = [ledger_name(table.name) for table in pipeline.in_order() if table.function is None]
    contents = lake.nessie.contents(str(at), (*names, *ledgers))
    states, problems = _states(lake, contents)
    every = list_runs(lake, limit=ATTEMPTS_READ)
    runs = tuple(run for run in every if tables_of(run) & inputs.keys())
    tables = []
    for name in (*names, *(each for each in ledgers if each in contents)):
        described = _described(states.get(name), contents.get(name))
        declared = pipeline.tables.get(name)
        tables.append(
            TableFact(
                str(name),
                declared,
                described,
                _maker(lake, runs, str(name), described),
                refused_since(runs, str(name)),
                inputs.get(str(name), ()),
                tuple(_files(states.get(ledger_name(name)))),
                models.get(str(name), ""),
                _waiting(lake, pipeline, declared, at, now) if declared else "",
                problems.get(name, ""),
            )
        )
    log, is_whole = _log(lake, at)
    engine = {
        key: value
        for state in states.values()
        for key in ("engine-version", "iceberg-version")
        if (value := state.summary(key))
    }
    graph = tuple(_branches(lake, log, every, runs, is_whole=is_whole))
    return ReportFacts(
        pipeline.name, at, tuple(tables), runs, graph, is_whole, engine, are_all_runs=len(every) < ATTEMPTS_READ
    )


def checks_of(run: RunSummary, table: str) -> Sequence[Mapping[str, Any]]:
    """The results of a run's audit for a table."""
    audits = run.attempt.record.get("verdict", {}).get("tables", ())
    return next((audit["results"] for audit in audits if audit["table"] == table), ())


def tables_of(run: RunSummary) -> set[str]:
    """Tables that a run wrote, or was to write."""
    params = run.attempt.start.get("params", {})
    asked = {str(step["table"]) for step in params.get("steps", ())}
    if "table" in params:
        asked.add(str(params["table"]))
    if "model" in params:
        asked.add(str(predictions_of(str(params["model"]).partition("@")[0])))
    return asked | set(run.attempt.record.get("writes", {}))


def is_failed_audit(run: RunSummary) -> bool:
    """Whether the run was not published because its audit failed."""
    return run.status == Status.AUDIT_FAILED and bool(run.attempt.record)


def refused_since(runs: Sequence[RunSummary], table: str) -> RunSummary | None:
    """The newest run whose audit of a table failed, unless a newer one was published; `runs` are newest first."""
    for run in runs:
        if run.is_published and table in run.attempt.record.get("writes", {}):
            return None
        if is_failed_audit(run) and any(check["blocks"] for check in checks_of(run, table)):
            return run
    return None


def rows_of_batch(run: RunSummary, table: str) -> int:
    """Rows that a run added to a table on its branch."""
    return int(run.attempt.record.get("writes", {}).get(table, {}).get("rows_added", 0))


def layer_of(name: str) -> str:
    """The layer of a table, or `other`."""
    layer = TableName.parse(name).layer
    return layer if layer in LAYERS else "other"


def _graph_of(pipeline: Pipeline) -> tuple[dict[str, tuple[str, ...]], dict[str, str]]:
    """The pipeline's tables after their inputs, predictions last, with their inputs; and the models of predictions."""
    inputs = {str(table.name): tuple(dict.fromkeys(map(str, table.inputs.values()))) for table in pipeline.in_order()}
    views, models = Declared.of(pipeline).views, {}
    for model in pipeline.extras:
        if isinstance(model, Model):
            table = str(predictions_of(model.name))
            read = [str(views[name].table) for name in model.views if name in views]
            inputs[table], models[table] = tuple(dict.fromkeys(read)), model.name
    return inputs, models


def _states(
    lake: Lakehouse, contents: Mapping[TableName, Content]
) -> tuple[dict[TableName, TableState], dict[TableName, str]]:
    """The tables that can be read, and the reasons why others can't."""
    states, problems = {}, {}
    for name, content in contents.items():
        if not content.is_table:
            problems[name] = f"The object with this name is not a table: {content.kind_in_words}."
            continue
        try:
            states[name] = TableState.load(content.metadata_location, lake.settings)
        except AsgardError as error:
            problems[name] = error.message
    return states, problems


def _described(state: TableState | None, content: Content | None) -> dict[str, Any]:
    if state is None or content is None:
        return {}
    try:
        rows = None if state.has_delete_files() else state.row_count()  # only a scan can count deleted rows
    except AsgardError:
        rows = None
    return {**describe(state, content), "rows": rows, "columns": dict(state.columns)}  # Spark's names of the types


def _maker(lake: Lakehouse, runs: Sequence[RunSummary], table: str, described: Mapping[str, Any]) -> RunSummary | None:
    """The run that made a table's current snapshot: among the runs already read, or else read by its id."""
    if not described:
        return None

    def made(run: RunSummary) -> bool:
        write = run.attempt.record.get("writes", {}).get(table, {})
        return run.is_published and write.get("snapshot_id") == described["snapshot_id"]

    found = next(filter(made, runs), None)
    if found is None and described["run_id"]:
        return next(filter(made, list_runs(lake, run_id=described["run_id"])), None)
    return found


def _waiting(lake: Lakehouse, pipeline: Pipeline, table: Table, at: At, now: datetime) -> str:
    """What a backfill would compute in a table now, and why; "" for nothing."""
    try:
        plan = plan_backfill(lake, pipeline, [table], str(at), PlanRequest(now, stale=True, changed=True))
    except AsgardError as error:
        return error.message
    steps = [step for run in plan.runs for step in run]
    stretches = [str(window).replace("/", " to ") for step in steps for window in step.ranges]
    return ", ".join([*dict.fromkeys(step.reason for step in steps), *stretches])


def _files(ledger: TableState | None) -> Iterator[SourceFileFact]:
    if ledger is None:
        return
    databases: dict[str, int] = {}
    for row in standing_rows(ledger.rows(("kind", "source", "digest", "bytes", "rows", "ingested_at"))):
        source = str(row["source"])
        if row["kind"] == "jdbc":
            databases[source] = databases.get(source, 0) + int(row["rows"])
        else:
            yield SourceFileFact(source.rstrip("/").rpartition("/")[2], int(row["bytes"] or 0), int(row["rows"]))
    for source, rows in databases.items():  # `postgresql://host/shop public.orders`
        yield SourceFileFact(source.rpartition("://")[2].rpartition("/")[2], None, rows)


def _log(lake: Lakehouse, at: At) -> tuple[list[LogEntry], bool]:
    entries: list[LogEntry] = []
    for entry in lake.nessie.log(at.reference, at=at.commit):
        if len(entries) == COMMITS_SHOWN:
            return entries, False
        entries.append(entry)
    return entries, True


def _branches(
    lake: Lakehouse,
    log: Sequence[LogEntry],
    every: Collection[RunSummary],
    own: Collection[RunSummary],
    *,
    is_whole: bool,
) -> Iterator[GraphLine]:
    """The target ref's commits and the pipeline's existing audit branches, newest first."""
    by_branch, kept = (
        {str(audit_branch(run.attempt.run_id, run.attempt.attempt)): run for run in runs} for runs in (every, own)
    )
    lines: list[tuple[datetime, LogEntry | None, RunSummary | None, str | None]] = []
    for entry in log:
        run_id, attempt = (entry.properties.get(f"asgard.{name}", "") for name in ("run-id", "attempt"))
        branch = f"audit_{run_id}_{attempt}"
        lines.append((entry.committed, entry, by_branch.get(branch), branch if branch in by_branch else None))
    published = {branch for _, _, _, branch in lines}
    oldest = datetime.min.replace(tzinfo=UTC) if is_whole else log[-1].committed
    for reference in lake.nessie.references("audit_"):
        run = kept.get(reference.name)
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
