"""Parquet files as a DataFrame, with nanoseconds, renamed columns and row numbers seen to."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from asgard.common.errors import InputDataError
from asgard.lakehouse.sources.files import SourceFile, printable, unreadable
from asgard.lakehouse.sources.fitting import NANOSECONDS
from asgard.lakehouse.sources.own_columns import CORRUPT, SOURCE_FILE, SOURCE_ROW

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow.parquet import ParquetSchema
    from pyspark.sql import Column, DataFrame, SparkSession

_THREADS = 8
_CONF = {
    "spark.sql.legacy.parquet.nanosAsLong": "true",  # Spark has no nanoseconds: they come as numbers
    "spark.sql.parquet.inferTimestampNTZ.enabled": "true",
}


@dataclass(frozen=True)
class Footer:
    """What one Parquet file says of itself.

    Attributes:
        columns: name -> Arrow's type.
        nanoseconds: the columns whose times are counted in nanoseconds, in 64 bits.
        rows: their number.
    """

    file: SourceFile
    columns: Mapping[str, str]
    nanoseconds: frozenset[str]
    rows: int


def read_footers(files: Sequence[SourceFile]) -> list[Footer]:
    """The footer of each file.

    Raises:
        InputDataError: one is no Parquet, or has columns that can't be read.
    """
    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(_read_footer, files))


def _read_footer(file: SourceFile) -> Footer:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(file.location) as found:
            schema, rows = found.schema, found.metadata.num_rows
    except pa.ArrowException as error:
        raise InputDataError(
            f"{printable(file.name)} is no Parquet file that can be read: {error}.",
            hint="Was it cut off, is it something else, or is it gzipped? Parquet compresses by itself.",
        ) from error
    except OSError as error:
        raise unreadable(file.name, error) from error
    columns = schema.to_arrow_schema()
    _require_readable(file, columns)
    return Footer(file, {one.name: str(one.type) for one in columns}, _nanoseconds(schema, columns), rows)


def _require_readable(file: SourceFile, columns: "pa.Schema") -> None:
    import pyarrow as pa

    for one in columns:
        if pa.types.is_time(one.type):
            raise InputDataError(
                f"{printable(file.name)}: column {one.name} is a time of day, which Spark can't read.",
                hint="Write it as text or as a number of microseconds.",
            )
    lower = [one.name.lower() for one in columns]
    twice = sorted({name for name in lower if lower.count(name) > 1})
    if twice:
        raise InputDataError(
            f"{printable(file.name)} has columns whose names differ in case only, or not at all: {', '.join(twice)}.",
            hint="Spark takes them for the same: rename them in the file.",
        )


def _nanoseconds(schema: "ParquetSchema", columns: "pa.Schema") -> frozenset[str]:
    """Of the columns in nanoseconds, those in 64 bits; the old 96-bit kind Spark reads as a time."""
    import pyarrow as pa

    physical = {schema.column(place).path: schema.column(place).physical_type for place in range(len(schema))}
    return frozenset(
        one.name
        for one in columns
        if pa.types.is_timestamp(one.type) and one.type.unit == "ns" and physical.get(one.name) == "INT64"
    )


def parquet_rows(
    session: "SparkSession", footers: Sequence[Footer], columns: Mapping[str, str]
) -> "tuple[DataFrame, dict[str, str]]":
    """The rows of files that have the same columns.

    Args:
        session: to read with; its configuration is changed for nanoseconds.
        footers: of the files.
        columns: a file's column -> the table's column.

    Returns:
        The table's columns as Spark reads them, `_corrupt` (null), `_source_file`, `_source_row` (1-based in the
        file); and the type of each column: Spark's short name, or `nanoseconds`.
    """
    from pyspark.sql import functions as F

    for name, value in _CONF.items():
        session.conf.set(name, value)
    files = [footer.file for footer in footers]
    reader = session.read.option("__globPaths__", "false").option("recursiveFileLookup", "true")
    found = reader.parquet(*(file.location for file in files))
    renamed = [found[_quoted(own)].alias(name) for own, name in columns.items()]
    rows = found.select(
        *renamed,
        F.lit(None).cast("string").alias(CORRUPT),
        _file_name(session, files).alias(SOURCE_FILE),
        (F.col("_metadata.row_index") + 1).alias(SOURCE_ROW),
    )
    nanoseconds = {columns[own] for footer in footers for own in footer.nanoseconds}
    types = {name: rows.schema[name].dataType.simpleString() for name in columns.values()}
    return rows, {name: NANOSECONDS if name in nanoseconds else kind for name, kind in types.items()}


def _file_name(session: "SparkSession", files: Sequence[SourceFile]) -> "Column":
    """The name of the file that a row came from, as the user gave it."""
    from pyspark.sql import functions as F

    if len(files) == 1:
        return F.lit(files[0].name)
    path = session._jvm.org.apache.hadoop.fs.Path  # type: ignore[union-attr]
    pairs = [F.lit(text) for file in files for text in (f"file:{path(file.location).toUri().toString()}", file.name)]
    return F.create_map(*pairs)[F.regexp_replace("_metadata.file_path", "^file:/+", "file:/")]


def _quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"
