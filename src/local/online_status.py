"""What `asgard status` says of online views: how far Redis is behind what is published."""

from typing import TYPE_CHECKING

import typer

from asgard.common.errors import AsgardError
from asgard.common.settings import Settings

if TYPE_CHECKING:
    from asgard.serving.status import ViewStatus


def online_status(settings: Settings) -> "tuple[list[ViewStatus], str]":
    """Every registered online view; and what can't be told, in words."""
    if settings.nessie_uri is None or settings.redis_url is None:
        return [], ""
    from asgard.lakehouse.lake import Lakehouse
    from asgard.serving.selection import registered_online
    from asgard.serving.status import status
    from asgard.serving.store import Store

    try:
        lake, store = Lakehouse.connect(settings), Store.of(settings)
        return [status(lake, store, view) for view in registered_online(lake)], ""
    except AsgardError as error:
        return [], f"online views: {error.message}"


def show(online: "list[ViewStatus]", remark: str) -> None:
    """For people, below the services."""
    from asgard.jobs.reporting import show_table

    if remark:
        typer.echo(f"\n{remark}")
    if online:
        typer.echo()
        lines = [
            (each.view, f"{each.keys:,}", each.snapshot_id or "-", _behind(each), each.finished or "-")
            for each in online
        ]
        show_table(("VIEW", "KEYS", "SNAPSHOT", "BEHIND", "LAST SYNC"), lines)


def _behind(each: "ViewStatus") -> str:
    if each.snapshot_id is None:
        return "never synced"
    if each.publishes_behind is None:
        return "on another history"
    behind = f"{each.publishes_behind} publishes, {each.seconds_behind:,.0f} s" if each.publishes_behind else "no"
    return f"{behind}, a sync is unfinished" if each.is_unfinished else behind
