"""Which rows of a table of predictions are current: those of the latest run over all entities, and those since.

The table keeps the rows of every run. An entity that the latest run over all entities did not predict (a deleted
customer) still has rows of earlier runs; by time alone they would stay current for ever.
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
    """SQL of the rows that are current at one snapshot, e.g. for a FROM clause, with all columns that the view reads.

    Raises:
        UsageError: files of the snapshot are missing.
    """
    source = duck.live_rows_of(connection, table, tuple(dict.fromkeys((*view.columns, *_deciding(table)))))
    return f"(SELECT * FROM {source} WHERE {_counts(connection, table, source, 'make_timestamptz')})"


def is_current(connection: "DuckDBPyConnection", table: PinnedTable) -> str:
    """Spark SQL of whether a row is current at one snapshot.

    Raises:
        UsageError: files of the snapshot are missing.
    """
    source = duck.live_rows_of(connection, table, _deciding(table))
    return _counts(connection, table, source, "timestamp_micros")


def _deciding(table: PinnedTable) -> tuple[str, ...]:
    """The columns that decide which rows are current."""
    return (*_COLUMNS, *scope_columns(table.columns))


def _counts(connection: "DuckDBPyConnection", table: PinnedTable, source: str, moment_of: str) -> str:
    """SQL of whether a row is current; all rows are, until a run has predicted all entities.

    Args:
        connection: connection of DuckDB, to query the rows.
        table: the table of predictions.
        source: SQL of its rows.
        moment_of: SQL function that converts microseconds to a timestamp.
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
        # Earlier runs already predicted everything that the other of the two versions had to predict.
        own += _origins(connection, source, f"{same} AND {VERSION} <> {text(own[0][0])}")[:1]
    listed = ", ".join(f"({text(version)}, {text(snapshot)})" for version, snapshot in own)
    return f"({PREDICTED_AT} > {moment_of}({written}) OR ({same} AND ({VERSION}, {SNAPSHOT}) IN ({listed})))"


def _origins(connection: "DuckDBPyConnection", source: str, condition: str) -> list[tuple[str, str]]:
    """Versions and their snapshots among the rows of a condition; the one written last comes first."""
    result = connection.execute(
        f"SELECT {VERSION}, {SNAPSHOT} FROM {source} WHERE {condition} "
        f"GROUP BY ALL ORDER BY max({PREDICTED_AT}) DESC, {VERSION}, {SNAPSHOT}"
    ).fetchall()
    return [(version, snapshot) for version, snapshot in result]
