"""The point-in-time join on Spark, for joins that are too large for one machine; the same result as `duck.join_sql`.

Labels and feature rows of an entity are sorted together by the moment at which they become visible; each label gets the
greatest row so far, by (event timestamp, created timestamp, tie-break, features). There is one shuffle for all views
with the same keys, and nothing is collected.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING

from asgard.common.spark_utils import explain
from asgard.features.joins.duck import TIME, text
from asgard.features.joins.joining import FeatureColumns, Join, with_on_demand, with_on_demand_schema
from asgard.features.joins.set_audit import Audit, counts
from asgard.features.pinned import PinnedTable, PinnedView
from asgard.lakehouse.catalog.lake import Lakehouse

if TYPE_CHECKING:
    import pyarrow as pa
    from duckdb import DuckDBPyConnection
    from pyspark.sql import Column, DataFrame

_LABEL, _IS_LABEL = "__label", "__is_label"
VISIBLE_AT = "__at"
"""The moment from which a row counts, in microseconds since 1970."""
FrameSource = Callable[[PinnedTable], "DataFrame"]


def join_on_spark(lake: Lakehouse, connection: "DuckDBPyConnection", labels: str, join: Join, out: Path) -> Audit:
    """Write the joined set as a folder of Parquet files.

    Args:
        lake: whose Spark joins.
        connection: has the labels.
        labels: see `load_labels`.
        join: what to join to them.
        out: folder to write, which must not exist yet.

    Returns:
        The counts taken while it was written.

    Raises:
        UsageError: files of a snapshot are missing.
        RunError: Spark failed.
    """
    from pyspark.sql import Observation
    from pyspark.sql import functions as F

    for pinned in join.views:
        pinned.table.require_files()
    session = lake.spark.newSession()
    session.conf.set("spark.sql.parquet.outputTimestampType", "TIMESTAMP_MICROS")
    given = out.with_name(f"{out.name}.labels")
    connection.execute(f"COPY (FROM {labels}) TO {text(str(given))} (FORMAT parquet)")
    try:
        rows = session.read.parquet(given.absolute().as_uri())
        joined = joined_frame(lambda table: session.table(table.at.sql_name(table.name)), rows, join.views, join.names)
        observation = Observation("audit")
        wanted = [F.expr(sql).alias(name) for name, sql in counts(join.views).items()]
        kept = joined.observe(observation, *wanted).select(*(column_of(name) for name in join.columns))
        if join.on_demand:
            kept = with_on_demand_frame(kept, join)
        kept.write.option("compression", "zstd").parquet(out.absolute().as_uri())
        found = observation.get
    except Exception as error:
        raise explain(error, "The point-in-time join") from error
    finally:
        given.unlink(missing_ok=True)
    total = connection.execute(f"SELECT count(*) FROM {labels}").fetchall()[0]
    return Audit.of(join.views, total[0], found)


def joined_frame(
    source: FrameSource, labels: "DataFrame", views: Sequence[PinnedView], names: FeatureColumns
) -> "DataFrame":
    """Labels with their features, and the times of the rows that counted.

    Args:
        source: all rows of a view's table.
        labels: with `TIME` and each key as `__key_<name>`.
        views: to join.
        names: for each view (feature, column of the result).

    Returns:
        The labels' columns, the features, and `__event_<n>` and `__created_<n>` for each view n.
    """
    groups: dict[tuple[str, ...], list[int]] = {}
    for number, pinned in enumerate(views):
        groups.setdefault(tuple(column for _, column in pinned.label_keys), []).append(number)
    for columns, numbers in groups.items():
        labels = _joined_group(source, labels, columns, [(n, views[n], names[n]) for n in numbers])
    return labels


def _joined_group(
    source: FrameSource,
    labels: "DataFrame",
    columns: Sequence[str],
    group: Sequence[tuple[int, PinnedView, Sequence[tuple[str, str]]]],
) -> "DataFrame":
    from pyspark.sql import Window
    from pyspark.sql import functions as F

    key_columns = [column_of(f"__key_{name}") for name in columns]
    sides = [
        labels.select(
            *key_columns, F.col(TIME).alias(VISIBLE_AT), F.lit(True).alias(_IS_LABEL), F.struct("*").alias(_LABEL)
        )
    ]
    sides += [visible_rows(source(pinned.table), pinned, number) for number, pinned, _ in group]
    together = reduce(lambda one, other: one.unionByName(other, allowMissingColumns=True), sides)
    so_far = (
        Window.partitionBy(*key_columns)
        .orderBy(VISIBLE_AT, F.coalesce(_IS_LABEL, F.lit(False)))
        .rowsBetween(Window.unboundedPreceding, Window.currentRow)
    )
    best = [F.max(f"__row_{number}").over(so_far).alias(f"__row_{number}") for number, _, _ in group]
    labelled = together.select(_LABEL, _IS_LABEL, *best).where(_IS_LABEL)
    chosen = [column_of(_LABEL, name).alias(name) for name in labels.columns]
    for number, pinned, pairs in group:
        row = f"__row_{number}"
        fresh = column_of(row, "__event").isNotNull()
        if pinned.view.ttl is not None:
            oldest = column_of(_LABEL, TIME) - round(pinned.view.ttl.total_seconds() * 1_000_000)
            fresh = column_of(row, "__event") >= oldest
        kept = [*pairs, ("__event", f"__event_{number}")]
        kept += [("__created", f"__created_{number}")] if pinned.view.created_timestamp else []
        chosen += [F.when(fresh, column_of(row, name)).alias(column) for name, column in kept]
    return labelled.select(*chosen)


def visible_rows(table: "DataFrame", pinned: PinnedView, number: int) -> "DataFrame":
    """Usable rows of a view: keys as `__key_<name>`, `VISIBLE_AT`, and `__row_<number>`: the greatest counts."""
    from pyspark.sql import functions as F

    view = pinned.view
    moments = [F.unix_micros(column_of(view.event_timestamp)).alias("__event")]
    if view.created_timestamp:
        moments.append(F.unix_micros(column_of(view.created_timestamp)).alias("__created"))
    tie = (view.tie_break,) if view.tie_break else ()
    ordered = [column_of(name) for name in dict.fromkeys((*tie, *view.feature_names))]
    usable = " AND ".join(f"`{name}` IS NOT NULL" for name in (*view.keys, *view.time_columns))
    return table.where(usable).select(
        *(column_of(key).alias(f"__key_{name}") for key, name in pinned.label_keys),
        (F.greatest(*moments) if len(moments) > 1 else moments[0]).alias(VISIBLE_AT),
        F.struct(*moments, *ordered).alias(f"__row_{number}"),
    )


def column_of(*path: str) -> "Column":
    """A column, or a field of one, with its name quoted."""
    from pyspark.sql import functions as F

    return F.col(".".join(f"`{name.replace('`', '``')}`" for name in path))


def with_on_demand_frame(frame: "DataFrame", join: Join) -> "DataFrame":
    """The rows of a join with its on-demand features' columns.

    Raises:
        UsageError: a function needs a column that is missing, or returns something that does not fit.
    """
    from pyspark.sql.pandas.types import from_arrow_schema, to_arrow_schema

    schema = with_on_demand_schema(to_arrow_schema(frame.schema), join)
    wanted = join.on_demand_columns

    def computed(batches: "Iterable[pa.RecordBatch]") -> "Iterator[pa.RecordBatch]":
        for batch in batches:
            yield with_on_demand(batch, wanted)

    return frame.mapInArrow(computed, from_arrow_schema(schema))
