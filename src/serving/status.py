"""How far Redis is behind what is published, view by view."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from asgard.features.views import FeatureView
from asgard.lakehouse.files import TableState
from asgard.lakehouse.lake import Lakehouse
from asgard.serving.store import Store


@dataclass(frozen=True)
class ViewStatus:
    """One online view.

    Attributes:
        keys: entities in Redis.
        snapshot_id: that they are of; None if Redis does not know the view.
        publishes_behind: snapshots of the table that were published since; None if that can't be told: the snapshot
            in Redis is none of those that led to the published one.
        seconds_behind: since the first of those was written; 0 if there is none.
        finished: when the last sync ended, in ISO 8601.
        is_unfinished: a sync is under way, or did not end.
    """

    view: str
    table: str
    keys: int
    snapshot_id: int | None
    publishes_behind: int | None
    seconds_behind: float | None
    finished: str | None
    is_unfinished: bool

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return dict(self.__dict__)


def status(lake: Lakehouse, store: Store, view: FeatureView) -> ViewStatus:
    """How far a view in Redis is behind.

    Raises:
        UnknownTableError: its table is not published.
        ServiceError: Redis refuses, or does not answer.
    """
    synced = store.synced(view.name)
    known = synced.watermark
    content = lake.content(view.table, lake.target)
    publishes, seconds = None, None
    if known is not None:
        state = TableState.load(content.metadata_location, lake.settings)
        chain = state.ancestors(content.snapshot_id)
        if known.snapshot_id in chain:
            since = chain[chain.index(known.snapshot_id) + 1 :]
            publishes, seconds = len(since), 0.0
            if since:
                first = next(each for each in state.table.metadata.snapshots if each.snapshot_id == since[0])
                seconds = max(0.0, datetime.now(UTC).timestamp() - first.timestamp_ms / 1_000)
    return ViewStatus(
        view.name,
        str(view.table),
        synced.rows,
        known.snapshot_id if known else None,
        publishes,
        None if seconds is None else round(seconds, 3),
        synced.finished or None,
        bool(synced.unfinished),
    )
