"""Parquet files as a DataFrame: read by Spark itself where it can, else staged and read by Python workers.

Here, Spark has no S3 client; it also skips file names that start with `_` or `.`, and can't read 16-bit floats. A
worker copies such a file to a temporary file, hashing it on the way, and reads the copy.
"""

import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import PurePath
from typing import TYPE_CHECKING

from asgard.common.errors import InputDataError
from asgard.ingest.files import SourceFile, printable, unreadable
from asgard.ingest.fitting import NANOSECONDS
from asgard.ingest.own_columns import CORRUPT, SOURCE_FILE, SOURCE_ROW
from asgard.ingest.signatures import what_it_is
from asgard.ingest.streams import verified
from asgard.ingest.workers import in_groups, on_workers
from asgard.lakehouse.declaring.schema_changes import quoted, type_sql

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow.parquet import ParquetSchema
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.types import DataType

_THREADS = 8
_BATCH_ROWS = 10_000
_ADDRESS = "address of the file"
_CONF = {
    "spark.sql.legacy.parquet.nanosAsLong": "true",  # Spark has no nanoseconds: they come as numbers
    "spark.sql.parquet.inferTimestampNTZ.enabled": "true",
}


@dataclass(frozen=True)
class Footer:
    """The footer of one Parquet file.

    Attributes:
        schema: its columns, without metadata.
        nanoseconds: the columns whose times are counted in nanoseconds, in 64 bits.
    """

    file: SourceFile
    schema: "pa.Schema"
    nanoseconds: frozenset[str]

    @property
    def own(self) -> tuple[str, ...]:
        """The file's own column names."""
        return tuple(self.schema.names)

    @property
    def needs_staging(self) -> bool:
        """Whether Spark can't read the file in place."""
        unknown = any(str(kind) == "halffloat" for one in self.schema for _, kind in _parts(one.type, one.name))
        return unknown or self.file.s3 is not None or PurePath(self.file.location).name.startswith(("_", "."))


def read_footers(files: Sequence[SourceFile]) -> list[Footer]:
    """The footer of each file.

    Raises:
        InputDataError: a file is not Parquet, or has columns that can't be read.
    """
    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(_read_footer, files))


def _read_footer(file: SourceFile) -> Footer:
    import pyarrow as pa
    from pyarrow import parquet

    filesystem = file.s3.open() if file.s3 else None
    try:
        with parquet.ParquetFile(file.location, filesystem=filesystem) as found:
            schema = found.schema
    except pa.ArrowException as error:
        raise InputDataError(
            f"{printable(file.name)} is not a readable Parquet file: {error}.", hint=_what_else(file)
        ) from error
    except OSError as error:
        raise unreadable(file.name, error) from error
    columns = schema.to_arrow_schema().remove_metadata()
    _require_readable(file, columns)
    return Footer(file, columns, _nanoseconds(schema, columns))


def _what_else(file: SourceFile) -> str:
    """The hint for a file that is not Parquet, by its first bytes."""
    head = next(file.chunks(), b"")
    found = None if head.startswith(b"PAR1") else what_it_is(head)
    if found:
        return f"Its first bytes are those of {found[0]}. {found[1]}"
    if head and b"\0" not in head and not head.startswith(b"PAR1"):
        return "It looks like text: say its format, e.g. --format csv."
    return "Was it cut off, is it something else, or is it gzipped? Parquet compresses by itself."


def _require_readable(file: SourceFile, columns: "pa.Schema") -> None:
    import pyarrow as pa

    found = [part for one in columns for part in _parts(one.type, one.name)]
    for path, kind in found:
        if pa.types.is_time(kind) or pa.types.is_duration(kind):
            raise InputDataError(
                f"{printable(file.name)}: column {path} is {kind}, a time of day or duration, which Spark can't read.",
                hint="Write it as text or as a number of microseconds.",
            )
    structs = [
        [kind.field(place).name for place in range(kind.num_fields)] for _, kind in found if pa.types.is_struct(kind)
    ]
    for names in ([one.name for one in columns], *structs):
        lower = [name.lower() for name in names]
        twice = sorted({name for name in lower if lower.count(name) > 1})
        if twice:
            raise InputDataError(
                f"{printable(file.name)} has columns whose names are equal or differ only in case: {', '.join(twice)}.",
                hint="Spark treats them as the same: rename them in the file.",
            )


def _parts(kind: "pa.DataType", path: str) -> "Iterator[tuple[str, pa.DataType]]":
    """A type and all types in it, each with its path."""
    import pyarrow as pa

    yield path, kind
    if pa.types.is_struct(kind):
        for place in range(kind.num_fields):
            yield from _parts(kind.field(place).type, f"{path}.{kind.field(place).name}")
    elif pa.types.is_map(kind):
        yield from _parts(kind.key_type, f"{path}.key")
        yield from _parts(kind.item_type, f"{path}.value")
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        yield from _parts(kind.value_type, f"{path}.element")


def _nanoseconds(schema: "ParquetSchema", columns: "pa.Schema") -> frozenset[str]:
    """The nanosecond columns that are stored in 64 bits; Spark reads the old 96-bit kind as a time."""
    import pyarrow as pa

    physical = {schema.column(place).path: schema.column(place).physical_type for place in range(len(schema))}
    return frozenset(
        one.name
        for one in columns
        if pa.types.is_timestamp(one.type) and one.type.unit == "ns" and physical.get(one.name) == "INT64"
    )


def parquet_rows(
    session: "SparkSession", footers: Sequence[Footer], names: Sequence[str]
) -> "tuple[DataFrame, dict[str, str]]":
    """The rows of files that have the same columns; either all of the files need staging or none does.

    Args:
        session: to read with; its configuration is changed for nanoseconds.
        footers: of the files.
        names: the table's names for their columns.

    Returns:
        The columns, `_corrupt` (null), `_source_file`, `_source_row` (1-based in the file); and the type of each
        column: Spark's short name, `nanoseconds`, or `void` where all values are null.
    """
    read = _staged if footers[0].needs_staging else _in_place
    rows = read(session, footers, names)
    types = {
        name: type_sql(_with_voids(one.type, rows.schema[name].dataType))
        for name, one in zip(names, footers[0].schema, strict=True)
    }
    spelled = dict(zip(footers[0].own, names, strict=True))
    return rows, types | {spelled[own]: NANOSECONDS for own in footers[0].nanoseconds}


def _with_voids(kind: "pa.DataType", read: "DataType") -> "DataType":
    """The type that Spark reads a column as, with `void` for parts that are always null: Spark gives int or text."""
    import pyarrow as pa
    from pyspark.sql.types import ArrayType, MapType, NullType, StructField, StructType

    if pa.types.is_null(kind):
        return NullType()
    if isinstance(kind, pa.BaseExtensionType):
        return read
    match read:
        case StructType():
            parts = zip(range(kind.num_fields), read.fields, strict=True)
            return StructType([StructField(f.name, _with_voids(kind.field(at).type, f.dataType)) for at, f in parts])
        case ArrayType():
            return ArrayType(_with_voids(kind.value_type, read.elementType))
        case MapType():
            key = _with_voids(kind.key_type, read.keyType)
            return MapType(key, _with_voids(kind.item_type, read.valueType))
        case _:
            return read


def _in_place(session: "SparkSession", footers: Sequence[Footer], names: Sequence[str]) -> "DataFrame":
    from pyspark.sql import functions as F

    for name, value in _CONF.items():
        session.conf.set(name, value)
    files = [footer.file for footer in footers]
    reader = session.read.option("__globPaths__", "false").option("recursiveFileLookup", "true")
    found = reader.parquet(*(file.location for file in files))
    rows = found.select(
        *(found[quoted(own)].alias(name) for own, name in zip(footers[0].own, names, strict=True)),
        F.lit(None).cast("string").alias(CORRUPT),
        F.lit(files[0].name).alias(SOURCE_FILE),
        (F.col("_metadata.row_index") + 1).alias(SOURCE_ROW),
        F.regexp_replace("_metadata.file_path", "^file:/+", "file:/").alias(_ADDRESS),
    )
    if len(files) == 1:
        return rows.drop(_ADDRESS)
    path = session._jvm.org.apache.hadoop.fs.Path  # type: ignore[union-attr]
    addresses = [(f"file:{path(file.location).toUri().toString()}", file.name) for file in files]
    by_address = session.createDataFrame(addresses, [_ADDRESS, SOURCE_FILE])
    named = rows.drop(SOURCE_FILE).join(F.broadcast(by_address), _ADDRESS, "left")
    return named.select(*(F.col(quoted(name)) for name in (*names, CORRUPT, SOURCE_FILE, SOURCE_ROW)))


def _staged(session: "SparkSession", footers: Sequence[Footer], names: Sequence[str]) -> "DataFrame":
    import pyarrow as pa
    from pyspark.sql.pandas.types import from_arrow_schema

    fields = [(f"c{place}", spark_type(one.type)) for place, one in enumerate(footers[0].schema)]
    own = [(CORRUPT, pa.string()), (SOURCE_FILE, pa.string()), (SOURCE_ROW, pa.int64())]
    schema = pa.schema([*fields, *own])
    groups = in_groups(session, [footer.file for footer in footers], lambda file: file.size)
    rows = on_workers(
        session,
        len(groups),
        partial(_read_staged, groups, schema),
        from_arrow_schema(schema, prefer_timestamp_ntz=True),
    )
    return rows.toDF(*names, CORRUPT, SOURCE_FILE, SOURCE_ROW)


def _read_staged(
    groups: Sequence[Sequence[SourceFile]], schema: "pa.Schema", number: int
) -> "Iterator[pa.RecordBatch]":
    import pyarrow as pa
    from pyarrow import parquet

    for file in groups[number]:
        with tempfile.NamedTemporaryFile(prefix="asgard-", suffix=".parquet") as staged:
            for piece in verified(file):
                staged.write(piece)
            staged.flush()
            row = 1
            with parquet.ParquetFile(staged.name, coerce_int96_timestamp_unit="us") as found:
                for batch in found.iter_batches(_BATCH_ROWS):
                    numbers = pa.array(range(row, row + batch.num_rows), pa.int64())
                    row += batch.num_rows
                    own = [pa.nulls(batch.num_rows, pa.string()), pa.repeat(pa.scalar(file.name), batch.num_rows)]
                    columns = [
                        column.cast(one.type)
                        for column, one in zip([*batch.columns, *own, numbers], schema, strict=True)
                    ]
                    yield pa.record_batch(columns, schema=schema)


def spark_type(kind: "pa.DataType") -> "pa.DataType":
    """The Arrow type that Spark accepts for values of another Arrow type; the same as Spark's own reader gives."""
    import pyarrow as pa

    whole = {
        pa.uint8(): pa.int16(),
        pa.uint16(): pa.int32(),
        pa.uint32(): pa.int64(),
        pa.uint64(): pa.decimal128(20, 0),
    }
    if kind in whole:
        return whole[kind]
    if pa.types.is_timestamp(kind):
        return pa.int64() if kind.unit == "ns" else pa.timestamp("us", "UTC" if kind.tz else None)
    if pa.types.is_dictionary(kind):
        return spark_type(kind.value_type)
    if pa.types.is_struct(kind):
        return pa.struct(
            [(kind.field(place).name, spark_type(kind.field(place).type)) for place in range(kind.num_fields)]
        )
    if pa.types.is_map(kind):
        return pa.map_(spark_type(kind.key_type), spark_type(kind.item_type))
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return pa.list_(spark_type(kind.value_type))
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_null(kind):
        return pa.string()
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        return pa.binary()
    if pa.types.is_float16(kind):
        return pa.float32()
    return pa.date32() if pa.types.is_date(kind) else kind


def group_footers(
    footers: Sequence[Footer], names: Sequence[Sequence[str]]
) -> "list[tuple[Sequence[str], list[Footer]]]":
    """Group the footers of files that can be read together; each group has the table's names for its columns.

    Args:
        footers: of files.
        names: the table's names for the columns of each file.
    """
    groups: dict[tuple[object, ...], tuple[Sequence[str], list[Footer]]] = {}
    for footer, called in zip(footers, names, strict=True):
        key = (str(footer.schema), footer.nanoseconds, footer.needs_staging, *called)
        groups.setdefault(key, (called, []))[1].append(footer)
    return list(groups.values())
