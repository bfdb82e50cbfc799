"""Labels of a training set: entities and the times at which the model would have been asked."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from asgard.common.errors import UsageError
from asgard.common.names import TableName
from asgard.features.joins.duck import TIME, path_text, quoted, rows_of, text
from asgard.features.pinned import PinnedTable, PinnedView
from asgard.features.types import to_duckdb
from asgard.ingest.exact_numbers import SPACES
from asgard.ingest.files import local_file
from asgard.ingest.formats import Format
from asgard.ingest.inference import Guess
from asgard.ingest.small_files import SmallFile
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.catalog.snapshots import resolve

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_READERS = {
    "parquet": "read_parquet",
    "jsonl": "read_json",
    "ndjson": "read_json",
}
_DELIMITED = {"csv": Format.CSV, "tsv": Format.TSV}
_CLOCK = r"[0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:[.][0-9]+)?)? ?(Z|z|[+-][0-9]{2}(?::?[0-9]{2})?)?"
_ISO = rf"^\s*[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}(?:[T ]{_CLOCK})?\s*$"
_LONG_NUMBER = (
    r"-?(0|[1-9][0-9]{0,14}|(0|[1-9][0-9]*)(\.[0-9]+([eE][+-]?[0-9]+)?|[eE][+-]?[0-9]+))|NaN|nan|-?inf|-?Infinity"
)
"""A number with a fraction or an exponent of any length, or a whole number that a double always represents exactly."""
_INTERNAL = ("__asgard", "__key_", "__event_", "__created_")
"""Prefixes of the join's own columns."""
_INTEGERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "HUGEINT")
_FLOATS = ("FLOAT", "DOUBLE")
_TEXTS = "label_texts"
"""Temporary table with a file's texts, before they are converted to labels."""
_ROWS = "label_rows"
"""Temporary table with the labels as they were read."""


@dataclass(frozen=True)
class Labels:
    """Where labels are.

    Attributes:
        source: a Parquet, CSV, TSV or JSON-lines file (CSV, TSV and JSON lines also gzipped), or a table's name.
        time: the column with the moment of each label. A time without zone is taken as UTC.
        ref: for a table: branch, tag, commit or time to read at; None for the target ref.
    """

    source: str
    time: str = "event_timestamp"
    ref: str | None = None

    @property
    def table(self) -> TableName | None:
        """The table that `source` names; None for a file."""
        if (
            "/" in self.source
            or Path(self.source).suffix.lstrip(".") in (*_READERS, *_DELIMITED, "gz")
            or Path(self.source).exists()
        ):
            return None
        try:
            return TableName.parse(self.source)
        except UsageError:
            return None

    def pinned(self, lake: Lakehouse) -> PinnedTable | None:
        """The table, as the ref has it now; None for a file.

        Raises:
            UnknownTableError, UnknownReferenceError: it does not exist.
        """
        return PinnedTable.load(lake, self.table, resolve(lake, self.ref)) if self.table else None


def load_labels(
    connection: "DuckDBPyConnection", labels: Labels, table: PinnedTable | None, views: Sequence[PinnedView]
) -> tuple[str, tuple[str, ...]]:
    """Create a relation of labels that can be joined.

    Args:
        connection: to read with.
        labels: to read.
        table: the labels' table, if they are in one.
        views: that they will be joined with.

    Returns:
        The relation's name, and the labels' own columns. The relation has these columns (a time that was text is a
        timestamp), `TIME`, and each view's keys as `__key_<name>`, in the views' types.

    Raises:
        UsageError: a file or column is missing, times can't be read or mix zones, or keys have another type.
    """
    source = rows_of(connection, table, tuple(table.columns)) if table else _file_sql(connection, labels, views)
    prepared = prepare(connection, source, labels.source, labels.time, views)
    connection.execute(f"DROP TABLE IF EXISTS {_TEXTS}")
    return prepared


def prepare(
    connection: "DuckDBPyConnection", source: str, what: str, time: str, views: Sequence[PinnedView]
) -> tuple[str, tuple[str, ...]]:
    """Create the same relation from rows that the connection can read already; they are read once.

    Args:
        connection: to read with.
        source: SQL for a FROM clause.
        what: the source's name in messages.
        time: column with the labels' times.
        views: that they will be joined with.
    """
    import duckdb

    columns = _columns_of(connection, source)
    if time not in columns:
        raise UsageError(
            f"{what} has no time column {time!r}.", hint=f"Say --time-column; it has {', '.join(columns)}."
        )
    reserved = [name for name in columns if name.casefold().startswith(_INTERNAL)]
    if reserved:
        raise UsageError(
            f"{what} has columns {', '.join(reserved)}, which are names that the join uses itself.", hint="Rename them."
        )
    keys = _keys_of(views)
    lacking = [key for key in keys if key not in columns]
    if lacking:
        raise UsageError(
            f"{what} has no entity column {', '.join(map(repr, lacking))}.",
            hint=f"It has {', '.join(columns)}; rename the column that identifies the entity.",
        )
    kept = ", ".join(_kept(name, kind) for name, kind in columns.items())
    try:
        connection.execute(f"CREATE OR REPLACE TEMP TABLE {_ROWS} AS SELECT {kept} FROM {source}")
    except (duckdb.DataError, duckdb.InvalidInputException, duckdb.IOException) as error:
        raise _unreadable(what, error) from error
    moment = _moment(connection, what, time, columns[time])
    casts = ", ".join(
        f"{_key(connection, what, key, columns[key], kind)} AS {quoted(f'__key_{key}')}" for key, kind in keys.items()
    )
    shown = f" REPLACE (make_timestamptz({moment}) AS {quoted(time)})" if columns[time] == "VARCHAR" else ""
    connection.execute(
        f"CREATE OR REPLACE TEMP VIEW labels AS SELECT *{shown}, {moment} AS {TIME}, {casts} FROM {_ROWS}"
    )
    unusable = _count(connection, "labels", f"{TIME} IS NULL")
    if unusable:
        raise UsageError(
            f"{unusable:,} labels of {what} have no readable time in {time!r}.",
            hint="Fill it in, or drop these rows; times are ISO 8601, e.g. 2024-01-31T12:00:00Z.",
        )
    return "labels", tuple(columns)


def require_distinct(names: Iterable[str]) -> None:
    """Refuse columns with the same name, whatever their case: DuckDB would mistake one for the other.

    Raises:
        UsageError: the message names them.
    """
    given = [name.casefold() for name in names]
    twice = sorted({name for name in given if given.count(name) > 1})
    if twice:
        raise UsageError(
            f"The set would have more than one column {', '.join(twice)}.",
            hint="Ask for full names (view__feature); rename a label column that has a feature's name.",
        )


def _file_sql(connection: "DuckDBPyConnection", labels: Labels, views: Sequence[PinnedView]) -> str:
    """SQL that reads a file; columns whose type a reader would guess wrongly are read as text."""
    path = Path(labels.source)
    suffixes = [suffix.lstrip(".").lower() for suffix in path.suffixes if suffix.lower() != ".gz"]
    ending = suffixes[-1] if suffixes else ""
    if ending not in _READERS and ending not in _DELIMITED:
        raise UsageError(
            f"{labels.source!r} is neither a file of labels nor a table.",
            hint=f"Give a file that ends in {', '.join([*_DELIMITED, *_READERS])}, or a table: gold.churn_labels.",
        )
    if not path.exists():
        raise UsageError(f"There is no file {labels.source}.", hint="Check the path of --labels.")
    if ending in _DELIMITED:
        texts = {labels.time, *(key for key, kind in _keys_of(views).items() if kind == "string")}
        return typed_texts(connection, SmallFile.open(local_file(str(path)), _DELIMITED[ending], labels.source), texts)
    reader = _READERS[ending]
    options = {"read_json": ", sample_size = -1, format = 'newline_delimited'"}
    given = f"{path_text(str(path))}, hive_partitioning = false{options.get(reader, '')}"
    try:
        kinds = _columns_of(connection, f"{reader}({given})")
        # If the reader guessed the time's type, the zone in which it was written would be lost.
        if reader == "read_json" and kinds.get(labels.time, "").startswith(("TIME", "DATE")):
            given += f", columns = {_struct(kinds | {labels.time: 'VARCHAR'})}"
        _columns_of(connection, f"{reader}({given})")
    except Exception as error:
        raise _unreadable(labels.source, error) from error
    return f"{reader}({given})"


def typed_texts(connection: "DuckDBPyConnection", file: SmallFile, as_text: Collection[str]) -> str:
    """Read a file of texts into DuckDB; return SQL that gives its columns the types that ingest would infer.

    Numbers with more digits than a double can represent are doubles too, because models use doubles.

    Args:
        connection: to read with.
        file: to read.
        as_text: columns that stay text.
    """
    columns = ", ".join(f"{quoted(name)} VARCHAR" for name in file.columns)
    if not columns:
        raise UsageError(f"{file.name} is empty.", hint="Its first line names the columns.")
    connection.execute(f"CREATE OR REPLACE TEMP TABLE {_TEXTS} ({columns})")
    guesses = {name: Guess() for name in file.columns}
    for table in file.tables():
        for name, guess in guesses.items():
            guess.look(table.column(name))
        connection.register("label_batch", table)
        connection.execute(f"INSERT INTO {_TEXTS} SELECT * FROM label_batch")
        connection.unregister("label_batch")
    chosen = [
        quoted(name) if name in as_text else f"{_typed(connection, name, guess)} AS {quoted(name)}"
        for name, guess in guesses.items()
    ]
    return f"(SELECT {', '.join(chosen)} FROM {_TEXTS})"


def _typed(connection: "DuckDBPyConnection", name: str, guess: Guess) -> str:
    column = quoted(name)
    filled = f"nullif(trim({column}, {text(SPACES)}), '')"
    kind = {"boolean": "BOOLEAN", "bigint": "BIGINT", "double": "DOUBLE", "date": "DATE"}.get(guess.type)
    if guess.type == "timestamp":
        zoned = _count(
            connection, _TEXTS, f"regexp_matches({filled}, '(Z|[+-][0-9:]{{4,5}})$') AND length({filled}) > 10"
        )
        kind = "TIMESTAMPTZ" if zoned else "TIMESTAMP"
    if guess.type == "string" and guess.seen:
        others = _count(connection, _TEXTS, f"NOT regexp_full_match({filled}, {text(_LONG_NUMBER)})")
        kind = None if others else "DOUBLE"
    return f"CAST({filled} AS {kind})" if kind else column


def _struct(entries: Mapping[str, str]) -> str:
    return "{" + ", ".join(f"{text(name)}: {text(value)}" for name, value in entries.items()) + "}"


def _unreadable(what: str, error: Exception) -> UsageError:
    return UsageError(
        f"{what} can't be read: {str(error).splitlines()[0]}",
        hint="Does its ending match its format, and is it complete?",
    )


def _columns_of(connection: "DuckDBPyConnection", source: str) -> dict[str, str]:
    return {row[0]: row[1] for row in connection.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()}


def _keys_of(views: Sequence[PinnedView]) -> Mapping[str, str]:
    """The entity columns of all views, and their types in the tables."""
    keys: dict[str, str] = {}
    for pinned in views:
        for key, name in pinned.label_keys:
            kind = pinned.table.columns[key].type
            if keys.setdefault(name, kind) != kind:
                raise UsageError(
                    f"Entity column {name} is {keys[name]} in one view and {kind} in {pinned.name}.",
                    hint="Make two training sets, or cast it in one of the tables.",
                )
    return keys


def _moment(connection: "DuckDBPyConnection", what: str, time: str, kind: str) -> str:
    """SQL of a label's time in microseconds."""
    column = quoted(time)
    if kind.startswith(("TIMESTAMP", "DATE")):
        has_zone = kind.startswith("TIMESTAMPTZ") or kind == "TIMESTAMP WITH TIME ZONE"
        return f"epoch_us({column})" if has_zone else f"epoch_us({column}::TIMESTAMP)"
    if kind != "VARCHAR":
        raise UsageError(f"{time!r} of {what} is {kind}, not a time.", hint="Say --time-column, or write ISO 8601.")
    result = connection.execute(
        f"SELECT DISTINCT regexp_extract({column}, {text(_ISO)}, 1) FROM {_ROWS} "
        f"WHERE regexp_matches({column}, {text(_ISO)}) LIMIT 9"
    ).fetchall()
    zones = sorted(row[0] for row in result)
    if len(zones) > 1:
        raise UsageError(
            f"{time!r} of {what} mixes time zones: {', '.join(zone or 'none' for zone in zones)}.",
            hint="Write all of them in UTC, e.g. 2024-01-31T12:00:00Z.",
        )
    target = "TIMESTAMP" if zones in ([], [""]) else "TIMESTAMP WITH TIME ZONE"
    # DuckDB would ignore anything else, such as the name of a zone.
    return f"CASE WHEN regexp_matches({column}, {text(_ISO)}) THEN epoch_us(try_cast(trim({column}) AS {target})) END"


def _kept(name: str, kind: str) -> str:
    """A label's own column; times in nanoseconds are cut to microseconds, as Spark and Iceberg have no nanoseconds."""
    column = quoted(name)
    if not kind.endswith("_NS"):
        return column
    make = "make_timestamptz" if kind.startswith("TIMESTAMPTZ") else "make_timestamp"
    return f"{make}({_micros_of_nanos(column)}) AS {column}"


def _micros_of_nanos(column: str) -> str:
    """SQL that cuts nanoseconds to microseconds: rounding up would move a time into the future."""
    nanos = f"epoch_ns({column})"
    return f"(({nanos} - (({nanos} % 1000 + 1000) % 1000)) // 1000)"


def _key(connection: "DuckDBPyConnection", what: str, key: str, kind: str, wanted: str) -> str:
    """SQL of an entity column in the views' type; numbers fit numbers if no value changes."""
    column, target = quoted(key), to_duckdb(wanted)
    if kind == target:
        return column
    if kind in (*_INTEGERS, *_FLOATS) and target in _INTEGERS:
        cast = f"try_cast({column} AS {target})"
        lost = _count(connection, _ROWS, f"{column} IS NOT NULL AND {cast} IS DISTINCT FROM {column}")
        if not lost:
            return cast
    raise UsageError(
        f"Entity column {key!r} of {what} is {kind}, but in the views it is {target}.",
        hint=f"Write it as {wanted}.",
    )


def _count(connection: "DuckDBPyConnection", source: str, condition: str) -> int:
    row = connection.execute(f"SELECT count(*) FROM {source} WHERE {condition}").fetchall()[0]
    return int(row[0])
