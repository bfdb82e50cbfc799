"""The data files of a table at one snapshot, with the statistics that Iceberg keeps of them.

Read from the manifests by PyIceberg, on the driver, without a Spark job.
"""

import gzip
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from asgard.common.data_type import DataType
from asgard.common.errors import ServiceError
from asgard.common.names import SnapshotId
from asgard.common.settings import Settings
from asgard.validation.statistics import ColumnStatistics, FileStatistics

if TYPE_CHECKING:
    from pyiceberg.expressions import BooleanExpression
    from pyiceberg.io import FileIO
    from pyiceberg.manifest import DataFile, ManifestEntry
    from pyiceberg.schema import Schema
    from pyiceberg.table import DataScan, StaticTable
    from pyiceberg.table.metadata import TableMetadata
    from pyiceberg.types import IcebergType


_GZIP = b"\x1f\x8b"
_SPARK_TYPES = {"int": "int", "long": "bigint", "timestamptz": "timestamp", "timestamp": "timestamp_ntz"}


@dataclass(frozen=True)
class TableHead:
    """The little of a metadata file that needs no reading of its history.

    Attributes:
        snapshot_id: the current snapshot, or None for a table without one.
        properties: of the table.
    """

    snapshot_id: SnapshotId | None
    properties: Mapping[str, str]

    @classmethod
    def load(cls, metadata_location: str, settings: Settings) -> "TableHead":
        """Read a metadata file.

        Raises:
            ServiceError: it can't be read.
        """
        with _readable(f"The table metadata {metadata_location}"):
            with _file_io(metadata_location, settings).new_input(metadata_location).open() as stream:
                data = stream.read()
            metadata = json.loads(gzip.decompress(data) if data[:2] == _GZIP else data)
            current = metadata.get("current-snapshot-id") or -1
            return cls(SnapshotId(current) if current >= 0 else None, metadata.get("properties", {}))


@dataclass(frozen=True)
class TableState:
    """A table as one metadata file describes it: its current snapshot and that snapshot's files.

    Attributes:
        table: for its metadata; `scan` reads its rows.
    """

    table: "StaticTable"
    settings: Settings = field(repr=False)

    @classmethod
    def load(cls, metadata_location: str, settings: Settings) -> "TableState":
        """Read a metadata file.

        Raises:
            ServiceError: it can't be read.
        """
        from pyiceberg.serializers import FromInputFile

        with _readable(f"The table metadata {metadata_location}"):
            io = _file_io(metadata_location, settings)
            metadata = FromInputFile.table_metadata(io.new_input(metadata_location))
            return cls(_static_table(metadata_location, metadata, io), settings)

    @property
    def snapshot_id(self) -> SnapshotId | None:
        """The current snapshot, or None for a table without one."""
        snapshot = self.table.current_snapshot()
        return SnapshotId(snapshot.snapshot_id) if snapshot else None

    @property
    def snapshot_ids(self) -> frozenset[int]:
        """Every snapshot that this metadata lists."""
        return frozenset(snapshot.snapshot_id for snapshot in self.table.metadata.snapshots)

    def ancestors(self, snapshot: int) -> list[int]:
        """A snapshot and its ancestors, as far as this metadata lists them, oldest first."""
        parents = {each.snapshot_id: each.parent_snapshot_id for each in self.table.metadata.snapshots}
        chain: list[int] = []
        current: int | None = snapshot
        while current in parents:
            chain.append(current)
            current = parents[current]
        return chain[::-1]

    @property
    def properties(self) -> Mapping[str, str]:
        """Table properties."""
        return self.table.metadata.properties

    @property
    def location(self) -> str:
        """The table's folder."""
        return self.table.metadata.location

    @property
    def partitions(self) -> tuple[str, ...]:
        """The partition fields, as a declaration writes them: `day(at)`, `bucket(16, id)`, `region`."""
        schema = self.table.schema()
        return tuple(
            _partition(str(field.transform), schema.find_column_name(field.source_id) or "?")
            for field in self.table.spec().fields
        )

    @property
    def columns(self) -> dict[str, str]:
        """Top-level columns in order, with their Spark SQL types."""
        return {column.name: spark_type(column.field_type) for column in self.table.schema().fields}

    def summary(self, name: str) -> str | None:
        """One entry of the current snapshot's summary."""
        snapshot = self.table.current_snapshot()
        return snapshot.summary.additional_properties.get(name) if snapshot and snapshot.summary else None

    @property
    def summaries(self) -> dict[int, Mapping[str, str]]:
        """The summary of each snapshot that this metadata lists."""
        return {
            snapshot.snapshot_id: snapshot.summary.additional_properties if snapshot.summary else {}
            for snapshot in self.table.metadata.snapshots
        }

    def operation(self, snapshot_id: int) -> str:
        """What a listed snapshot did: `append`, `overwrite`, `delete`, or `replace` (the same rows in other files)."""
        snapshot = self.table.snapshot_by_id(snapshot_id)
        return str(snapshot.summary.operation.value) if snapshot and snapshot.summary else ""

    @property
    def updated_ms(self) -> int:
        """Time of the last change, by the clock of the machine that made it; milliseconds since 1970."""
        metadata = self.table.metadata
        return max([metadata.last_updated_ms, *(each.timestamp_ms for each in metadata.snapshots)])

    def has_delete_files(self) -> bool:
        """Whether some rows of the current snapshot's files are deleted by other files."""
        return int(self.summary("total-delete-files") or 0) > 0

    def row_count(self) -> int | None:
        """The exact number of rows in the current snapshot, without rows that delete files remove.

        Read from the snapshot's summary if possible; else counted by PyIceberg, which reads the files that have
        deletes. None if the snapshot has equality deletes, which PyIceberg can't read.

        Raises:
            ServiceError: its files can't be read.
        """
        if self.table.current_snapshot() is None:
            return 0
        total = self.summary("total-records")
        if total is not None and self.summary("total-delete-files") == "0":
            return int(total)
        if int(self.summary("total-equality-deletes") or 0) > 0:
            return None
        with _readable(f"The table in {self.location}"):
            return self.scan().count()

    def scan(self, columns: tuple[str, ...] = ("*",)) -> "DataScan":
        """PyIceberg's scan of some columns of the current snapshot."""
        from pyiceberg.io.pyarrow import PyArrowFileIO

        io = PyArrowFileIO(_io_properties(self.settings))
        table = _static_table(self.table.metadata_location, self.table.metadata, io)
        return table.scan(selected_fields=columns)

    def live_files(self, added_by: frozenset[int] | None = None) -> tuple[FileStatistics, ...]:
        """The data files of the current snapshot.

        Args:
            added_by: only files that one of these snapshots added.

        Raises:
            ServiceError: its manifests can't be read.
        """
        from pyiceberg.manifest import DataFileContent, ManifestContent

        snapshot = self.table.current_snapshot()
        if snapshot is None:
            return ()
        schema = self.table.schema()
        files = []
        with _readable(f"The list of files of {self.location}, snapshot {snapshot.snapshot_id},"):
            for manifest in snapshot.manifests(self.table.io):
                other = added_by is not None and manifest.added_snapshot_id not in added_by
                if manifest.content is not ManifestContent.DATA or other:
                    continue
                for entry in manifest.fetch_manifest_entry(self.table.io, discard_deleted=True):
                    other = added_by is not None and entry.snapshot_id not in added_by
                    if entry.data_file.content is DataFileContent.DATA and not other:
                        files.append(_statistics(entry.data_file, schema))
        return tuple(files)

    def live_entries(self) -> "Iterator[ManifestEntry]":
        """The data files and delete files of the current snapshot, as its manifests list them.

        Raises:
            ServiceError: its manifests can't be read.
        """
        snapshot = self.table.current_snapshot()
        if snapshot is None:
            return
        with _readable(f"The list of files of {self.location}, snapshot {snapshot.snapshot_id},"):
            for manifest in snapshot.manifests(self.table.io):
                yield from manifest.fetch_manifest_entry(self.table.io, discard_deleted=True)

    def entries_of(self, snapshot_id: int) -> "Iterator[ManifestEntry]":
        """What one snapshot added and removed, as its own manifests list it.

        Raises:
            ServiceError: its manifests can't be read.
        """
        snapshot = self.table.snapshot_by_id(snapshot_id)
        if snapshot is None:
            return
        with _readable(f"The list of files of {self.location}, snapshot {snapshot_id},"):
            for manifest in snapshot.manifests(self.table.io):
                if manifest.added_snapshot_id == snapshot_id:
                    entries = manifest.fetch_manifest_entry(self.table.io, discard_deleted=False)
                    yield from (each for each in entries if each.snapshot_id == snapshot_id)

    def rows(self, columns: tuple[str, ...], where: "BooleanExpression | None" = None) -> list[dict[str, Any]]:
        """Some columns of the rows of the current snapshot, read without Spark: for small tables.

        Raises:
            ServiceError: its files can't be read.
        """
        scan = self.scan(columns)
        with _readable(f"The table in {self.location}"):
            rows: list[dict[str, Any]] = (scan.filter(where) if where is not None else scan).to_arrow().to_pylist()
        return rows

    def rows_of(self, paths: Sequence[str], columns: tuple[str, ...]) -> list[dict[str, Any]]:
        """Some columns of the rows of some Parquet files, read without Spark: for small files without renamed columns.

        Raises:
            ServiceError: a file can't be read.
        """
        from pyarrow import parquet

        rows: list[dict[str, Any]] = []
        for path in paths:
            with _readable(path), self.table.io.new_input(path).open() as stream:
                rows += parquet.read_table(stream, columns=list(columns)).to_pylist()
        return rows

    def counts(self, columns: tuple[str, ...], where: "BooleanExpression") -> dict[tuple[Any, ...], int]:
        """How many rows of the current snapshot have which values of some columns; read in batches, without Spark.

        Raises:
            ServiceError: its files can't be read, or have deletes that PyIceberg can't apply.
        """
        import pyarrow

        counts: dict[tuple[Any, ...], int] = {}
        with _readable(f"The table in {self.location}"):
            for batch in self.scan(columns).filter(where).to_arrow_batch_reader():
                groups = pyarrow.Table.from_batches([batch]).group_by(list(columns)).aggregate([([], "count_all")])
                for row in groups.to_pylist():
                    values = tuple(row[column] for column in columns)
                    counts[values] = counts.get(values, 0) + row["count_all"]
        return counts


@contextmanager
def _readable(what: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # those of pyarrow and PyIceberg, and any by a damaged Avro file
        raise ServiceError(
            f"{what} can't be read: {error}", hint="Was a file removed, or are credentials for the warehouse missing?"
        ) from error


def spark_type(kind: "IcebergType") -> str:
    """The Spark SQL name of an Iceberg type; types inside a struct or map are not converted."""
    from pyiceberg.types import ListType

    if isinstance(kind, ListType):
        return str(DataType.array(DataType.parse(spark_type(kind.element_type))))
    plain = str(kind).replace(" ", "")
    return _SPARK_TYPES.get(plain, plain)


def _partition(transform: str, column: str) -> str:
    name, _, width = transform.rstrip("]").partition("[")
    if name == "identity":
        return column
    return f"{name}({width}, {column})" if width else f"{name}({column})"


def _static_table(metadata_location: str, metadata: "TableMetadata", io: "FileIO") -> "StaticTable":
    """A table without a catalog. No property of the table, which others may set, chooses how its files are read."""
    from pyiceberg.catalog.noop import NoopCatalog
    from pyiceberg.table import StaticTable

    return StaticTable(
        ("static-table", metadata_location), metadata, metadata_location, io, NoopCatalog("static-table")
    )


def _file_io(location: str, settings: Settings) -> "FileIO":
    from asgard.lakehouse.catalog.metadata_io import MetadataIO

    if MetadataIO.can_read(location):
        return MetadataIO(settings)
    from pyiceberg.io.pyarrow import PyArrowFileIO

    return PyArrowFileIO(_io_properties(settings))


def _io_properties(settings: Settings) -> dict[str, str]:
    properties = {}
    for name, secret in (
        ("s3.access-key-id", settings.aws_access_key_id),
        ("s3.secret-access-key", settings.aws_secret_access_key),
        ("s3.session-token", settings.aws_session_token),
    ):
        if secret is not None:
            properties[name] = secret.reveal()
    if settings.aws_region:
        properties["s3.region"] = settings.aws_region
    if settings.s3_endpoint:
        properties["s3.endpoint"] = settings.s3_endpoint
    return properties


def _statistics(file: "DataFile", schema: "Schema") -> FileStatistics:
    return FileStatistics(file.file_path, file.record_count, dict(_columns(file, schema)))


def _columns(file: "DataFile", schema: "Schema") -> Iterator[tuple[str, ColumnStatistics]]:
    nulls, nans = file.null_value_counts or {}, file.nan_value_counts or {}
    lower, upper = file.lower_bounds or {}, file.upper_bounds or {}
    for column in schema.fields:
        if not column.field_type.is_primitive or column.field_id not in nulls:
            continue
        number = column.field_id
        yield (
            column.name,
            ColumnStatistics(
                null_count=nulls[number],
                nan_count=nans.get(number),
                lower=_value(column.field_type, lower.get(number)),
                upper=_value(column.field_type, upper.get(number)),
                exact_bounds=_is_exact(column.field_type),
            ),
        )


def _is_exact(kind: Any) -> bool:
    """Whether a type's bounds are exact: Iceberg's default metrics mode cuts text and bytes at 16 characters."""
    from pyiceberg.types import BinaryType, FixedType, StringType

    return not isinstance(kind, StringType | BinaryType | FixedType)


def _value(kind: Any, data: bytes | None) -> Any:
    """A bound as a Python value; None if there is no Python value that a check can compare."""
    from pyiceberg.conversions import from_bytes
    from pyiceberg.types import DateType, DecimalType, TimestampType, TimestamptzType, TimeType, UUIDType
    from pyiceberg.utils.datetime import days_to_date, micros_to_timestamp, micros_to_timestamptz

    if data is None or isinstance(kind, TimeType | UUIDType):
        return None
    value: Any = from_bytes(kind, data)
    try:
        if isinstance(kind, DateType):
            return days_to_date(value)
        if isinstance(kind, TimestampType):
            return micros_to_timestamp(value)
        if isinstance(kind, TimestamptzType):
            return micros_to_timestamptz(value)
    except (OverflowError, ValueError):  # beyond Python's years 1 to 9999
        return None
    return Decimal(value) if isinstance(kind, DecimalType) else value
