"""A table, or a view of one, at one exact published snapshot: its files, columns and facts. Nothing is copied."""

import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from asgard.common.errors import ContractError, ServiceError, UsageError
from asgard.common.names import SnapshotId, TableName
from asgard.common.settings import Settings
from asgard.features.types import is_key_type, is_scalar
from asgard.features.views import FeatureView
from asgard.lakehouse.catalog.files import TableState, spark_type
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.catalog.locations import local_path
from asgard.lakehouse.catalog.registrations import Registration
from asgard.lakehouse.catalog.snapshots import At

if TYPE_CHECKING:
    import pyarrow as pa


_NONE = -1
"""Nessie's snapshot id of a table that never had a snapshot."""


@dataclass(frozen=True)
class TableColumn:
    """One column of a pinned table: Iceberg's field id, its name and its type as Spark SQL says it."""

    id: int
    name: str
    type: str


@dataclass(frozen=True)
class PinnedTable:
    """A table at one published snapshot.

    Attributes:
        at: the commit that contains it.
        state: the content of its metadata file; it stays the same, whatever is published later.
        only: the files that count; None: all files.
    """

    name: TableName
    at: At
    metadata_location: str
    snapshot_id: SnapshotId
    state: TableState = field(hash=False, compare=False)
    only: frozenset[str] | None = None

    @classmethod
    def load(cls, lake: Lakehouse, table: TableName, at: At) -> "PinnedTable":
        """The table at a commit.

        Raises:
            UnknownTableError: it does not exist.
            ServiceError: its metadata can't be read.
        """
        content = lake.content(table, str(at))
        return cls.of(lake.settings, table, at, content.metadata_location, content.snapshot_id)

    @classmethod
    def of(
        cls, settings: Settings, table: TableName, at: At, metadata_location: str, snapshot_id: SnapshotId
    ) -> "PinnedTable":
        """The table at a known metadata file.

        Raises:
            UsageError: the snapshot was collected.
            ServiceError: its metadata can't be read.
        """
        with _not_collected(table, snapshot_id):
            state = TableState.load(metadata_location, settings)
        if (_NONE if state.snapshot_id is None else state.snapshot_id) != snapshot_id:
            raise UsageError(
                f"{table} has no snapshot {snapshot_id} in {metadata_location}: it was collected.",
                hint="Take a newer state; a hold protects a state from being collected.",
            )
        return cls(table, at, metadata_location, snapshot_id, state)

    @cached_property
    def columns(self) -> Mapping[str, TableColumn]:
        """Its columns by name."""
        fields = self.state.table.schema().fields
        return {each.name: TableColumn(each.field_id, each.name, spark_type(each.field_type)) for each in fields}

    @cached_property
    def files(self) -> tuple[str, ...]:
        """Its live data files, exactly those of the snapshot.

        Raises:
            ContractError: delete files remove rows of them, so that they can't be read directly.
            UsageError: the snapshot was collected.
        """
        if self.state.has_delete_files():
            raise ContractError(
                f"{self.name} has delete files: its Parquet files alone are not its rows.",
                hint="Write it copy-on-write, as Asgard's tables are, or compact it.",
            )
        with _not_collected(self.name, self.snapshot_id):
            paths = (file.path for file in self.state.live_files())
            return tuple(path for path in paths if self.only is None or path in self.only)

    def part(self, files: Collection[str]) -> "PinnedTable":
        """The same snapshot, restricted to some of its files."""
        return replace(self, only=frozenset(files))

    @property
    def is_local(self) -> bool:
        """Whether its files are on this machine."""
        return all(urlsplit(path).scheme in ("", "file") for path in self.files)

    def require_files(self) -> None:
        """Refuse a snapshot with missing files on this machine; files elsewhere are only checked when they are read.

        Raises:
            UsageError: the message names the first missing file.
        """
        gone = [path for path in self.files if not os.path.exists(local_path(path))] if self.is_local else []
        if gone:
            raise _collected(
                self.name, self.snapshot_id, f"{len(gone)} of its files are missing, the first is {gone[0]}"
            )

    @property
    def rows(self) -> int:
        """How many rows it has."""
        return int(self.state.summary("total-records") or 0)

    def batches(self, columns: tuple[str, ...]) -> "Iterator[pa.RecordBatch]":
        """Read its rows with PyIceberg, which supports any storage and any type, batch by batch.

        Raises:
            UsageError: the snapshot was collected.
        """
        from pyiceberg.io.pyarrow import ArrowScan

        try:
            scan = self.state.scan(columns)
            tasks = [task for task in scan.plan_files() if self.only is None or task.file.file_path in self.only]
            reader = ArrowScan(scan.table_metadata, scan.io, scan.projection(), scan.row_filter)
            yield from reader.to_record_batches(tasks)
        except FileNotFoundError as error:
            raise _collected(self.name, self.snapshot_id, str(error)) from error


@contextmanager
def _not_collected(table: TableName, snapshot: SnapshotId) -> Iterator[None]:
    try:
        yield
    except ServiceError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            raise _collected(table, snapshot, str(error.__cause__)) from error
        raise


def _collected(table: TableName, snapshot: SnapshotId, what: str) -> UsageError:
    return UsageError(
        f"Snapshot {snapshot} of {table} is missing or incomplete: {what}.",
        hint="Take a newer state: `asgard features apply` registers what is published. A hold protects a snapshot.",
    )


@dataclass(frozen=True)
class RowFacts:
    """Facts about a view's rows at one snapshot; they stay true, because a snapshot never changes.

    Attributes:
        rows: number of rows.
        entities: distinct keys.
        ties: rows whose keys and event timestamp another row has too.
        late: rows that were known only after their event timestamp.
        unusable: rows without a key, or without a timestamp.
        first, last: event timestamps, in microseconds since 1970.
    """

    rows: int
    entities: int
    ties: int
    late: int
    unusable: int
    first: int | None
    last: int | None

    @property
    def is_plain(self) -> bool:
        """Whether the latest row by event timestamp always counts: no ties, no late rows."""
        return self.ties == 0 and self.late == 0


@dataclass(frozen=True)
class PinnedView:
    """A view at one published snapshot of its table.

    Attributes:
        facts: None if nothing was measured: then ties and late rows are assumed.
        aliases: key -> column of the labels that names this view's entity, where the names differ.
    """

    view: FeatureView
    table: PinnedTable
    facts: RowFacts | None = None
    aliases: Mapping[str, str] = field(default_factory=dict, hash=False)

    @property
    def label_keys(self) -> tuple[tuple[str, str], ...]:
        """Each key, and the column of the labels that it is joined to."""
        return tuple((key, self.aliases.get(key, key)) for key in self.view.keys)

    @classmethod
    def registered(cls, lake: Lakehouse, registration: Registration) -> "PinnedView":
        """A view as it is registered."""
        view = FeatureView.from_json(registration.declared)
        at = At(registration.target, registration.commit)
        table = PinnedTable.of(lake.settings, view.table, at, registration.metadata_location, registration.snapshot_id)
        return cls(view, table, RowFacts(**registration.facts) if registration.facts else None)

    @property
    def name(self) -> str:
        """The view's name."""
        return self.view.name

    def describe(self) -> dict[str, Any]:
        """Its description in a manifest."""
        return {
            "view": self.view.name,
            "version": self.view.version,
            "table": str(self.table.name),
            "commit": self.table.at.commit,
            "snapshot_id": self.table.snapshot_id,
            "metadata_location": self.table.metadata_location,
            "rows": self.table.rows,
        }


def require_columns(view: FeatureView, table: PinnedTable) -> None:
    """Refuse a view that does not fit its table.

    Raises:
        ContractError: a column is missing, or of another type; the message names each.
    """
    problems = [f"column {name} is missing" for name in dict.fromkeys(view.columns) if name not in table.columns]
    for feature in view.features:
        column = table.columns.get(feature.name)
        if column is not None and column.type != feature.type:
            problems.append(f"feature {feature.name} is declared {feature.type}, the column is {column.type}")
    for name in view.time_columns:
        column = table.columns.get(name)
        if column is not None and column.type != "timestamp":
            problems.append(f"{name} is {column.type}, not a timestamp with time zone")
    for name in view.keys:
        column = table.columns.get(name)
        if column is not None and not is_key_type(column.type):
            problems.append(f"key {name} is {column.type}, which can't identify an entity")
    tie = table.columns.get(view.tie_break) if view.tie_break else None
    if tie is not None and not is_scalar(tie.type):
        problems.append(f"tie-break {tie.name} is {tie.type}, which has no order")
    if problems:
        raise ContractError(
            f"Feature view {view.name} does not fit {table.name}: {'; '.join(problems)}.",
            hint=f"The table has {', '.join(f'{each.name} {each.type}' for each in table.columns.values())}.",
        )
