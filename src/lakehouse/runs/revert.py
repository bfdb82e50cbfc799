"""Undo what one published run wrote, by a new recorded run: files leave and come back, and so does what is known."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from asgard.common.aliases import Say
from asgard.common.errors import UsageError
from asgard.common.names import RunId
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.catalog.publications import REVERTED_COMMIT, REVERTS
from asgard.lakehouse.catalog.snapshots import At
from asgard.lakehouse.declaring.declaration import EmptyInput, Table, WriteMode
from asgard.lakehouse.declaring.periods import published_cadence
from asgard.lakehouse.declaring.pipeline import Pipeline
from asgard.lakehouse.runs.attempt import Attempt
from asgard.lakehouse.runs.file_swap import Files
from asgard.lakehouse.runs.identity import settled
from asgard.lakehouse.runs.revert_plan import RevertPlan, TablePlan, plan_revert, published
from asgard.lakehouse.runs.run import RunRequest, RunResult, execute
from asgard.lakehouse.runs.undoing import stretch_of
from asgard.validation.checks import Scope


def plan_at_head(lake: Lakehouse, run_id: RunId, own_id: RunId | None = None) -> RevertPlan | None:
    """How to undo a run now; None if the revert with this id has undone it already.

    Raises:
        UsageError: the run was not published, was reverted already, or later changes build on it.
        ServiceError: metadata can't be read, or a file that must come back is gone.
    """
    at = At(lake.target, lake.nessie.head(lake.target))
    undone_by = published(lake, run_id, at).revert if own_id is not None else None
    if undone_by is not None and undone_by.properties.get("asgard.run-id") == own_id:
        return None
    return plan_revert(lake, run_id, at)


def revert(
    lake: Lakehouse,
    run_id: RunId,
    say: Say,
    *,
    pipeline: Pipeline | None = None,
    why: str = "",
    own_id: RunId | None = None,
) -> RunResult:
    """Undo what a run wrote, in all of its tables by one commit.

    Args:
        lake: whose run.
        run_id: to undo.
        say: called with one line about each step.
        pipeline: whose checks the tables must pass afterwards.
        why: kept in the run's record.
        own_id: run id of the revert; None for a new one.

    Raises:
        UsageError: the run was not published, was reverted already, or later changes build on it.
        RunAuditFailedError: a check of the pipeline fails; nothing was published.
        AsgardError: the run failed; nothing was published.
    """
    asked = {"run": run_id, "pipeline": pipeline.name if pipeline else None}
    if own_id is not None:
        settled(lake, own_id, "revert", asked, datetime.now(UTC))
    commit = published(lake, run_id, At(lake.target, lake.nessie.head(lake.target))).entry.hash
    declared = {table.name: table for table in pipeline.in_order()} if pipeline else {}

    def work(attempt: Attempt) -> None:
        plan = plan_revert(lake, run_id, At(attempt.branch, attempt.base))
        if plan.published.entry.hash != commit:
            raise UsageError(f"Run {run_id} was published again meanwhile.", hint="Look at it, and revert it again.")
        if pipeline is not None and not any(each.undo.name in declared for each in plan.tables):
            raise UsageError(
                f"Pipeline {pipeline.name} declares none of the tables of run {run_id}.",
                hint="Name the pipeline that wrote them, or leave --pipeline out: then no declared check is run.",
            )
        attempt.details["reverted"] = {"run": run_id, "commit": commit, "why": why}
        for each in plan.tables:
            _undo(attempt, each, declared.get(each.undo.name))

    request = RunRequest("revert", own_id, {**asked, "why": why}, properties={REVERTS: run_id, REVERTED_COMMIT: commit})
    return execute(lake, request, work, say)


def described(plan: RevertPlan) -> dict[str, Any]:
    """What a revert would do, as plain values for JSON."""
    return {
        "run_id": plan.run_id,
        "job": plan.published.job,
        "published": plan.published.entry.committed.isoformat(),
        "tables": [_described(each) for each in plan.tables],
    }


def _described(table: TablePlan) -> dict[str, Any]:
    undo = table.undo
    return {
        "table": str(undo.name),
        "rows_out": undo.rows_out,
        "rows_back": undo.rows_back,
        "files_out": len(undo.out),
        "files_back": len(undo.back),
        "intervals": [str(each) for each in undo.intervals],
        "dropped": undo.drops,
        "left_empty": not undo.drops and undo.empties(table.facts),
        "columns_that_stay": list(undo.new_columns),
    }


def _undo(attempt: Attempt, plan: TablePlan, declared: Table | None) -> None:
    undo = plan.undo
    table = _audited(plan, declared)
    if undo.drops:
        attempt.drop(table)
        return
    column = table.interval.column if table.interval else ""
    attempt.swap_files(
        table,
        Files(plan.before or plan.now, undo.back.keys(), stretch_of(undo.back, column)),
        Files(plan.now, undo.out.keys(), stretch_of(undo.out, column)),
        undo.records,
        undo.properties,
        undo.intervals,
    )


def _audited(plan: TablePlan, declared: Table | None) -> Table:
    """The table as far as its audit needs it: checks of rows that come back run only if some do."""
    undo, name = plan.undo, plan.undo.name
    if declared is None:
        return Table(name, interval=published_cadence(plan.facts.properties), mode=WriteMode.APPEND)
    comes_back, whole = bool(undo.back), declared.mode in (WriteMode.APPEND, WriteMode.MERGE)
    scopes = {Scope.TABLE, *([Scope.INTERVAL] if whole or comes_back else ()), *([Scope.ADDED] if comes_back else ())}
    checks = () if undo.empties(plan.facts) else tuple(check for check in declared.checks if check.scope in scopes)
    on_empty = declared.on_empty if comes_back else EmptyInput.PASS
    return replace(declared, checks=checks, on_empty=on_empty, pipeline="")
