"""The features known of each entity at one moment: of each view, the row that a label of that moment would get."""

from collections.abc import Sequence
from datetime import datetime
from functools import reduce
from typing import TYPE_CHECKING

from asgard.common.errors import UsageError
from asgard.features.joins.joining import FeatureColumns
from asgard.features.joins.spark_join import VISIBLE_AT, FrameSource, column_of, visible_rows
from asgard.features.pinned import PinnedView

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

KNOWN = "__asgard_known"
"""Column of a frame of given entities: whether any view has a row of the entity that counts."""


def latest_frame(
    source: FrameSource,
    views: Sequence[PinnedView],
    names: FeatureColumns,
    moment: datetime,
    entities: "DataFrame | None" = None,
) -> "DataFrame":
    """The features of each entity as known at a moment; the same rows as a point-in-time join of that moment gives.

    Args:
        source: all rows of a view's table.
        views: to read.
        names: for each view (feature, column of the result).
        moment: rows that became visible later do not count, nor rows whose ttl has ended.
        entities: distinct entities to look up, with the views' keys; None: all that have a row in any view.

    Returns:
        The keys (or the entities' columns and `KNOWN`) and the features. A feature is null if its view has no row that
        counts.

    Raises:
        UsageError: the views have different keys, and no entities are given; or the entities lack a key.
    """
    from pyspark.sql import functions as F

    frames = [_latest(source, pinned, pairs, moment) for pinned, pairs in zip(views, names, strict=True)]
    keys = [pinned.view.keys for pinned in views]
    if entities is None:
        if len({frozenset(each) for each in keys}) > 1:
            raise UsageError(
                f"The views {', '.join(pinned.name for pinned in views)} have different keys.",
                hint="Give the entities: a file or table with all keys.",
            )
        return reduce(lambda one, other: one.join(other, list(keys[0]), "full"), frames)
    lacking = sorted({key for each in keys for key in each} - set(entities.columns))
    if lacking:
        raise UsageError(f"The entities lack {', '.join(lacking)}.", hint=f"They have {', '.join(entities.columns)}.")
    marks = [f"{KNOWN}_{number}" for number, _ in enumerate(frames)]
    for each, view_keys, mark in zip(frames, keys, marks, strict=True):
        entities = entities.join(each.withColumn(mark, F.lit(True)), list(view_keys), "left")
    is_known = F.coalesce(*(F.col(mark) for mark in marks), F.lit(False))
    return entities.withColumn(KNOWN, is_known).drop(*marks)


def _latest(source: FrameSource, pinned: PinnedView, pairs: Sequence[tuple[str, str]], moment: datetime) -> "DataFrame":
    from pyspark.sql import functions as F

    now = round(moment.timestamp() * 1_000_000)
    rows = visible_rows(source(pinned.table), pinned, 0).where(F.col(VISIBLE_AT) <= now)
    keys = [f"__key_{key}" for key in pinned.view.keys]
    best = rows.groupBy(*map(column_of, keys)).agg(F.max("__row_0").alias("__row"))
    if pinned.view.ttl is not None:
        oldest = now - round(pinned.view.ttl.total_seconds() * 1_000_000)
        best = best.where(column_of("__row", "__event") >= oldest)
    return best.select(
        *(column_of(key).alias(key.removeprefix("__key_")) for key in keys),
        *(column_of("__row", feature).alias(name) for feature, name in pairs),
    )
