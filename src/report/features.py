"""The report's facts about features: registered views, and what else the pipeline declares."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from asgard.common.names import SnapshotId, TableName
from asgard.features.register import KIND
from asgard.features.views import Declared, FeatureView, OnDemandFeature, lasting
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.catalog.registrations import Registration, Registrations
from asgard.lakehouse.declaring.pipeline import Pipeline


@dataclass(frozen=True)
class ViewFact:
    """A registered view.

    Attributes:
        is_newest: whether its table has no newer snapshot.
        is_table_gone: whether its table is missing.
    """

    view: FeatureView
    snapshot_id: SnapshotId
    measured: Mapping[str, Any] = field(hash=False)
    is_newest: bool
    is_table_gone: bool = False

    @classmethod
    def of(cls, registered: Registration, newest: Mapping[TableName, SnapshotId]) -> "ViewFact":
        """Build the fact from a registration."""
        is_newest = newest.get(registered.table) == registered.snapshot_id
        return cls(
            FeatureView.from_json(registered.declared),
            registered.snapshot_id,
            dict(registered.facts),
            is_newest,
            registered.table not in newest,
        )


@dataclass(frozen=True)
class FeatureFacts:
    """Everything that the report shows of features.

    Attributes:
        views: registered views of the pipeline.
        unregistered: views that the pipeline declares but that are not registered yet.
        on_demand: on-demand functions that the pipeline declares.
    """

    views: tuple[ViewFact, ...] = ()
    unregistered: tuple[FeatureView, ...] = ()
    on_demand: tuple[OnDemandFeature, ...] = ()


def gather_features(lake: Lakehouse, pipeline: Pipeline, at: str) -> FeatureFacts:
    """Read a pipeline's registered and declared features, as of a commit (`name@hash`)."""
    declared = Declared.of(pipeline)
    registered = {
        name: each
        for name, each in Registrations(lake.storage).current(KIND).items()
        if each.target == lake.target and (each.pipeline == pipeline.name or name in declared.views)
    }
    contents = lake.nessie.contents(at, {each.table for each in registered.values()})
    newest = {name: content.snapshot_id for name, content in contents.items() if content.is_table}
    return FeatureFacts(
        tuple(ViewFact.of(each, newest) for each in registered.values()),
        tuple(view for name, view in declared.views.items() if name not in registered),
        tuple(declared.on_demand.values()),
    )


def shown_views(facts: Sequence[ViewFact]) -> list[Mapping[str, Any]]:
    """The views as rows of a table."""
    return [
        {
            "name": fact.view.name,
            "description": fact.view.description,
            "keys": ", ".join(fact.view.keys),
            "table": str(fact.view.table),
            "snapshot": fact.snapshot_id,
            "version": fact.view.version,
            "features": fact.view.features,
            "count": len(fact.view.features),
            "rows": fact.measured.get("rows"),
            "entities": fact.measured.get("entities"),
            "ttl": lasting(fact.view.ttl),
            "online": str(fact.view.codec) if fact.view.online else "no",
            "is_newest": fact.is_newest,
            "is_table_gone": fact.is_table_gone,
        }
        for fact in facts
    ]
