"""What `asgard status` shows about online views: how far Redis is behind what is published."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import typer

from asgard.common.errors import AsgardError
from asgard.common.settings import Settings

if TYPE_CHECKING:
    from asgard.serving.sync.status import ViewStatus


class Online(NamedTuple):
    """The online views.

    Attributes:
        views: the views registered as online.
        left_behind: names of views that are no longer online, but still in Redis.
        remark: why the status of some or all views is unknown; "" if it is known.
    """

    views: "Sequence[ViewStatus]" = ()
    left_behind: Sequence[str] = ()
    remark: str = ""


def online_status(settings: Settings) -> Online:
    """The status of every registered online view, and the former online views still in Redis."""
    if settings.nessie_uri is None or settings.redis_url is None:
        return Online()
    from asgard.jobs.each_view import of_each
    from asgard.lakehouse.catalog.lake import Lakehouse
    from asgard.serving.redis_access.store import Store
    from asgard.serving.sync.removal import left_behind
    from asgard.serving.sync.status import registered_online, status

    try:
        lake, store = Lakehouse.connect(settings), Store.of(settings)
        outcomes = of_each(registered_online(lake), lambda view: status(lake, store, view), lambda _line: None)
        remark = "; ".join(f"{view}: {error.message}" for view, error in outcomes.failed)
        return Online(outcomes.done, left_behind(lake, store), remark)
    except AsgardError as error:
        return Online(remark=f"online views: {error.message}")


def show(online: Online) -> None:
    """Print the status for people, below the services."""
    from asgard.jobs.reporting import show_table

    if online.remark:
        typer.echo(f"\n{online.remark}")
    if online.views:
        typer.echo()
        lines = [
            (each.view, f"{each.keys:,}", each.snapshot_id or "-", _behind(each), each.finished or "-")
            for each in online.views
        ]
        show_table(("VIEW", "KEYS", "SNAPSHOT", "BEHIND", "LAST SYNC"), lines)
    for view in online.left_behind:
        typer.echo(f"{view}: no longer online, but still in Redis; `asgard online-sync --drop {view}` removes it")


def _behind(each: "ViewStatus") -> str:
    if each.is_table_gone:
        return "table gone"
    if each.snapshot_id is None:
        return "never synced"
    if each.publishes_behind is None:
        return "never published"
    behind = f"{each.publishes_behind} publishes, {each.seconds_behind:,.0f} s" if each.publishes_behind else "no"
    return f"{behind}, a sync is unfinished" if each.is_unfinished else behind
