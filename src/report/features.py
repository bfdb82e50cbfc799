"""What the report says of features: the registered views, and the demo's training set."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asgard.common.names import SnapshotId, TableName
from asgard.features.register import KIND
from asgard.features.training_sets.files import manifest_of
from asgard.features.views import FeatureView, lasting
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.catalog.registrations import Registration, Registrations

if TYPE_CHECKING:
    import pandas

    from asgard.report.plots import Plot

_SAMPLE_ROWS, _SAMPLE_FEATURES = 6, 2


@dataclass(frozen=True)
class ViewFact:
    """A registered view.

    Attributes:
        is_newest: its table has no newer snapshot.
        is_table_gone: its table is not there any more.
    """

    view: FeatureView
    snapshot_id: SnapshotId
    measured: Mapping[str, Any] = field(hash=False)
    is_newest: bool
    is_table_gone: bool = False

    @classmethod
    def of(cls, registered: Registration, newest: Mapping[TableName, SnapshotId]) -> "ViewFact":
        """As it is registered."""
        is_newest = newest.get(registered.table) == registered.snapshot_id
        return cls(
            FeatureView.from_json(registered.declared),
            registered.snapshot_id,
            dict(registered.facts),
            is_newest,
            registered.table not in newest,
        )


@dataclass(frozen=True)
class TrainingFact:
    """A training set on disk.

    Attributes:
        file: its name.
        rows: of one entity, in the order of their times.
        plots: of all rows.
    """

    file: str
    manifest: Mapping[str, Any] = field(hash=False)
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    plots: "tuple[Plot, ...]" = field(hash=False)

    @property
    def is_number(self) -> tuple[bool, ...]:
        """For each column, whether its values are numbers."""
        return tuple(
            any(isinstance(value, int | float | Decimal) and not isinstance(value, bool) for value in values)
            for values in zip(*self.rows, strict=True)
        )


@dataclass(frozen=True)
class FeatureFacts:
    """Everything that the report shows of features."""

    views: tuple[ViewFact, ...] = ()
    training: TrainingFact | None = None


def gather_features(lake: Lakehouse, at: str, training_set: Path | None) -> FeatureFacts:
    """What is registered, seen from a commit (`name@hash`), and a training set if there is one at the path."""
    registered = [each for each in Registrations(lake.storage).current(KIND).values() if each.target == lake.target]
    contents = lake.nessie.contents(at, {each.table for each in registered})
    newest = {name: content.snapshot_id for name, content in contents.items()}
    views = tuple(ViewFact.of(each, newest) for each in registered)
    manifest = manifest_of(training_set) if training_set is not None else None
    if training_set is None or manifest is None:
        return FeatureFacts(views)
    return FeatureFacts(views, _training(training_set, manifest, [fact.view for fact in views]))


def _training(path: Path, manifest: Mapping[str, Any], views: Sequence[FeatureView]) -> TrainingFact:
    import pyarrow.parquet as pq

    from asgard.report.plots import training_plots

    rows = pq.read_table(path).to_pandas()
    used = [view for view in views if view.name in manifest["without_features"]]
    features = [name for view in used for name in view.feature_names if name in rows]
    features += [name for name in manifest["on_demand"] if name in rows]
    keys = [name for view in used for name in view.keys if name in rows]
    columns, sample = sample_of(rows, list(dict.fromkeys(keys)), manifest["labels"]["time_column"], used, features)
    plots = training_plots(rows, manifest["labels"]["time_column"], features)
    return TrainingFact(path.name, manifest, tuple(columns), tuple(sample), tuple(plots))


def sample_of(
    rows: "pandas.DataFrame",
    keys: Sequence[str],
    time: str,
    views: Sequence[FeatureView],
    features: Sequence[str],
) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Rows of one entity: of those with most labels one whose labels differ, and of them the first.

    Args:
        rows: a training set.
        keys: of the entity.
        time: the labels' time.
        views: whose first features are shown.
        features: all features' columns, those on demand too.

    Returns:
        Columns, and values as they are printed.
    """
    own = [str(name) for name in rows.columns if name not in features]
    own_features = {name for view in views for name in view.feature_names}
    chosen = [name for view in views for name in view.feature_names[:_SAMPLE_FEATURES] if name in features]
    columns = [*own, *chosen, *(name for name in features if name not in own_features)]
    if rows.empty or not keys:
        return columns, []
    groups = rows.groupby(list(keys))
    labels = [name for name in own if name not in (*keys, time)]
    ranked = groups.size().to_frame("count")
    ranked["kinds"] = groups[labels].nunique().sum(axis=1) if labels else 1
    entity = ranked.sort_values(["kinds", "count"], ascending=False, kind="stable").index[0]
    found = groups.get_group(entity if isinstance(entity, tuple) else (entity,)).sort_values(time)
    found[list(keys)] = found[list(keys)].astype(str)  # names, though they may be made of digits
    return columns, [tuple(map(_plain, row)) for row in found[columns].head(_SAMPLE_ROWS).itertuples(index=False)]


def _plain(value: Any) -> Any:
    """For people: days without their midnight, None for all that is missing."""
    import pandas as pd

    if pd.isna(value):
        return None
    if isinstance(value, pd.Timestamp):
        return f"{value:%Y-%m-%d}" if value == value.normalize() else f"{value:%Y-%m-%d %H:%M}"
    return value.item() if hasattr(value, "item") else value


def shown_views(facts: Sequence[ViewFact]) -> list[Mapping[str, Any]]:
    """The views as lines of a table."""
    return [
        {
            "name": fact.view.name,
            "description": fact.view.description,
            "keys": ", ".join(fact.view.keys),
            "table": str(fact.view.table),
            "snapshot": fact.snapshot_id,
            "features": len(fact.view.features),
            "rows": fact.measured.get("rows"),
            "entities": fact.measured.get("entities"),
            "ttl": lasting(fact.view.ttl),
            "online": str(fact.view.codec) if fact.view.online else "no",
            "is_newest": fact.is_newest,
            "is_table_gone": fact.is_table_gone,
        }
        for fact in facts
    ]
