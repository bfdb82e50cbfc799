"""The entities that a batch prediction is to predict: their keys, from a file, an object store or a table."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from asgard.common.errors import AsgardError, InputDataError, UsageError
from asgard.common.names import TableName
from asgard.common.settings import redact_url
from asgard.common.spark_utils import first_line
from asgard.features.joins.spark_join import column_of
from asgard.ingest.files import SourceFile, find_files, local_file
from asgard.ingest.fitting import text_as
from asgard.ingest.formats import Format, format_of
from asgard.ingest.small_files import SmallFile
from asgard.lakehouse.runs.attempt import Attempt

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import Column, DataFrame

SHOWN = 3
"""Number of entities named in a message; the others are only counted."""
_READABLE = (Format.PARQUET, Format.CSV, Format.TSV)


@dataclass(frozen=True)
class Entities:
    """Where the keys are read from.

    Attributes:
        source: a table's name; or the path or URL (`file:`, `s3://`, or any that Spark reads) of Parquet, CSV
            or TSV.
    """

    source: str

    @property
    def table(self) -> TableName | None:
        """The table, if the source names one; None for files."""
        is_file = format_of(self.source) is not None or "/" in self.source or Path(self.source).exists()
        if is_file or self.is_address:
            return None
        try:
            return TableName.parse(self.source)
        except UsageError:
            return None

    @property
    def is_address(self) -> bool:
        """Whether the source is a URL: `s3://...`, `file:/...`."""
        return len(urlsplit(self.source).scheme) > 1

    @property
    def is_on_s3(self) -> bool:
        """Whether the source is on S3, which is accessed by Asgard's own settings."""
        return urlsplit(self.source).scheme.lower() in ("s3", "s3a")

    @property
    def kind(self) -> Format | None:
        """Parquet, CSV or TSV, by the name's ending; None for anything else."""
        kind = format_of(self.source.rstrip("/"))
        return kind if kind in _READABLE else None

    @property
    def name(self) -> str:
        """The last part of the source, for messages."""
        if self.table is not None:
            return str(self.table)
        return PurePosixPath(urlsplit(self.source).path if self.is_address else self.source).name

    def require_there(self) -> None:
        """Refuse a source that can't be read, as far as that is known before Spark starts.

        Raises:
            UsageError: the file does not exist on this machine, or the source is neither a table nor Parquet, CSV or
                TSV.
        """
        if self.table is not None:
            return
        if self.kind is None:
            raise UsageError(
                f"--entities {redact_url(self.source)} is neither Parquet, CSV nor TSV, nor a table.",
                hint="A file's name must end in .parquet, .csv or .tsv; a table is named layer.name.",
            )
        if not self.is_address and not Path(self.source).exists():
            raise UsageError(f"There is no file {self.source}.", hint="Check the path of --entities.")


def entities_frame(attempt: Attempt, entities: Entities, types: Mapping[str, str]) -> "DataFrame":
    """Read the distinct keys, with their types.

    Args:
        attempt: the attempt whose session reads; a table is read at the attempt's base.
        entities: the source to read.
        types: Spark SQL type of each key.

    Raises:
        UsageError: the source can't be read, lacks a key or has no row, or some keys are null or of another type.
    """
    given = _given(attempt, entities, types)
    lacking = [key for key in types if key not in given.columns]
    if lacking:
        raise UsageError(
            f"{entities.name} lacks {', '.join(lacking)}.", hint=f"Entities are named by {', '.join(types)}."
        )
    read = _as_types(given, entities, types)
    _require_keys(read, entities, types)
    keys = read.select(*(column_of("is", key).alias(key) for key in types)).distinct()
    if keys.isEmpty():
        raise UsageError(f"{entities.name} names no entity.", hint="It has no rows.")
    return keys


@dataclass(frozen=True)
class UnknownEntities:
    """Requested entities without a row in any view: they are left out.

    Attributes:
        count: number of unknown entities.
        asked: number of all requested entities.
        first: keys of the first few unknown ones, in order.
    """

    count: int = 0
    asked: int = 0
    first: tuple[Mapping[str, Any], ...] = ()

    def __add__(self, other: "UnknownEntities") -> "UnknownEntities":
        """The sum of two disjoint sets."""
        return UnknownEntities(self.count + other.count, self.asked + other.asked, (*self.first, *other.first)[:SHOWN])

    def __str__(self) -> str:
        more = ", ..." if self.count > len(self.first) else ""
        return f"{self.count:,} of {self.asked:,} entities are unknown to every view: {_named(self.first)}{more}"

    @classmethod
    def of(cls, frame: "DataFrame", is_known: "Column", keys: Sequence[str]) -> "UnknownEntities":
        """Count unknown entities and name the first few.

        Args:
            frame: all requested entities.
            is_known: whether a row's entity is known.
            keys: columns that name an entity.
        """
        from pyspark.sql import functions as F

        asked, known = frame.agg(F.count(F.lit(1)), F.count_if(is_known)).collect()[0]
        if asked == known:
            return cls(0, asked)
        columns = [column_of(key) for key in keys]
        first = frame.where(~is_known).select(*columns).orderBy(*columns).limit(SHOWN).collect()
        return cls(asked - known, asked, tuple(row.asDict() for row in first))

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"count": self.count, "asked": self.asked, "first": [dict(each) for each in self.first]}


def _given(attempt: Attempt, entities: Entities, types: Mapping[str, str]) -> "DataFrame":
    """Read the rows, unconverted."""
    if entities.table is not None:
        return attempt.read(entities.table, pinned=True)  # the run may write this table
    if entities.kind is not None and entities.kind.is_delimited:
        return attempt.session.createDataFrame(_texts(attempt, entities, tuple(types)))
    if entities.is_on_s3:
        files = find_files([entities.source], entities.kind, attempt.lake.settings, attempt.say)
        return attempt.session.createDataFrame(_by_arrow(files, tuple(types)))
    with _read_in_words(entities):
        return attempt.session.read.format(str(entities.kind)).option("header", True).load(_where(entities))


def _where(entities: Entities) -> str:
    """The URL at which Spark reads the files."""
    return entities.source if entities.is_address else Path(entities.source).absolute().as_uri()


@contextmanager
def _read_in_words(entities: Entities) -> Iterator[None]:
    try:
        yield
    except UsageError:
        raise
    except Exception as error:  # errors of Spark, and of the library that reads the URL
        raise UsageError(
            f"{redact_url(entities.source)} can't be read: {first_line(error)}",
            hint="Does it exist, is it complete, and can this Spark reach it?",
        ) from error


def _texts(attempt: Attempt, entities: Entities, keys: Sequence[str]) -> "pa.Table":
    """The keys of CSV or TSV files as texts, read on this machine in the same way as ingest reads such files."""

    with TemporaryDirectory(prefix="asgard-") as folder:
        source, kind = entities.source, entities.kind or Format.CSV
        if entities.is_address and urlsplit(source).scheme.lower() not in ("s3", "s3a", "file"):
            files: Sequence[SourceFile] = _fetched(attempt, entities, Path(folder))
        else:
            if urlsplit(source).scheme.lower() == "file":
                source = unquote(urlsplit(source).path)
            try:
                files = find_files([source], kind, attempt.lake.settings, attempt.say)
            except InputDataError as error:
                raise UsageError(f"{entities.name} can't be read: {error.message}", hint=error.hint) from error
        parts = [
            table.select([key for key in keys if key in table.column_names])
            for file in files
            for table in _tables(file, kind, PurePosixPath(file.name).name)
        ]
    return _together(parts)


def _tables(file: SourceFile, kind: Format, name: str) -> "Iterator[pa.Table]":
    """The records of one file; an empty table with its columns if it has none."""
    import pyarrow as pa

    small = SmallFile.open(file, kind, name)
    yield pa.table({column: pa.array([], pa.string()) for column in small.columns})
    yield from small.tables()


def _fetched(attempt: Attempt, entities: Entities, folder: Path) -> list[SourceFile]:
    """Copy files to this machine from a URL that Spark can read."""
    files = []
    with _read_in_words(entities):
        binaries = attempt.session.read.format("binaryFile").load(_where(entities)).select("path", "content")
        for place, row in enumerate(binaries.orderBy("path").toLocalIterator()):
            (folder / str(place)).write_bytes(row["content"])
            files.append(replace(local_file(str(folder / str(place))), name=row["path"]))
    return files


def _by_arrow(files: Sequence[SourceFile], keys: Sequence[str]) -> "pa.Table":
    """The keys of Parquet files that Spark can't reach, read on this machine."""
    import pyarrow as pa
    from pyarrow import parquet as pq

    parts = []
    for file in files:
        try:
            with file.open() as stream:
                part = pq.read_table(pa.BufferReader(stream.read()))
        except (pa.ArrowException, OSError) as error:
            raise UsageError(
                f"{file.name} can't be read: {str(error).splitlines()[0]}", hint="Is it complete?"
            ) from error
        parts.append(part.select([key for key in keys if key in part.column_names]))
    return _together(parts)


def _together(parts: "Sequence[pa.Table]") -> "pa.Table":
    """Combine the parts into one table without empty batches, because Spark stops reading at an empty batch."""
    import pyarrow as pa

    table = pa.concat_tables(parts, promote_options="permissive")
    return pa.Table.from_batches([batch for batch in table.to_batches() if batch.num_rows], table.schema)


def _as_types(given: "DataFrame", entities: Entities, types: Mapping[str, str]) -> "DataFrame":
    """Rows of two structs: `was`, the given keys, and `is`, the keys cast to their types, null where that fails."""
    from pyspark.errors import AnalysisException
    from pyspark.sql import functions as F

    was = F.struct(*(column_of(key) for key in types)).alias("was")
    kinds = dict(given.dtypes)

    def read(key: str, kind: str) -> "Column":
        return text_as(column_of(key), kind) if kinds[key] == "string" else column_of(key).try_cast(kind)

    now = F.struct(*(read(key, kind).alias(key) for key, kind in types.items())).alias("is")
    try:
        return given.select(was, now)
    except AnalysisException as error:
        raise UsageError(
            f"Keys of {entities.name} are {', '.join(f'{key} {kinds[key]}' for key in types)}, "
            f"and can't become {', '.join(f'{key} {kind}' for key, kind in types.items())}.",
            hint="Provide them in those types, or as text.",
        ) from error


def _require_keys(read: "DataFrame", entities: Entities, types: Mapping[str, str]) -> None:
    """Refuse keys that are null, or that the cast to their type would change (1.5 as a whole number)."""
    from functools import reduce

    from pyspark.sql import functions as F

    kinds = {field.name: field.dataType for field in read.schema["was"].dataType.fields}  # type: ignore[attr-defined]
    odd = []
    for key in types:
        was, now = column_of("was", key), column_of("is", key)
        odd.append(now.isNull())
        if kinds[key].typeName() != "string":
            odd.append(now.try_cast(kinds[key]) != was)
    wrong = read.where(reduce(lambda one, other: one | other, (F.coalesce(each, F.lit(True)) for each in odd)))
    try:
        first = [row["was"].asDict() for row in wrong.limit(SHOWN).collect()]
        if not first:
            return
        count, rows = wrong.count(), read.count()
    except AsgardError:
        raise
    except Exception as error:
        raise UsageError(f"{entities.name} can't be read: {first_line(error)}", hint="Is it complete?") from error
    more = ", ..." if count > len(first) else ""
    raise UsageError(
        f"{count:,} of {rows:,} keys of {entities.name} are not {', '.join(types.values())}: {_named(first)}{more}",
        hint=f"Entities are named by {', '.join(f'{key} {kind}' for key, kind in types.items())}.",
    )


def _named(keys: Sequence[Mapping[str, Any]]) -> str:
    """Entities as text: one key as its value, several keys with their names."""
    shown = []
    for each in keys:
        values = {name: "null" if value is None else str(value) or "''" for name, value in each.items()}
        alone = len(values) == 1
        shown.append(
            "".join(values.values()) if alone else f"({', '.join(f'{name} {text}' for name, text in values.items())})"
        )
    return ", ".join(shown)
