"""The report's facts about lookups: the views in Redis, and how far they are behind the published state."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from asgard.common.errors import AsgardError
from asgard.features.views import FeatureView
from asgard.jobs.each_view import of_each
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.report.features import FeatureFacts
from asgard.serving.redis_access.store import Store
from asgard.serving.sync.status import ViewStatus, status


@dataclass(frozen=True)
class OnlineViews:
    """The online views of a pipeline.

    Attributes:
        views: state in Redis of the registered online views.
        unregistered: names of views that are declared online but not registered yet.
        remarks: what could not be read from Redis, in words.
    """

    views: tuple[ViewStatus, ...] = ()
    unregistered: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


def gather_online(lake: Lakehouse, features: FeatureFacts) -> OnlineViews:
    """Read how far Redis is behind; Redis is not asked if no view is online."""
    registered = [fact.view for fact in features.views if fact.view.online]
    unregistered = tuple(view.name for view in features.unregistered if view.online)
    if not registered:
        return OnlineViews(unregistered=unregistered)
    try:
        store = Store.of(lake.settings, timeout=5.0, is_patient=False)
        store.synced(registered[0].name)  # so that the timeout of an unreachable Redis happens only once
    except AsgardError as error:
        return OnlineViews((), unregistered, (error.message,))

    def found(view: FeatureView) -> ViewStatus:
        return status(lake, store, view)

    tried = of_each(registered, found, lambda _line: None)
    return OnlineViews(
        tuple(tried.done), unregistered, tuple(f"{view}: {error.message}" for view, error in tried.failed)
    )


def shown_online(facts: OnlineViews) -> Mapping[str, Any]:
    """The section of the page."""
    return {
        "views": [{**each.to_json(), **_lag(each)} for each in facts.views],
        "unregistered": facts.unregistered,
        "remarks": facts.remarks,
    }


def _lag(view: ViewStatus) -> Mapping[str, str]:
    """How far a view is behind, in words, and the style of its label."""
    if view.is_table_gone:
        return {"lag": "its table is missing", "style": "bad"}
    if view.snapshot_id is None:
        return {"lag": "never synced", "style": "warn"}
    if view.is_unfinished:
        return {"lag": "a sync is unfinished", "style": "warn"}
    if view.publishes_behind is None:
        return {"lag": "unknown: its snapshot was never published here", "style": "warn"}
    if not view.publishes_behind:
        return {"lag": "none", "style": "good"}
    return {"lag": f"{view.publishes_behind} publishes", "style": "warn"}
