"""Which entities differ between published states of a view's table, and what their rows are; by DuckDB.

A snapshot's data files never change. So two states differ only in the files that one of them lacks, whatever happened
in between: appends, restatements, deletes, reverts. Rows that appear in the differing files of both states were only
moved (compaction, copy-on-write) and change no entity.

In a table of predictions, a new run can make rows of earlier runs obsolete without touching their files. So the states
of such tables are compared as a whole: the earlier row of each entity with its current row.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from asgard.features.joins import duck
from asgard.features.joins.duck import quoted
from asgard.features.pinned import PinnedTable, PinnedView
from asgard.features.views import FeatureView
from asgard.serving.sync.current_predictions import current_rows

if TYPE_CHECKING:
    import pyarrow as pa
    from duckdb import DuckDBPyConnection

EVENT = "__event"
"""Event timestamp in microseconds since 1970; null for an entity without a row."""
_BATCH_ROWS = 16_384


@dataclass(frozen=True)
class Changes:
    """The entities that a sync has to examine.

    Attributes:
        relation: name of the relation with their keys; None: all entities.
        entities: how many; None if they were not counted.
    """

    relation: str | None
    entities: int | None


EVERY = Changes(None, None)


def touched(
    connection: "DuckDBPyConnection", view: FeatureView, before: Sequence[PinnedTable], now: PinnedTable
) -> Changes:
    """Find the entities whose rows differ between any of the earlier states and now.

    Raises:
        UsageError: files of a snapshot are missing.
        ContractError: a snapshot has delete files.
    """
    keys = _listed(view.keys)
    parts = []
    for earlier in before:
        if view.model:
            then, today = (_best(view, _source(connection, view, table)) for table in (earlier, now))
            parts += [f"({then} EXCEPT ALL {today})", f"({today} EXCEPT ALL {then})"]
            continue
        old, new = set(earlier.files), set(now.files)
        gone = _rows(connection, earlier.part(old - new), view)
        come = _rows(connection, now.part(new - old), view)
        if gone and come:
            parts += [f"({gone} EXCEPT ALL {come})", f"({come} EXCEPT ALL {gone})"]
        else:
            parts += [f"({each})" for each in (gone, come) if each]
    if not parts:
        return Changes("touched", 0)
    together = " UNION ALL ".join(parts)
    usable = " AND ".join(f"{quoted(name)} IS NOT NULL" for name in view.keys)
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE touched AS SELECT DISTINCT {keys} FROM ({together}) WHERE {usable}"
    )
    counted = connection.execute("SELECT count(*) FROM touched").fetchall()[0][0]
    return Changes("touched", int(counted))


def rows(connection: "DuckDBPyConnection", pinned: PinnedView, changes: Changes) -> "Iterator[pa.RecordBatch]":
    """Read each entity's row: by latest event timestamp, then latest created timestamp, then greatest tie-break.

    Returns:
        Batches of the keys, `EVENT`, and the features; `EVENT` is null for an entity without a row.

    Raises:
        UsageError: files of the snapshot are missing.
    """
    if changes.entities == 0:
        return
    view, relation = pinned.view, changes.relation
    keys = _listed(view.keys)
    if pinned.table.state.has_delete_files() or pinned.table.files:
        wanted = f" SEMI JOIN {relation} USING ({keys})" if relation else ""
        best = _best(view, f"(SELECT * FROM {_source(connection, view, pinned.table)}{wanted})")
        sql = f"SELECT * FROM {relation} LEFT JOIN ({best}) USING ({keys})" if relation else best
    elif relation:
        sql = f"SELECT {keys}, NULL::BIGINT AS {EVENT} FROM {relation}"
    else:
        return
    reader: pa.RecordBatchReader = connection.sql(sql).to_arrow_reader(_BATCH_ROWS)
    yield from reader


def entities(connection: "DuckDBPyConnection", pinned: PinnedView) -> "Iterator[pa.RecordBatch]":
    """Read the keys of all entities that have a row, each once.

    Raises:
        UsageError: files of the snapshot are missing.
    """
    view = pinned.view
    if not (pinned.table.state.has_delete_files() or pinned.table.files):
        return
    source = _source(connection, view, pinned.table)
    entities = connection.sql(f"SELECT DISTINCT {_listed(view.keys)} FROM {source} WHERE {duck.is_usable(view)}")
    reader: pa.RecordBatchReader = entities.to_arrow_reader(_BATCH_ROWS)
    yield from reader


def _source(connection: "DuckDBPyConnection", view: FeatureView, table: PinnedTable) -> str:
    """SQL of the rows from which each entity's row is chosen."""
    if view.model:
        return current_rows(connection, view, table)
    columns = (*view.keys, *view.time_columns, *view.feature_names, *duck.tie_order(view))
    return duck.live_rows_of(connection, table, tuple(dict.fromkeys(columns)))


def _best(view: FeatureView, source: str) -> str:
    """SQL of each entity's row, chosen from the rows of `source`."""
    keys, features, order = _listed(view.keys), _listed(view.feature_names), duck.tie_order(view)
    event = f"epoch_us({quoted(view.event_timestamp)})"
    created = [f"{quoted(view.created_timestamp)} DESC"] if view.created_timestamp else []
    ranked = ", ".join([f"{event} DESC", *created, *(f"{each} DESC NULLS LAST" for each in order.values())])
    return (
        f"SELECT {keys}, {event} AS {EVENT}, {features} FROM {source} WHERE {duck.is_usable(view)} "
        f"QUALIFY row_number() OVER (PARTITION BY {keys} ORDER BY {ranked}) = 1"
    )


def _rows(connection: "DuckDBPyConnection", table: PinnedTable, view: FeatureView) -> str:
    """SQL of the columns that a view reads, from a table's files; "" if there are no files."""
    if not table.files:
        return ""
    return f"SELECT {_listed(view.columns)} FROM {duck.rows_of(connection, table, view.columns)}"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(quoted, names))
