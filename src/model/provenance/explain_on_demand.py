"""The on-demand features of an explained prediction, computed again from the values that its views gave."""

from collections.abc import Mapping, Sequence
from typing import Any

from asgard.features.joins.joining import Join, with_on_demand
from asgard.features.pinned import PinnedView
from asgard.features.types import to_arrow
from asgard.features.views import OnDemandFeature


def computed(
    functions: Sequence[OnDemandFeature],
    views: Sequence[PinnedView],
    values: Sequence[Mapping[str, Any]],
    keys: Mapping[str, Any],
) -> dict[str, Any]:
    """What each function gives for one entity.

    Args:
        functions: those that the version learned from.
        views: of the version, in its order.
        values: of each view's features.
        keys: of the entity, by name.

    Raises:
        UsageError: a function failed, or gave something that does not fit.
    """
    import pyarrow as pa

    types = {key: pinned.table.columns[key].type for pinned in views for key in pinned.view.keys}
    join = Join.of(views, tuple(types), functions)
    columns = {key: pa.array([keys[key]], to_arrow(kind)) for key, kind in types.items()}
    for pinned, pairs, given in zip(views, join.names, values, strict=True):
        kinds = {each.name: each.type for each in pinned.view.features}
        columns |= {column: pa.array([given[name]], to_arrow(kinds[name])) for name, column in pairs}
    found = with_on_demand(pa.RecordBatch.from_pydict(columns), join)
    return {each.name: found.column(each.name)[0].as_py() for each in functions}
