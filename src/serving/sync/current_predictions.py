"""Which rows of a table of predictions count: what the newest run over all entities left, and what came since.

The table keeps what every run wrote. An entity that the newest run over all of them did not predict any more (a deleted
customer) has rows there still, of earlier runs; by time alone they would count for ever.
"""

from typing import TYPE_CHECKING

from asgard.features.joins import duck
from asgard.features.joins.duck import text
from asgard.features.pinned import PinnedTable
from asgard.features.views import FeatureView
from asgard.model.batch.scope import Scope, is_over_all, scope_columns
from asgard.model.batch.table import AS_OF, PREDICTED_AT, RUN, SNAPSHOT, VERSION

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_COLUMNS = (AS_OF, PREDICTED_AT, RUN, SNAPSHOT, VERSION)


def current_rows(connection: "DuckDBPyConnection", view: FeatureView, table: PinnedTable) -> str:
    """SQL of the rows that count at one snapshot, e.g. for a FROM clause, with all columns that the view reads.

    Raises:
        UsageError: files of the snapshot are gone.
    """
    source = duck.live_rows_of(connection, table, tuple(dict.fromkeys((*view.columns, *_deciding(table)))))
    return f"(SELECT * FROM {source} WHERE {_counts(connection, table, source, 'make_timestamptz')})"


def is_current(connection: "DuckDBPyConnection", table: PinnedTable) -> str:
    """Spark SQL of whether a row counts at one snapshot.

    Raises:
        UsageError: files of the snapshot are gone.
    """
    source = duck.live_rows_of(connection, table, _deciding(table))
    return _counts(connection, table, source, "timestamp_micros")


def _deciding(table: PinnedTable) -> tuple[str, ...]:
    """The columns that decide which rows count."""
    return (*_COLUMNS, *scope_columns(table.columns))


def _counts(connection: "DuckDBPyConnection", table: PinnedTable, source: str, moment_of: str) -> str:
    """SQL of whether a row counts; all do, while nothing was predicted for all entities.

    Args:
        connection: to look at the rows.
        table: whose rows they are.
        source: SQL of them.
        moment_of: the function that makes a timestamp of microseconds.
    """
    said = scope_columns(table.columns)
    newest = connection.execute(
        f"SELECT {RUN}, epoch_us({PREDICTED_AT}), epoch_us({AS_OF}), {', '.join(said)} FROM {source} "
        f"WHERE {is_over_all(table.columns)} ORDER BY {PREDICTED_AT} DESC, {RUN} DESC LIMIT 1"
    ).fetchone()
    if newest is None:
        return "true"
    run, written, moment, *values = newest
    scope = Scope.of_row(dict(zip(said, values, strict=True)))
    same = f"{AS_OF} = {moment_of}({moment}) AND {PREDICTED_AT} <= {moment_of}({written})"
    own = _origins(connection, source, f"{RUN} = {text(run)}")
    if scope.completes and scope.challenger is not None and len(own) == 1:
        # All that the other of the two versions had to predict was predicted before.
        own += _origins(connection, source, f"{same} AND {VERSION} <> {text(own[0][0])}")[:1]
    listed = ", ".join(f"({text(version)}, {text(snapshot)})" for version, snapshot in own)
    return f"({PREDICTED_AT} > {moment_of}({written}) OR ({same} AND ({VERSION}, {SNAPSHOT}) IN ({listed})))"


def _origins(connection: "DuckDBPyConnection", source: str, condition: str) -> list[tuple[str, str]]:
    """Versions and their snapshots among some rows; the one that was written last first."""
    result = connection.execute(
        f"SELECT {VERSION}, {SNAPSHOT} FROM {source} WHERE {condition} "
        f"GROUP BY ALL ORDER BY max({PREDICTED_AT}) DESC, {VERSION}, {SNAPSHOT}"
    ).fetchall()
    return [(version, snapshot) for version, snapshot in result]
