"""online-sync: make Redis equal to what is published, view by view, by writing only what changed.

Reads: gold tables at the target ref's head, and the state recorded in Redis. Writes: Redis, and a hold of the snapshot
that Redis contains. `--drop` removes both for a view that is no longer online.
"""

from collections.abc import Sequence
from contextlib import nullcontext, suppress
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated

import typer

from asgard.common.aliases import Say
from asgard.common.errors import ExitCode, UsageError
from asgard.common.spark_utils import explained
from asgard.features.joins.engines import Engine
from asgard.features.views import FeatureView
from asgard.jobs.counted import counted
from asgard.jobs.each_view import ViewOutcomes, of_each
from asgard.jobs.entrypoint import run_job
from asgard.jobs.online_tables import show, show_removed
from asgard.jobs.options import DirOption, JsonOption, SetOption, settings_from
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.declaring.loading import load_pipeline
from asgard.monitoring.events import OnlineFacts
from asgard.serving.redis_access.store import Store
from asgard.serving.sync.older_scores import older_score_lines, older_scores
from asgard.serving.sync.removal import Removed, left_behind, remove
from asgard.serving.sync.status import online_views
from asgard.serving.sync.sync import Preview, SyncResult, preview, sync
from asgard.serving.sync.verify import Verification, verify


def run(
    lake: Lakehouse,
    store: Store,
    views: Sequence[FeatureView],
    say: Say,
    *,
    full: bool = False,
    engine: Engine = Engine.AUTO,
) -> ViewOutcomes[SyncResult]:
    """Sync views one after the other, counted as one execution of the job; a failure does not stop the others."""
    outcomes: ViewOutcomes[SyncResult] = ViewOutcomes()
    with suppress(_AViewFailed), counted(lake, "online-sync", say) as note:

        def one(view: FeatureView) -> SyncResult:
            with explained(f"Syncing {view.name}"):
                done = sync(lake, store, view, full=full, engine=engine, say=say)
            note.online(view.name, OnlineFacts(done.rows, done.equal_at))
            return done

        outcomes = of_each(views, one, say)
        if outcomes.failed:
            raise _AViewFailed
    return outcomes


class _AViewFailed(Exception):
    """A view failed, so the execution counts as failed."""


def drop(lake: Lakehouse, store: Store, view: str, say: Say) -> Removed:
    """Remove a view that is no longer online from Redis and from the metrics.

    Raises:
        AsgardError: see `removal.remove`.
    """
    with counted(lake, "online-sync", say) as note:
        removed = remove(lake, store, view, say)
        note.online(view, OnlineFacts(0, datetime.now(UTC), is_gone=True))
    return removed


def command(
    view: Annotated[
        list[str] | None, typer.Option("--view", "-v", help="An online view. Repeatable; default: all.")
    ] = None,
    pipeline: Annotated[
        str | None, typer.Option("--pipeline", "-p", help="Only views that this pipeline registered.")
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="Rebuild the views completely.")] = False,
    engine: Annotated[str, typer.Option("--engine", help="What reads the rows: auto, duckdb or spark.")] = "auto",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what a sync would do without writing.")] = False,
    check: Annotated[bool, typer.Option("--verify", help="Compare Redis with its snapshot without writing.")] = False,
    together: Annotated[
        bool, typer.Option("--together", help="Leave features alone while scores from older ones are beside them.")
    ] = False,
    dropped: Annotated[
        str | None, typer.Option("--drop", metavar="VIEW", help="Remove a view that is no longer online.")
    ] = None,
    directory: DirOption = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
) -> int:
    """Make Redis equal to what is published."""
    from asgard.jobs.reporting import progress_lines, show_json

    if sum((full, dry_run, check, dropped is not None)) > 1:
        raise UsageError("More than one of --full, --dry-run, --verify and --drop is given.", hint="Keep one.")
    if dropped is not None and (view or pipeline):
        raise UsageError("--drop already names its view.", hint="Leave --view and --pipeline out.")
    if engine not in tuple(Engine):
        raise UsageError(f"--engine is {engine!r}.", hint=f"Use one of {', '.join(Engine)}.")
    lake = Lakehouse(settings_from(settings, directory), "asgard online-sync")
    writes = not (check or dry_run)
    with (
        progress_lines(quiet=as_json) as say,
        counted(lake, "online-sync", say) if writes else nullcontext(),
    ):
        lake.reach()
        store = Store.of(lake.settings)
        if dropped is not None:
            removed = drop(lake, store, dropped, say)
            if as_json:
                show_json({"dropped": asdict(removed)})
            else:
                show_removed(removed)
            return ExitCode.DONE
        behind = () if view or pipeline else left_behind(lake, store)
        for each in behind:
            say(f"{each}: no longer online, but still in Redis; `asgard online-sync --drop {each}` removes it")
        of_pipeline = load_pipeline(pipeline).name if pipeline else ""
        views = online_views(lake, view or (), of_pipeline)
        online = online_views(lake, (), of_pipeline)
        older = older_scores(lake, online)
        for line in older_score_lines(lake, older, online):
            say(line)
        waiting = {name for tables in older.values() for name in tables} if together else set()
        for left in (each for each in views if each.table in waiting):
            say(f"{left.name} stays as it is in Redis until its scores are as new (--together)")
        views = tuple(each for each in views if each.table not in waiting)
        outcomes: ViewOutcomes[Verification] | ViewOutcomes[Preview] | ViewOutcomes[SyncResult]
        if check:
            outcomes = of_each(views, lambda each: verify(lake, store, each, say), say)
        elif dry_run:
            outcomes = of_each(views, lambda each: preview(lake, store, each), say)
        else:
            outcomes = run(lake, store, views, say, full=full, engine=Engine(engine))
        if as_json:
            older_json = {view: [str(name) for name in tables] for view, tables in older.items()}
            show_json({"synced": writes, **outcomes.to_json(), "left_behind": list(behind), "older_scores": older_json})
        else:
            show(outcomes.done)
        outcomes.require_all()
    differs = any(isinstance(each, Verification) and not each.is_equal for each in outcomes.done)
    return ExitCode.FAILED if differs else ExitCode.DONE


def main(argv: Sequence[str] | None = None) -> int:
    """Entrypoint of spark-submit."""
    return run_job(command, argv)
