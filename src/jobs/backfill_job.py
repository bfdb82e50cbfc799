"""backfill: compute tables of a pipeline, for a date range or for all missing intervals.

Reads: the inputs that the selected tables declare, at the target ref. Writes: the selected tables, through
one Write-Audit-Publish run per chunk of intervals (one run for everything without `--intervals-per-run`). What a later
chunk changes under an earlier one is computed again at the end.
Resumable: published intervals are not computed again unless a date range is given, and a restart with the same
`--run-id` publishes each chunk at most once.
"""

import hashlib
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from asgard.common.aliases import Say
from asgard.common.errors import UsageError
from asgard.common.names import MAX_RUN_ID, CommitHash, RunId, TableName, check_run_id
from asgard.features.register import older_registrations
from asgard.jobs.counted import Note, counted
from asgard.jobs.entrypoint import run_job
from asgard.jobs.features_apply import apply_all, needed_columns, require_applicable
from asgard.jobs.left import noting_left
from asgard.jobs.options import (
    DirOption,
    EndOption,
    JsonOption,
    PipelineOption,
    RunIdOption,
    SelectOption,
    SetOption,
    StartOption,
    TakeOverOption,
    settings_from,
)
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.declaring.intervals import RangeSet, TimeRange
from asgard.lakehouse.declaring.loading import load_pipeline
from asgard.lakehouse.declaring.pipeline import Pipeline
from asgard.lakehouse.freshness.planning import Plan, PlannedRun, PlanRequest
from asgard.lakehouse.freshness.words import left_lines
from asgard.lakehouse.runs.attempt import Attempt, Isolation
from asgard.lakehouse.runs.causes import Causes
from asgard.lakehouse.runs.follow_up import follow_up
from asgard.lakehouse.runs.identity import is_published, settled
from asgard.lakehouse.runs.planned import plan_backfill, still_wanted
from asgard.lakehouse.runs.run import RunRequest, RunResult, Status, execute
from asgard.lakehouse.runs.steps import compute_step
from asgard.lakehouse.runs.takeover import require_own

_ROUNDS = 3
"""So often a backfill in chunks computes again what its own runs made stale; one is enough unless others publish."""


@dataclass(frozen=True)
class Params:
    """What to compute.

    Attributes:
        select: patterns of tables; empty for all.
        window: a date range; None for what is missing.
        stale: also what is stale by data, or in doubt.
        changed: also what is stale by code.
        full_refresh: compute tables without intervals again, whatever is known of them.
        intervals_per_run: how many intervals (of the longest cadence) one run publishes; None for all.
        isolation: whether a run starts again if an input changes while the run computes.
        run_id: the run id; None for a new one.
        now: intervals that end later are not computed.
        take_over: also write tables that another pipeline published.
        apply_features: afterwards register the pipeline's feature views at the published snapshots.
    """

    select: tuple[str, ...] = ()
    window: TimeRange | None = None
    intervals_per_run: int | None = None
    isolation: Isolation = Isolation.SNAPSHOT
    run_id: RunId | None = None
    now: datetime = field(default_factory=lambda: datetime.now(UTC))
    take_over: bool = False
    apply_features: bool = False
    stale: bool = False
    changed: bool = False
    full_refresh: bool = False

    @property
    def wanted(self) -> PlanRequest:
        """What is asked for, in the terms of planning."""
        return PlanRequest(self.now, self.window, self.stale, self.changed, self.full_refresh, self.intervals_per_run)


def plan(lake: Lakehouse, pipeline: Pipeline, params: Params, base: CommitHash | None = None) -> Plan:
    """What a backfill with these parameters would do from a commit of the target ref; None for its head."""
    ref = f"{lake.target}@{base}" if base else lake.target
    return plan_backfill(lake, pipeline, pipeline.select(params.select), ref, params.wanted)


def run(params: Params, lake: Lakehouse, pipeline: Pipeline, say: Say) -> list[RunResult]:
    """Execute the planned runs, one after the other.

    Raises:
        AsgardError: a run failed; the runs before it are published, and later ones are not started.
    """
    with counted(lake, "backfill", say) as note:
        lake.reach()
        if params.apply_features:
            require_applicable(lake, pipeline)
        if params.run_id is not None:
            params = replace(
                params, now=settled(lake, params.run_id, "backfill", _work_of(pipeline, params), params.now)
            )
        with noting_left(note, lake, pipeline, params.now, say):
            results = _execute_plan(params, lake, pipeline, note, say)
    if params.apply_features:
        apply_all(lake, pipeline, say)
    else:
        for line in older_registrations(lake, pipeline.name):
            say(line)
    return results


def _execute_plan(params: Params, lake: Lakehouse, pipeline: Pipeline, note: Note, say: Say) -> list[RunResult]:
    """Plan, execute the planned runs, and say what they leave."""
    results = []
    base = lake.nessie.head(lake.target)
    found = plan(lake, pipeline, params, base)
    planned = found.runs
    if not params.take_over:
        steps_of_others = [step for steps in planned for step in steps if step.belongs_to]
        require_own(pipeline.name, {step.table.name: step.belongs_to for step in steps_of_others})
    for note_line in found.notes:
        say(note_line)
    if not planned and not found.left:
        done = params.run_id is not None and is_published(lake, params.run_id)
        say(f"run {params.run_id} was published already" if done else "nothing is missing")
    for number, steps in enumerate(planned, 1):
        if len(planned) > 1:
            say(f"run {number} of {len(planned)}")
        run_id = _chunk_run_id(params.run_id, number, steps, in_chunks=params.intervals_per_run is not None)
        results.append(_execute_run(params, lake, pipeline, steps, run_id, base, note, say))
    if params.intervals_per_run is not None:
        results += _follow_up(params, lake, pipeline, planned, results, note, say)
    causes = Causes(lake, pipeline, f"{lake.target}@{base}")
    for line in left_lines(found.left, causes.of, pipeline):
        say(line)
    return results


def _execute_run(
    params: Params,
    lake: Lakehouse,
    pipeline: Pipeline,
    steps: PlannedRun,
    run_id: RunId | None,
    base: CommitHash,
    note: Note,
    say: Say,
) -> RunResult:
    """Execute one run that was planned at `base`."""
    request = RunRequest(
        job="backfill",
        run_id=run_id,
        params=_described(pipeline, params, steps),
        isolation=params.isolation,
        take_over=params.take_over,
        registered_next=needed_columns(pipeline) if params.apply_features else {},
    )
    result = note(execute(lake, request, _work(pipeline, steps, params, base), say))
    if result.status is Status.ALREADY_PUBLISHED and params.window is None:
        names = ", ".join(str(step.table.name) for step in steps)
        say(f"what has changed since then waits for another run id: {names}")
    return result


def _follow_up(
    params: Params,
    lake: Lakehouse,
    pipeline: Pipeline,
    planned: Sequence[PlannedRun],
    earlier: Sequence[RunResult],
    note: Note,
    say: Say,
) -> list[RunResult]:
    """Compute again what later chunks changed under earlier ones, in a few rounds at most."""
    within = None if params.window is None else _ranges_of(planned)
    selected = pipeline.select(params.select)
    results: list[RunResult] = []
    for number in range(1, _ROUNDS + 1):
        own = {each.run_id for each in (*earlier, *results)}

        def is_own(run_id: str, own: Set[str] = own) -> bool:
            return run_id in own or (params.run_id is not None and run_id.startswith(f"{params.run_id}-"))

        base = lake.nessie.head(lake.target)
        runs = follow_up(lake, pipeline, selected, f"{lake.target}@{base}", params.wanted, is_own, within)
        if not runs:
            break
        for steps in runs:
            tables = ", ".join(dict.fromkeys(str(step.table.name) for step in steps))
            say(f"computing again what later runs of this backfill changed: {tables}")
            what = hashlib.sha256(f"{tables} {_first(steps, '')}".encode()).hexdigest()[:7]
            run_id = _run_id_of(params.run_id, f"f{number}{what}") if params.run_id else None
            again = replace(params, stale=True)  # else a replanned run would leave what is stale
            results.append(_execute_run(again, lake, pipeline, steps, run_id, base, note, say))
    return results


def _ranges_of(planned: Sequence[PlannedRun]) -> dict[TableName, RangeSet]:
    """The stretches of each table over all runs."""
    found: dict[TableName, RangeSet] = {}
    for step in (step for steps in planned for step in steps):
        found[step.table.name] = found.get(step.table.name, RangeSet()) | RangeSet((*step.ranges, *step.follows))
    return found


def _work(pipeline: Pipeline, planned: PlannedRun, params: Params, base: CommitHash) -> Callable[[Attempt], None]:
    """Computes what was planned at `base`; without a window, only what is still wanted at the attempt's own base."""

    def work(attempt: Attempt) -> None:
        steps = planned
        if params.window is None and attempt.base != base:
            tables = [step.table for step in planned]
            wanted = replace(params.wanted, intervals_per_run=None)
            steps = still_wanted(planned, plan_backfill(attempt.lake, pipeline, tables, attempt.at_base, wanted))
            attempt.params["steps"] = [step.to_json() for step in steps]
        for step in steps:
            compute_step(attempt, step)

    return work


def _chunk_run_id(run_id: RunId | None, number: int, steps: PlannedRun, *, in_chunks: bool) -> RunId | None:
    """The caller's run id; in chunks, each run appends the start of its first interval.

    The chunk's number would be wrong: after a restart, fewer chunks are missing, and they count from 1 again.
    """
    if run_id is None or not in_chunks:
        return run_id
    return _run_id_of(run_id, _first(steps, f"{number}"))


def _first(steps: PlannedRun, otherwise: str) -> str:
    """When the first interval of a run begins."""
    first = min((window.start for step in steps for window in (*step.ranges, *step.follows)), default=None)
    return f"{first:%Y%m%d%H}" if first else otherwise


def _run_id_of(run_id: RunId, what: str) -> RunId:
    """The id of one of several runs of a backfill.

    Raises:
        UsageError: it is too long.
    """
    suffix = f"-{what}"
    if len(run_id) + len(suffix) > MAX_RUN_ID:
        raise UsageError(
            f"Run id {run_id!r} is too long for a backfill in several runs.",
            hint=f"Leave {len(suffix)} of the {MAX_RUN_ID} characters for the interval.",
        )
    return RunId(run_id + suffix)


def _work_of(pipeline: Pipeline, params: Params) -> dict[str, Any]:
    """What a run id stands for."""
    return {
        "pipeline": pipeline.name,
        "select": sorted(params.select),
        "window": str(params.window) if params.window else None,
        "intervals_per_run": params.intervals_per_run,
        "stale": params.stale,
        "changed": params.changed,
        "full_refresh": params.full_refresh,
    }


def _described(pipeline: Pipeline, params: Params, steps: PlannedRun) -> dict[str, Any]:
    return {**_work_of(pipeline, params), "steps": [step.to_json() for step in steps]}


def parse_window(start: str | None, end: str | None) -> TimeRange | None:
    """The range that `--start` and `--end` give, or None for neither.

    Raises:
        UsageError: only one of them is given, one is not a time, or start >= end.
    """
    if start is None and end is None:
        return None
    if start is None or end is None:
        raise UsageError(
            f"Only {'--end' if start is None else '--start'} was given.",
            hint="Give both, or neither to compute what is missing.",
        )
    return TimeRange.parse(start, end)


def command(
    pipeline: PipelineOption,
    select: SelectOption = None,
    start: StartOption = None,
    end: EndOption = None,
    intervals_per_run: Annotated[
        int | None,
        typer.Option("--intervals-per-run", min=1, help="Publish after this many intervals (default: all at once)."),
    ] = None,
    serializable: Annotated[
        bool, typer.Option("--serializable", help="Start again if an input changes while the run computes.")
    ] = False,
    stale: Annotated[
        bool, typer.Option("--stale", help="Also intervals whose inputs changed, or that somebody else changed.")
    ] = False,
    changed: Annotated[bool, typer.Option("--changed", help="Also intervals that other code computed.")] = False,
    full_refresh: Annotated[
        bool, typer.Option("--full-refresh", help="Compute tables without intervals again.")
    ] = False,
    apply_features: Annotated[
        bool,
        typer.Option("--apply-features", help="Afterwards register the pipeline's feature views at the new snapshots."),
    ] = False,
    take_over: TakeOverOption = False,
    run_id: RunIdOption = None,
    directory: DirOption = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
) -> int:
    """Compute tables for a date range, or what is missing."""
    from asgard.jobs.reporting import progress_lines, show_runs

    params = Params(
        select=tuple(select or ()),
        window=parse_window(start, end),
        intervals_per_run=intervals_per_run,
        isolation=Isolation.SERIALIZABLE if serializable else Isolation.SNAPSHOT,
        run_id=check_run_id(run_id) if run_id else None,
        take_over=take_over,
        apply_features=apply_features,
        stale=stale,
        changed=changed,
        full_refresh=full_refresh,
    )
    lake = Lakehouse(settings_from(settings, directory), "asgard backfill")
    with progress_lines(quiet=as_json) as say, counted(lake, "backfill", say):
        results = run(params, lake, load_pipeline(pipeline), say)
    show_runs(results, as_json=as_json)
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Entrypoint of spark-submit."""
    return run_job(command, argv)
