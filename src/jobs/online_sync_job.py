"""online-sync: make Redis equal to what is published, view by view, by writing only what changed.

Reads: gold tables at the target ref's head, and what Redis says it has. Writes: Redis, and a hold of the snapshot that
it has.
"""

from collections.abc import Callable, Sequence
from typing import Annotated

import typer

from asgard.common.errors import AsgardError, ExitCode, UsageError
from asgard.common.spark import explained
from asgard.features.views import FeatureView
from asgard.jobs.counted import counted
from asgard.jobs.entrypoint import run_job
from asgard.jobs.options import DirOption, JsonOption, SetOption, settings_from
from asgard.lakehouse.lake import Lakehouse
from asgard.lakehouse.loading import load_pipeline
from asgard.monitoring.events import OnlineFacts
from asgard.serving.selection import online_views
from asgard.serving.store import Store
from asgard.serving.sync import Preview, SyncResult, preview, sync
from asgard.serving.verify import Verification, verify


def run(
    lake: Lakehouse, store: Store, views: Sequence[FeatureView], say: Callable[[str], None], *, full: bool = False
) -> list[SyncResult]:
    """Sync views one after the other, and count it as an execution of the job; one that fails stops no other.

    Raises:
        AsgardError: the first that a view's sync ended with, after all were tried.
    """
    done: list[SyncResult] = []
    failed: list[AsgardError] = []
    with counted(lake, "online-sync", say) as note:
        for view in views:
            try:
                with explained(f"Syncing {view.name}"):
                    done.append(sync(lake, store, view, full=full, say=say))
                note.online(view.name, OnlineFacts(done[-1].rows, done[-1].equal_at))
            except AsgardError as error:
                say(f"{view.name}: {error.message}")
                failed.append(error)
        if failed:
            raise failed[0]
    return done


def command(
    view: Annotated[
        list[str] | None, typer.Option("--view", "-v", help="An online view. Repeatable; default all of them.")
    ] = None,
    pipeline: Annotated[
        str | None, typer.Option("--pipeline", "-p", help="Only views that this pipeline registered.")
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="Build the views anew, whatever Redis has.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what a sync would do, and write nothing.")] = False,
    check: Annotated[
        bool, typer.Option("--verify", help="Compare Redis with the snapshot that it has, and write nothing.")
    ] = False,
    directory: DirOption = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
) -> int:
    """Make Redis equal to what is published."""
    from asgard.jobs.reporting import progress_lines, show_json

    if sum((full, dry_run, check)) > 1:
        raise UsageError("--full, --dry-run and --verify were given together.", hint="Keep one.")
    lake = Lakehouse.connect(settings_from(settings, directory), "asgard online-sync")
    store = Store.of(lake.settings)
    views = online_views(lake, view or (), load_pipeline(pipeline).name if pipeline else "")
    with progress_lines(quiet=as_json) as say:
        if check:
            verified = [verify(lake, store, each, say) for each in views]
        elif dry_run:
            planned = [preview(lake, store, each) for each in views]
        else:
            synced = run(lake, store, views, say, full=full)
    found: Sequence[Verification | Preview | SyncResult] = verified if check else planned if dry_run else synced
    if as_json:
        show_json({"synced": not (check or dry_run), "views": [each.to_json() for each in found]})
    elif check:
        _show_verified(verified)
    elif dry_run:
        _show_planned(planned)
    else:
        _show_synced(synced)
    return ExitCode.FAILED if check and not all(each.is_equal for each in verified) else ExitCode.DONE


def _show_synced(found: Sequence[SyncResult]) -> None:
    from asgard.jobs.reporting import show_table

    show_table(
        ("VIEW", "DID", "WRITTEN", "DELETED", "IN REDIS", "SNAPSHOT"),
        [
            (
                each.view,
                str(each.mode),
                f"{each.counted.written:,}",
                f"{each.counted.deleted:,}",
                f"{each.rows:,}",
                each.target.snapshot_id,
            )
            for each in found
        ],
    )


def _show_planned(found: Sequence[Preview]) -> None:
    from asgard.jobs.reporting import show_table

    show_table(
        ("VIEW", "WOULD", "WHY", "ENTITIES", "SNAPSHOT"),
        [
            (
                each.view,
                str(each.mode),
                each.why,
                "all" if each.entities is None else f"{each.entities:,}",
                each.target.snapshot_id,
            )
            for each in found
        ],
    )


def _show_verified(found: Sequence[Verification]) -> None:
    from asgard.jobs.reporting import show_table

    show_table(
        ("VIEW", "SNAPSHOT", "ENTITIES", "EQUAL", "MISSING", "OTHER", "BEYOND", "DIGEST"),
        [
            (
                each.view,
                each.snapshot_id,
                f"{each.entities:,}",
                "yes" if each.is_equal else "no",
                f"{each.missing:,}",
                f"{each.other:,}",
                f"{each.beyond:,}",
                each.digest_redis[:16],
            )
            for each in found
        ],
    )
    for each in found:
        for entity, wrong in each.examples:
            typer.echo(f"{each.view}: {entity} is {_IN_WORDS[wrong]}")


_IN_WORDS = {
    "missing": "missing in Redis",
    "other": "another row in Redis",
    "beyond": "in Redis, and in no row of the snapshot",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Entrypoint of spark-submit."""
    return run_job(command, argv)
