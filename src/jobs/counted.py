"""Count a job's executions: write one event for each, and export the totals as the settings say.

with counted(lake, "backfill", say) as note:
    note(execute(lake, request, work, say))

A command opens the block as soon as the warehouse is known, so that a failure before the job's own work (a pipeline
that does not import, an invalid version) counts as a failed execution, too. The job's `run` joins the command's block.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime

from asgard.common.aliases import Say
from asgard.common.errors import AsgardError, UnknownReferenceError
from asgard.common.names import TableName, check_run_id
from asgard.lakehouse.catalog.files import TableState
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.catalog.nessie import Nessie
from asgard.lakehouse.catalog.publications import Publications
from asgard.lakehouse.runs.run import RunAuditFailedError, RunResult, Status
from asgard.monitoring.events import EventLog, OnlineFacts, OpenEvent, Outcome, PredictionFacts, TableFacts
from asgard.monitoring.exporters import export
from asgard.monitoring.stale_intervals import LeftFacts

FEATURE_LAYER = "gold"
"""The layer whose columns have a null rate metric, because features are read from it."""


@dataclass(frozen=True)
class Note:
    """Receives what a job reports about itself while it is counted."""

    lake: Lakehouse
    job: str
    event: OpenEvent
    say: Say

    def __call__(self, result: RunResult) -> RunResult:
        """Record how a run of the job ended; returns the result unchanged."""
        try:
            self.event.note_run(result.run_id, result.seconds, _facts(self.lake, result))
        except (AsgardError, OSError, ValueError) as error:
            self.say(f"run {result.run_id} could not be counted: {error}")
        return result

    def predictions(self, model: str, facts: PredictionFacts) -> None:
        """Record what a model predicted."""
        self.event.note_predictions(model, facts)

    def left(self, pipeline: str, facts: LeftFacts) -> None:
        """Record what is missing, stale or in doubt of a pipeline's tables."""
        self.event.note_left(pipeline, facts)

    def online(self, view: str, facts: OnlineFacts) -> None:
        """Record what the online store contains of a view."""
        self.event.note_online(view, facts)


_open: ContextVar[Note | None] = ContextVar("open", default=None)


@contextmanager
def counted(lake: Lakehouse, job: str, say: Say) -> Iterator[Note]:
    """Count the block as one execution of a job; any exception makes it a failed execution.

    Errors in counting are reported and do not fail the job. A block inside another one of the same job is part of it.

    Args:
        lake: the lakehouse whose events are written.
        job: the job's name.
        say: receives a line if something could not be counted.

    Yields:
        The note that records the job's runs; a run whose audit fails is recorded automatically.
    """
    around = _open.get()
    if around is not None and around.lake is lake and around.job == job:
        yield around
        return
    with EventLog(lake.storage).job(job, lake.settings.environment, lake.target) as event:
        note = Note(lake, job, event, say)
        token = _open.set(note)
        try:
            yield note
        except BaseException as error:
            if isinstance(error, RunAuditFailedError):
                note(error.result)
            _end(lake, event, Outcome.FAILED, say)
            raise
        finally:
            _open.reset(token)
        _end(lake, event, Outcome.SUCCEEDED, say)


class PublishedRuns:
    """Whether a reference contains a run now, read from its log; if Nessie fails, the job's own report is trusted.

    Args:
        connect: returns the Nessie to ask; called on first use.
        say: receives one line if Nessie fails.
    """

    def __init__(self, connect: Callable[[], Nessie], say: Say) -> None:
        self._connect, self._say = connect, say
        self._logs: dict[str, Publications] = {}
        self._is_silent = False

    def __call__(self, target: str, run_id: str) -> bool:
        """Whether `target` contains the run."""
        if self._is_silent:
            return True
        try:
            if target not in self._logs:
                self._logs[target] = Publications(self._connect(), target)
            log = self._logs[target]
            entry = log.of(check_run_id(run_id))
        except UnknownReferenceError:
            return False  # a dropped branch contains nothing
        except AsgardError as error:
            self._is_silent = True
            self._say(f"metrics count rolled-back runs as published: {error.message}")
            return True
        return entry is not None and log.revert_of(entry) is None


def _end(lake: Lakehouse, event: OpenEvent, outcome: Outcome, say: Say) -> None:
    try:
        event.end(outcome)
    except AsgardError as error:
        say(f"this job could not be counted: {error.message}")
    export(lake.settings, lake.storage, lambda: PublishedRuns(lambda: lake.nessie, say), say)


def _facts(lake: Lakehouse, result: RunResult) -> dict[str, TableFacts]:
    published = datetime.now(UTC) if result.status is Status.PUBLISHED else None
    audits = {audit.table: audit.results for audit in result.verdict.outcome.tables} if result.verdict else {}
    tables = {}
    for name, write in result.tables.items():
        failed: dict[str, int] = {}
        for check in audits.get(name, ()):
            if not check.passed:
                failed[check.severity] = failed.get(check.severity, 0) + 1
        tables[name] = TableFacts(
            rows_written=int(write["rows_added"]) if published else 0,
            checks=len(audits.get(name, ())),
            checks_failed=failed,
            publishes={result.run_id: published} if published and write["snapshot_id"] is not None else {},
            null_rate=_null_rates(lake, result, TableName.parse(name)) if published and write["snapshot_id"] else {},
        )
    return tables


def _null_rates(lake: Lakehouse, result: RunResult, table: TableName) -> dict[str, float]:
    """The share of nulls in each column of the files that the run added, from Iceberg's own statistics."""
    if table.layer != FEATURE_LAYER:
        return {}
    state = TableState.load(lake.content(table, f"{lake.target}@{result.commit}").metadata_location, lake.settings)
    own = frozenset(
        snapshot.snapshot_id
        for snapshot in state.table.metadata.snapshots
        if snapshot.summary and snapshot.summary.additional_properties.get("asgard.run-id") == result.run_id
    )
    files = state.live_files(added_by=own)
    rows = sum(file.record_count for file in files)
    nulls: dict[str, int] = {}
    for file in files:
        for column, known in file.columns.items():
            nulls[column] = nulls.get(column, 0) + (known.null_count or 0)
    return {column: round(count / rows, 6) for column, count in sorted(nulls.items())} if rows else {}
