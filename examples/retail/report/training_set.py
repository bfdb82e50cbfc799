"""The report's content about the training set: its manifest, the rows of one entity, and plots of all rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asgard.features.training_sets.files import manifest_of
from asgard.features.views import FeatureView
from examples.retail.report.plots import training_plots

if TYPE_CHECKING:
    import pandas

    from asgard.report.plots import Plot

_SAMPLE_ROWS, _SAMPLE_FEATURES = 6, 2


@dataclass(frozen=True)
class TrainingFact:
    """A training set on disk.

    Attributes:
        file: name of the file.
        rows: rows of one entity, ordered by time.
        plots: plots of all rows.
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


def training_fact(path: Path, views: Sequence[FeatureView]) -> TrainingFact | None:
    """Read the facts of a training set; None if there is none at the path.

    Args:
        path: file of the training set.
        views: registered views.
    """
    import pyarrow.parquet as pq

    manifest = manifest_of(path)
    if manifest is None:
        return None
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
    """Select the rows of one entity: the one whose labels differ most, then with the most rows, then the first.

    Args:
        rows: a training set.
        keys: key columns of the entity.
        time: the labels' time column.
        views: the views whose first features are shown.
        features: columns of all features, including on-demand features.

    Returns:
        Columns, and values for display.
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
    found[list(keys)] = found[list(keys)].astype(str)  # keys are names, even if they consist of digits
    return columns, [tuple(map(_plain, row)) for row in found[columns].head(_SAMPLE_ROWS).itertuples(index=False)]


def _plain(value: Any) -> Any:
    """Convert a value for display: midnights as days, every missing value as None."""
    import pandas as pd

    if pd.isna(value):
        return None
    if isinstance(value, pd.Timestamp):
        return f"{value:%Y-%m-%d}" if value == value.normalize() else f"{value:%Y-%m-%d %H:%M}"
    return value.item() if hasattr(value, "item") else value
