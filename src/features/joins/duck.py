"""The point-in-time join on one machine: DuckDB's ASOF join over the live Parquet files, within a memory limit.

For each label, one row of each view counts: the latest by event timestamp that is not after the label's time, known by
then (created timestamp), and not older than the ttl. Among rows with the same event timestamp, it is the one created
last, then the one with the greatest tie-break column, then with the greatest features in order.
"""

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from asgard.common.data_type import DataType
from asgard.common.errors import EnvironmentSetupError, UsageError, installing
from asgard.common.settings import Settings
from asgard.features.pinned import PinnedTable, PinnedView, RowFacts
from asgard.features.types import is_feature_type, is_scalar, to_arrow, to_duckdb
from asgard.features.views import FeatureView
from asgard.lakehouse.catalog.locations import local_path

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

SqlSource = Callable[[PinnedTable, Sequence[str]], str]
TIME = "__asgard_time"
"""Column of the labels: their time in microseconds since 1970."""


@contextmanager
def connect(settings: Settings) -> "Iterator[DuckDBPyConnection]":
    """An in-process DuckDB, which spills to disk when it exceeds its memory limit.

    Raises:
        EnvironmentSetupError: DuckDB is not installed, or its memory is too small even with the disk.
    """
    try:
        import duckdb
    except ImportError as error:
        raise EnvironmentSetupError(
            "Point-in-time joins on one machine need DuckDB.", hint=installing("features")
        ) from error
    with tempfile.TemporaryDirectory(prefix="asgard-duckdb-") as folder:
        config = {
            "memory_limit": f"{settings.duckdb_memory}iB",
            "temp_directory": folder,
            "threads": str(os.cpu_count() or 1),
            "TimeZone": "UTC",
            "preserve_insertion_order": "false",
            "autoinstall_known_extensions": "false",
        }
        connection = duckdb.connect()
        try:
            for name, value in config.items():
                connection.execute(f"SET {name} = {text(value)}")
            yield connection
        except duckdb.OutOfMemoryException as error:
            raise EnvironmentSetupError(
                f"DuckDB needs more than its {settings.duckdb_memory} of memory: {str(error).splitlines()[0]}",
                hint="Raise duckdb_memory, or join on Spark.",
            ) from error
        finally:
            connection.close()


def quoted(name: str) -> str:
    """A name, quoted and escaped for DuckDB's SQL."""
    return '"' + name.replace('"', '""') + '"'


def text(value: str) -> str:
    """A text as a literal for DuckDB's SQL."""
    return "'" + value.replace("'", "''") + "'"


def path_text(path: str, inside: str = "") -> str:
    """A file's path, or a pattern of files inside a folder, for DuckDB's readers; wildcards in the path are escaped."""
    escaped = "".join(f"[{letter}]" if letter in "[*?" else letter for letter in path)
    return text(f"{escaped}/{inside}" if inside else escaped)


def rows_of(connection: "DuckDBPyConnection", table: PinnedTable, columns: Sequence[str]) -> str:
    """SQL for some columns of a table's rows, e.g. for a FROM clause.

    Local Parquet files are read in place, by field id, so that a file older than a rename or a widening gives the
    right values. Files and types that DuckDB can't read this way go through PyIceberg into a temporary table.

    Raises:
        UsageError: files of the snapshot are missing.
    """
    table.require_files()
    wanted = [table.columns[name] for name in columns]
    if table.files and table.is_local and all(is_scalar(column.type) for column in wanted):
        schema = ", ".join(
            f"{column.id}: {{name: {text(column.name)}, type: {text(to_duckdb(column.type))}, default_value: NULL}}"
            for column in wanted
        )
        files = ", ".join(path_text(local_path(path)) for path in table.files)
        return f"(SELECT {_listed(columns)} FROM read_parquet([{files}], schema = MAP {{{schema}}}))"
    return _loaded(connection, table, columns)


def live_rows_of(connection: "DuckDBPyConnection", table: PinnedTable, columns: Sequence[str]) -> str:
    """The same as `rows_of`, also for a table with delete files.

    Raises:
        UsageError: files of the snapshot are missing.
    """
    has_deletes = table.state.has_delete_files()
    return _loaded(connection, table, columns) if has_deletes else rows_of(connection, table, columns)


def _loaded(connection: "DuckDBPyConnection", table: PinnedTable, columns: Sequence[str]) -> str:
    import pyarrow as pa
    from pyiceberg.io.pyarrow import schema_to_pyarrow

    name = f"loaded_{table.name.layer}_{table.name.name}_{abs(hash((table.snapshot_id, table.only, tuple(columns))))}"
    others = schema_to_pyarrow(table.state.table.schema(), include_field_ids=False)
    kinds = {column: table.columns[column].type for column in columns}
    schema = pa.schema(
        [
            (column, to_arrow(kind) if is_feature_type(kind) else others.field(column).type)
            for column, kind in kinds.items()
        ]
    )
    failed: list[UsageError] = []

    def batches() -> "Iterator[pa.RecordBatch]":
        try:
            for batch in table.batches(tuple(columns)):
                yield batch.select(list(columns)).cast(schema)
        except UsageError as error:  # DuckDB would convert it to a text
            failed.append(error)
            raise

    connection.register("__asgard_incoming", pa.RecordBatchReader.from_batches(schema, batches()))
    try:
        connection.execute(f"CREATE OR REPLACE TEMP TABLE {quoted(name)} AS FROM __asgard_incoming")
    except Exception:
        if failed:
            raise failed[0] from None
        raise
    finally:
        connection.unregister("__asgard_incoming")
    return quoted(name)


def measure(connection: "DuckDBPyConnection", view: FeatureView, table: PinnedTable) -> RowFacts:
    """Measure facts about a view's rows: those that allow faster reads, and those that its owner should know."""
    keys = _listed(view.keys)
    source = rows_of(connection, table, tuple(dict.fromkeys((*view.keys, *view.time_columns))))
    late = "__created > __event" if view.created_timestamp else "false"
    counts = connection.execute(
        f"""
        WITH every AS (SELECT {keys}, {_moments(view)}, {is_usable(view)} AS __usable FROM {source}),
        found AS (
            SELECT {keys}, __event, count(*) AS __n, count(*) FILTER ({late}) AS __late
            FROM every WHERE __usable GROUP BY ALL
        )
        SELECT (SELECT count(*) FROM every), (SELECT count(DISTINCT ({keys})) FROM found),
            coalesce(sum(__n) FILTER (__n > 1), 0), coalesce(sum(__late), 0),
            (SELECT count(*) FROM every WHERE NOT __usable), min(__event), max(__event)
        FROM found
        """
    ).fetchall()[0]
    return RowFacts(*(None if value is None else int(value) for value in counts))  # type: ignore[arg-type]


def join_sql(
    source: SqlSource,
    labels: str,
    label_columns: Sequence[str],
    views: Sequence[PinnedView],
    names: Sequence[Sequence[tuple[str, str]]],
) -> str:
    """SQL of the point-in-time join.

    Args:
        source: SQL of a table's columns, e.g. `rows_of`.
        labels: relation with `label_columns`, the views' keys as `__key_<name>` and the time as `TIME`.
        label_columns: to keep.
        views: to join.
        names: for each view (feature, column of the result).

    Returns:
        A SELECT of `label_columns`, the features, and for each view n the times of the row that counted, in
        microseconds, as `__event_<n>` and `__created_<n>` (null if no row counted).
    """
    chosen, joins = [f"l.{quoted(name)}" for name in label_columns], []
    for number, (pinned, pairs) in enumerate(zip(views, names, strict=True)):
        view, row = pinned.view, f"v{number}"
        fresh = _is_fresh(view, row)
        chosen += [f"CASE WHEN {fresh} THEN {row}.{quoted(name)} END AS {quoted(column)}" for name, column in pairs]
        chosen.append(f"CASE WHEN {fresh} THEN {row}.__event END AS __event_{number}")
        if view.created_timestamp:
            chosen.append(f"CASE WHEN {fresh} THEN {row}.__created END AS __created_{number}")
        same = " AND ".join(f"l.{quoted(f'__key_{name}')} = {row}.{quoted(key)}" for key, name in pinned.label_keys)
        joins.append(
            f"ASOF LEFT JOIN {_candidates(source, pinned, [name for name, _ in pairs])} AS {row} "
            f"ON {same} AND l.{TIME} >= {row}.__visible"
        )
    return f"SELECT {', '.join(chosen)} FROM {labels} AS l {' '.join(joins)}"


def _candidates(source: SqlSource, pinned: PinnedView, features: Sequence[str]) -> str:
    """The rows that can count, at most one for each key and moment at which it became visible (`__visible`)."""
    view = pinned.view
    keys = _listed(view.keys)
    plain = pinned.facts is not None and pinned.facts.is_plain
    order = tie_order(view) if not plain else {}
    columns = tuple(dict.fromkeys((*view.keys, *view.time_columns, *features, *order)))
    found = source(pinned.table, columns)
    kept = _listed(dict.fromkeys((*features, *order)))
    visible = "greatest(__event, __created)" if view.created_timestamp and not plain else "__event"
    rows = f"(SELECT {keys}, {_moments(view)}, {kept} FROM {found} WHERE {is_usable(view)})"
    if plain:
        return f"(SELECT *, {visible} AS __visible FROM {rows})"
    moments = ["__event", *(["__created"] if view.created_timestamp else [])]
    ascending = ", ".join((*moments, *(f"{each} NULLS FIRST" for each in order.values())))
    ranked = (
        f"SELECT *, {visible} AS __visible, row_number() OVER (PARTITION BY {keys} ORDER BY {ascending}) AS __rank "
        f"FROM {rows}"
    )
    # A row that became visible after a better one never counts.
    best = f"max(__rank) OVER (PARTITION BY {keys} ORDER BY __visible RANGE UNBOUNDED PRECEDING)"
    return f"(SELECT * FROM ({ranked}) QUALIFY __rank = {best})"


def tie_order(view: FeatureView) -> dict[str, str]:
    """Columns that decide between rows of equal timestamps, each with SQL whose greater value counts."""
    declared = {view.tie_break: quoted(view.tie_break)} if view.tie_break else {}
    return declared | {each.name: _comparable(quoted(each.name), DataType.parse(each.type)) for each in view.features}


def _comparable(value: str, kind: DataType, depth: int = 0) -> str:
    """SQL of a value that sorts in Spark's order: a null inside an array comes first in Spark, last in DuckDB."""
    if kind.element is None:
        return value
    item = f"item_{depth}"
    inner = _comparable(item, kind.element, depth + 1)
    return f"list_transform({value}, lambda {item}: {{'known': {item} IS NOT NULL, 'value': {inner}}})"


def _moments(view: FeatureView) -> str:
    created = f", epoch_us({quoted(view.created_timestamp)}) AS __created" if view.created_timestamp else ""
    return f"epoch_us({quoted(view.event_timestamp)}) AS __event{created}"


def is_usable(view: FeatureView) -> str:
    """SQL of whether a row can count: it has its keys and its timestamps."""
    return " AND ".join(f"{quoted(name)} IS NOT NULL" for name in (*view.keys, *view.time_columns))


def _is_fresh(view: FeatureView, row: str) -> str:
    if view.ttl is None:
        return f"{row}.__event IS NOT NULL"
    return f"{row}.__event >= l.{TIME} - {round(view.ttl.total_seconds() * 1_000_000)}"


def _listed(names: Sequence[str] | dict[str, None]) -> str:
    return ", ".join(map(quoted, names))
