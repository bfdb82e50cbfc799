"""Requests for batch predictions by a small model of customers, and their parts."""

from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

from tests.support.registered_models import artifact

from asgard.common.names import TableName
from asgard.features.pinned import PinnedView, RowFacts
from asgard.features.views import Feature, feature_view
from asgard.model.artifacts.signature import Column, Signature
from asgard.model.batch.request import Challenger, PredictRequest
from asgard.model.lifecycle import Stage, Version
from asgard.model.versions import Binding, ModelVersion

INPUTS = (Column("visits", "bigint"), Column("spend", "double"))
TWO = Signature(INPUTS, "binary", ("stays", "leaves"))
NULLABLE = replace(TWO, segment="visits", nullable=True)


def view(snapshot: int = 7, day: int = 1, **keys: str) -> PinnedView:
    """Make a view of a table at a snapshot, whose newest row is from the given day of January 2024."""
    keys = keys or {"customer_id": "bigint"}
    types = {**keys, "visits": "bigint", "spend": "double"}
    table: Any = SimpleNamespace(
        name=TableName("gold", "customers"),
        snapshot_id=snapshot,
        columns={name: SimpleNamespace(type=kind) for name, kind in types.items()},
    )
    features = [Feature("visits", "bigint"), Feature("spend", "double")]
    last = int(datetime(2024, 1, day, tzinfo=UTC).timestamp() * 1_000_000)
    declared = feature_view("customers", table="gold.customers", keys=tuple(keys), features=features)
    return PinnedView(declared, table, RowFacts(1, 1, 0, 0, 0, last, last))


def version(text: str) -> ModelVersion:
    """Make a version of model churn."""
    return ModelVersion("churn", Version.parse(text), "1", Stage.NONE, "r", "2024-01-01", "ann", "", Binding())


def request(**changes: Any) -> PredictRequest:
    """Make a request to predict by churn@1.0.0."""
    given = {"version": version("1.0.0"), "artifact": artifact(signature=TWO), "views": (view(),)}
    return PredictRequest(**{**given, **changes})


def challenger(signature: Signature = TWO, text: str = "1.2.0", share: float = 0.1, **changes: Any) -> Challenger:
    """Make a challenger of that version."""
    given = {"views": (view(),), "on_demand": ()}
    return Challenger(version(text), artifact(signature=signature), share=share, **{**given, **changes})
