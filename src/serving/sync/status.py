"""Which registered views are online, and how far Redis is behind what is published of each."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from asgard.common.errors import UsageError
from asgard.features.register import KIND
from asgard.features.views import FeatureView
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.catalog.nessie import LogEntry
from asgard.lakehouse.catalog.registrations import Registration, Registrations
from asgard.serving.redis_access.state import Target
from asgard.serving.redis_access.store import Store


@dataclass(frozen=True)
class ViewStatus:
    """One online view.

    Attributes:
        keys: entities in Redis.
        snapshot_id: that they are of; None if Redis does not know the view.
        publishes_behind: commits of the target ref that changed the table since it had this snapshot, each once however
            many snapshots it brought; None if the target ref never had it.
        seconds_behind: since the first of those was made; 0 if there is none.
        finished: when the last sync ended, in ISO 8601.
        is_unfinished: a sync is under way, or did not end.
        is_table_gone: the target ref has no such table any more.
    """

    view: str
    table: str
    keys: int
    snapshot_id: int | None
    publishes_behind: int | None
    seconds_behind: float | None
    finished: str | None
    is_unfinished: bool
    is_table_gone: bool = False

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return dict(self.__dict__)


def status(lake: Lakehouse, store: Store, view: FeatureView) -> ViewStatus:
    """How far a view in Redis is behind.

    Raises:
        ServiceError: Redis refuses, or does not answer.
    """
    synced = store.synced(view.name)
    known, later = synced.watermark, None
    is_table_gone = lake.nessie.content(lake.target, view.table) is None
    if known is not None and not is_table_gone:
        later = _published_since(lake, view, known)
    seconds = None
    if later is not None:
        seconds = max(0.0, (datetime.now(UTC) - later[-1].committed).total_seconds()) if later else 0.0
    return ViewStatus(
        view.name,
        str(view.table),
        synced.rows,
        known.snapshot_id if known else None,
        None if later is None else len(later),
        None if seconds is None else round(seconds, 3),
        synced.finished or None,
        bool(synced.unfinished),
        is_table_gone,
    )


def _published_since(lake: Lakehouse, view: FeatureView, known: Target) -> list[LogEntry] | None:
    """Commits of the target ref that changed the table since it had a state, newest first; None if it never had it."""
    later: list[LogEntry] = []
    for entry, content in lake.nessie.history(lake.target, view.table):
        if content is not None and content.is_table and content.snapshot_id == known.snapshot_id:
            return later
        later.append(entry)
    return None


def registered_online(lake: Lakehouse) -> tuple[FeatureView, ...]:
    """All registered views that are kept online; () if there is none."""
    return tuple(FeatureView.from_json(each.declared) for each in _current(lake, "").values() if each.online)


def online_views(lake: Lakehouse, names: Sequence[str] = (), pipeline: str = "") -> tuple[FeatureView, ...]:
    """Registered views that are kept online.

    Args:
        lake: where they are registered.
        names: which; all of them for none.
        pipeline: only those that it declares.

    Raises:
        UsageError: a view is not registered, or not online; or there is none.
    """
    current = _current(lake, pipeline)
    online = [name for name, each in current.items() if each.online]
    listed = f"Online are {', '.join(online) or 'none'}."
    for name in names:
        if name not in current:
            raise UsageError(
                f"There is no registered feature view {name!r}.", hint=f"{listed} `asgard features apply` registers."
            )
        if name not in online:
            raise UsageError(f"Feature view {name} is not online.", hint=f"Declare it with online=True. {listed}")
    if not online:
        whose = f" of pipeline {pipeline}" if pipeline else ""
        raise UsageError(
            f"No registered feature view{whose} is online.",
            hint="Declare one with online=True, and say `asgard features apply`.",
        )
    return tuple(FeatureView.from_json(current[name].declared) for name in (names or online))


def _current(lake: Lakehouse, pipeline: str) -> dict[str, Registration]:
    current = Registrations(lake.storage).current(KIND)
    return {name: each for name, each in current.items() if not pipeline or each.pipeline == pipeline}
