"""The registered online views, and how far Redis is behind the published state of each."""

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
    """The status of one online view.

    Attributes:
        keys: entities in Redis.
        snapshot_id: snapshot of their rows; None if the view is not in Redis.
        publishes_behind: commits of the target ref that changed the table after this snapshot; a commit counts once
            even if it added several snapshots; None if the target ref never had this snapshot.
        seconds_behind: seconds since the first of these commits; 0 if there are none.
        finished: when the last sync ended, in ISO 8601.
        is_unfinished: a sync is running, or did not finish.
        is_table_gone: the table no longer exists on the target ref.
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
    """Compute how far a view in Redis is behind.

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
    """Commits of the target ref that changed the table after a state, newest first; None if it never had this state."""
    later: list[LogEntry] = []
    for entry, content in lake.nessie.history(lake.target, view.table):
        if content is not None and content.is_table and content.snapshot_id == known.snapshot_id:
            return later
        later.append(entry)
    return None


def registered_online(lake: Lakehouse) -> tuple[FeatureView, ...]:
    """All registered online views; () if there are none."""
    return tuple(FeatureView.from_json(each.declared) for each in _current(lake, "").values() if each.online)


def online_views(lake: Lakehouse, names: Sequence[str] = (), pipeline: str = "") -> tuple[FeatureView, ...]:
    """Find registered online views.

    Args:
        lake: the lakehouse in which they are registered.
        names: names of the views; if empty, all online views.
        pipeline: only views of this pipeline; "" for all pipelines.

    Raises:
        UsageError: a view is not registered, or not online; or there are no online views.
    """
    current = _current(lake, pipeline)
    online = [name for name, each in current.items() if each.online]
    listed = f"Online views: {', '.join(online) or 'none'}."
    for name in names:
        if name not in current:
            raise UsageError(
                f"There is no registered feature view {name!r}.",
                hint=f"{listed} `asgard features apply` registers views.",
            )
        if name not in online:
            raise UsageError(f"Feature view {name} is not online.", hint=f"Declare it with online=True. {listed}")
    if not online:
        whose = f" of pipeline {pipeline}" if pipeline else ""
        raise UsageError(
            f"No registered feature view{whose} is online.",
            hint="Declare one with online=True, and run `asgard features apply`.",
        )
    return tuple(FeatureView.from_json(current[name].declared) for name in (names or online))


def _current(lake: Lakehouse, pipeline: str) -> dict[str, Registration]:
    current = Registrations(lake.storage).current(KIND)
    return {name: each for name, each in current.items() if not pipeline or each.pipeline == pipeline}
