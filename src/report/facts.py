"""What the report says of a pipeline, as plain values: from its declaration, Nessie, Iceberg's metadata, run records.

Nothing is computed: rows are counted by Iceberg's metadata, checks are what the audits measured. No Spark starts.
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
from asgard.lakehouse.declaring.planning import plan_runs
from asgard.lakehouse.runs.history import RunSummary, describe, list_runs
from asgard.lakehouse.runs.run import Status
from asgard.lakehouse.runs.steps import read_progress
from asgard.model.batch.request import predictions_of
from asgard.model.declaration import Model

COMMITS_SHOWN = 30
ATTEMPTS_READ = 100
"""So many of the newest attempts of the warehouse's runs are read; each is three small files."""
LAYERS = ("bronze", "silver", "gold")
"""Layers that have a colour of their own."""


@dataclass(frozen=True)
class SourceFileFact:
    """A file, or a table of a database, that a table was ingested from, as its ledger says.

    Attributes:
        bytes: size of the file; None for a database.
        rows: that came from it; of a database, in all of its ingests.
    """

    name: str
    bytes: int | None
    rows: int


@dataclass(frozen=True)
class TableFact:
    """A table of the pipeline: as declared, as published, and the run that wrote what is there now.

    Attributes:
        declared: None for a ledger, and for a model's predictions.
        described: as published, see `describe`; empty if it is not.
        run: that made the current snapshot; None if no record names one.
        refused: a newer run, whose audit of this table failed.
        inputs: tables that it is computed from.
        files: that it was ingested from.
        model: whose predictions it holds; "" for any other table.
        waiting: what a backfill would compute of it, and why; "" for nothing.
        problem: why what is published can't be read; "" if it can.
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
        """Before the dot."""
        return self.name.partition(".")[0]

    @property
    def is_published(self) -> bool:
        """Whether the target ref has it, and it can be read."""
        return bool(self.described)

    @property
    def is_ledger(self) -> bool:
        """Whether it is Asgard's own list of what was ingested into another table."""
        return self.layer == "ledger" and self.declared is None

    @property
    def rows(self) -> int | None:
        """Rows that are there now; None where only a scan could tell."""
        rows: int | None = self.described.get("rows")
        return rows

    @property
    def checks(self) -> Sequence[Mapping[str, Any]]:
        """What the audit of the run that wrote it measured."""
        return checks_of(self.run, self.name) if self.run else ()


@dataclass(frozen=True)
class GraphLine:
    """One line of the branch graph.

    Attributes:
        commit: of the target ref; None for a branch that it never got.
        run: that made it; None if no record names one.
        base: number of the line where its branch began; one more than the last: further back than the graph
            goes; its own number: it had no branch.
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
        runs: of this pipeline, newest first, of the attempts that were read.
        is_whole_log: the graph goes back to the beginning of the target ref.
        are_all_runs: whether all attempts of the warehouse were read, or only the newest ones.
        engine: versions that the snapshots name: Spark's and Iceberg's.
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
        """Rows of everything that a table was made from."""
        rows = {each.name: each.rows or 0 for each in self.tables}
        return sum(rows.get(name, 0) for name in table.inputs) + sum(file.rows for file in table.files)

    @property
    def failed_audits(self) -> tuple[RunSummary, ...]:
        """Runs whose audit failed, newest first."""
        return tuple(run for run in self.runs if is_failed_audit(run))


def gather(lake: Lakehouse, pipeline: Pipeline, now: datetime) -> ReportFacts:
    """Read what there is to say of a pipeline, all as of one commit of the target ref.

    Args:
        lake: where it is published.
        pipeline: as declared.
        now: no interval that ends later is missing.
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
                _waiting(lake, declared, at, now) if declared else "",
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
    """What the audit of a run measured of a table."""
    audits = run.attempt.record.get("verdict", {}).get("tables", ())
    return next((audit["results"] for audit in audits if audit["table"] == table), ())


def tables_of(run: RunSummary) -> set[str]:
    """Tables that a run wrote, or was asked to write."""
    params = run.attempt.start.get("params", {})
    asked = {str(step["table"]) for step in params.get("steps", ())}
    if "table" in params:
        asked.add(str(params["table"]))
    if "model" in params:
        asked.add(str(predictions_of(str(params["model"]).partition("@")[0])))
    return asked | set(run.attempt.record.get("writes", {}))


def is_failed_audit(run: RunSummary) -> bool:
    """Whether its audit kept it from publishing."""
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
    """The pipeline's tables with their inputs, each after them, models' predictions last; and whose predictions."""
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
    """The tables that can be read, and why others can't."""
    states, problems = {}, {}
    for name, content in contents.items():
        if not content.is_table:
            problems[name] = f"What has its name is of another kind: {content.kind_in_words}."
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
        rows = None if state.has_delete_files() else state.row_count()  # deletes could be counted only by reading files
    except AsgardError:
        rows = None
    return {**describe(state, content), "rows": rows, "columns": dict(state.columns)}  # types as Spark names them


def _maker(lake: Lakehouse, runs: Sequence[RunSummary], table: str, described: Mapping[str, Any]) -> RunSummary | None:
    """The run that made a table's current snapshot: one of those that were read, or an older one, by its id."""
    if not described:
        return None

    def made(run: RunSummary) -> bool:
        write = run.attempt.record.get("writes", {}).get(table, {})
        return run.is_published and write.get("snapshot_id") == described["snapshot_id"]

    found = next(filter(made, runs), None)
    if found is None and described["run_id"]:
        return next(filter(made, list_runs(lake, run_id=described["run_id"])), None)
    return found


def _waiting(lake: Lakehouse, table: Table, at: At, now: datetime) -> str:
    """What a backfill would compute of a table now, and why; "" for nothing."""
    try:
        planned = plan_runs([table], read_progress(lake, [table], str(at)), window=None, now=now)
    except AsgardError as error:
        return error.message
    steps = [step for run in planned for step in run]
    stretches = [str(window).replace("/", " to ") for step in steps for window in step.ranges]
    return ", ".join([*dict.fromkeys(step.reason for step in steps), *stretches])


def _files(ledger: TableState | None) -> Iterator[SourceFileFact]:
    if ledger is None:
        return
    databases: dict[str, int] = {}
    for row in ledger.rows(("kind", "source", "bytes", "rows")):
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
    """The target ref's commits and the pipeline's audit branches that are still there, newest first."""
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
