"""Write rows into one table on a branch: create it, change its schema as declared, put the rows in.

All writes go to ``lake.layer.`name@branch` ``; nothing here uses the target ref.
"""

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, assert_never

from asgard.common.errors import ContractError, DeclarationError, InputDataError
from asgard.common.names import BranchName
from asgard.common.spark_utils import explained
from asgard.lakehouse.catalog.files import TableState
from asgard.lakehouse.catalog.lake import Lakehouse, identifier
from asgard.lakehouse.catalog.nessie import put_namespace
from asgard.lakehouse.declaring.alignment import aligned_frame
from asgard.lakehouse.declaring.declaration import PartitionField, Table, WriteMode
from asgard.lakehouse.declaring.declared_columns import in_declared_columns
from asgard.lakehouse.declaring.intervals import RangeSet, TimeRange
from asgard.lakehouse.declaring.periods import CADENCE_PROPERTY
from asgard.lakehouse.declaring.schema_changes import quoted, schema_changes, sql_text, type_sql
from asgard.lakehouse.declaring.stored_types import require_storable, stored_schema
from asgard.lakehouse.freshness.interval_state import INPUTS_PROPERTY, INTERVALS_PROPERTY
from asgard.lakehouse.runs.merging import changed_rows, repeated_keys, require_keys
from asgard.lakehouse.runs.own_commits import OwnCommits

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, DataFrameWriterV2, SparkSession
    from pyspark.sql.types import StructType

PIPELINE_PROPERTY = "asgard.pipeline"
"""Table property: the pipeline that published the table last. Without it, the next pipeline to publish gets it."""

_FIXED_PROPERTIES = {
    "format-version": "2",
    "write.parquet.compression-codec": "zstd",
    "write.parquet.row-group-size-bytes": str(8 << 20),  # one thread reads a row group, here and in DuckDB
    "write.delete.mode": "copy-on-write",
    "write.update.mode": "copy-on-write",
    "write.merge.mode": "copy-on-write",
    "write.metadata.metrics.max-inferred-column-defaults": "1000",
}


@dataclass(frozen=True)
class BranchTable:
    """One declared table on one branch, seen through one Spark session.

    Attributes:
        own: records each commit that changes only metadata; the seal counts them.
    """

    lake: Lakehouse
    session: "SparkSession"
    branch: BranchName
    table: Table
    provenance: Mapping[str, str] = field(default_factory=dict, hash=False)
    own: OwnCommits = field(default_factory=OwnCommits, hash=False)

    @property
    def sql_name(self) -> str:
        """How Spark SQL names it."""
        return identifier(self.table.name, self.branch)

    def write(self, frame: "DataFrame", interval: TimeRange | None) -> None:
        """Create or evolve the table, then write the rows in its mode.

        Raises:
            ContractError: the rows do not fit the table's contract.
            DeclarationError: the rows lack a column that the declaration names.
            AsgardError: Spark failed; the message explains why.
        """
        with explained(f"Writing {self.table.name}"):
            given = stored_schema(self.table, frame.schema)
            if self.table.columns is not None:
                frame = in_declared_columns(self.table, frame)
                given = stored_schema(self.table, frame.schema)
            if self.table.mode is WriteMode.MERGE:
                require_keys(self.table, given)
            content = self.lake.nessie.content(self.branch, self.table.name)
            if content is None:
                self._create(given)
            else:
                self._require_exact_partitions(TableState.load(content.metadata_location, self.lake.settings))
                given = self._evolve(given)
            self._put(aligned_frame(frame, given), interval)

    def set_properties(self, properties: Mapping[str, str]) -> None:
        """Set table properties in one commit; a property with an empty text is removed.

        Raises:
            AsgardError: Spark failed; the message explains why.
        """
        if not properties:
            return
        with explained(f"Setting the properties of {self.table.name}"):
            loader = self.session._jvm.org.apache.iceberg.spark.Spark3Util  # type: ignore[union-attr]
            update = loader.loadIcebergTable(self.session._jsparkSession, self.sql_name).updateProperties()
            for name, value in properties.items():
                if value:
                    update.set(name, value)
                else:
                    update.remove(name)
            update.commit()
            self.own.metadata[self.table.name] += 1

    def described(self, done: RangeSet, inputs: Mapping[str, int]) -> dict[str, str]:
        """The table properties for its declaration and this run; an empty text means that there is none."""
        table = self.table
        return {
            "comment": table.description,
            "asgard.owner": table.owner,
            **({PIPELINE_PROPERTY: table.pipeline} if table.pipeline else {}),
            "asgard.tags": ",".join(table.tags),
            "asgard.consumers": ",".join(table.consumers),
            "asgard.update-frequency": table.update_frequency,
            "asgard.retention": table.retention,
            "asgard.keys": ",".join(table.keys),
            CADENCE_PROPERTY: f"{table.interval.unit}({table.interval.column})" if table.interval else "",
            INTERVALS_PROPERTY: str(done),
            INPUTS_PROPERTY: json.dumps(inputs, sort_keys=True) if inputs else "",
        }

    def _create(self, schema: "StructType") -> None:
        layer, name = self.table.name.layer, self.table.name.name
        self._create_namespace(layer)
        for partition in self.table.partition_fields:
            if partition.column not in schema.names:
                raise DeclarationError(
                    f"{self.table.name} is partitioned by {partition.column!r}, which its rows lack.",
                    hint=f"Its columns are {', '.join(schema.names)}.",
                )
        for column in schema.fields:
            require_storable(self.table, (column.name,), column.dataType)
        columns = ", ".join(f"{quoted(column.name)} {type_sql(column.dataType)}" for column in schema.fields)
        fields = ", ".join(map(_partition_sql, self.table.partition_fields))
        location = f"{self.lake.settings.warehouse}/{layer}/{name}-{secrets.token_hex(4)}"
        properties = {**_FIXED_PROPERTIES, **self.table.properties}
        self._change_metadata(
            f"CREATE TABLE {self.sql_name} ({columns}) USING iceberg "
            f"{f'PARTITIONED BY ({fields}) ' if fields else ''}"
            f"LOCATION {sql_text(location)} "
            f"TBLPROPERTIES ({', '.join(f'{sql_text(key)} = {sql_text(value)}' for key, value in properties.items())})"
        )

    def _create_namespace(self, layer: str) -> None:
        nessie = self.lake.nessie
        if not nessie.has_namespace(self.branch, layer):
            head = nessie.head(self.branch)
            made = nessie.commit(self.branch, head, [put_namespace(layer)], f"create namespace {layer}")
            self.own.hashes.add(made)

    def _change_metadata(self, sql: str) -> None:
        """Run a statement that makes one commit, without a snapshot."""
        self.session.sql(sql)
        self.own.metadata[self.table.name] += 1

    def _require_exact_partitions(self, state: TableState) -> None:
        """Check the interval against the table's own partitions, which an older declaration may have made."""
        cadence = self.table.interval
        if cadence is None or self.table.mode is not WriteMode.OVERWRITE_INTERVAL:
            return
        if not any(cadence.is_exact_on(partition) for partition in state.partitions):
            raise ContractError(
                f"{self.table.name} is partitioned by {', '.join(state.partitions) or 'nothing'}, so its "
                f"{cadence.unit} intervals of {cadence.column!r} can't be overwritten exactly.",
                hint="Declare an interval that fits these partitions, or compute the table under a new name.",
            )

    def _evolve(self, schema: "StructType") -> "StructType":
        """Change the table so that it takes rows of a schema; returns the table's schema afterwards."""
        existing = self.session.table(self.sql_name).schema
        changes = schema_changes(self.table, existing, schema)
        for change in changes:
            self._change_metadata(change.sql(self.sql_name))
        return self.session.table(self.sql_name).schema if changes else existing

    def _put(self, frame: "DataFrame", interval: TimeRange | None) -> None:
        from pyspark.sql import functions as F

        match self.table.mode:
            case WriteMode.APPEND:
                self._writer(frame).append()
            case WriteMode.REPLACE:
                self._writer(frame).overwrite(F.lit(True))
            case WriteMode.OVERWRITE_INTERVAL:
                if self.table.interval is None or interval is None:
                    raise DeclarationError(
                        f"{self.table.name} is written interval by interval, but no interval was given.",
                        hint="Give the run a date range.",
                    )
                inside = within(self.table.interval.column, interval, frame.schema)
                self._writer(rows_of_interval(self.table, frame, interval)).overwrite(inside)
            case WriteMode.MERGE:
                self._merge(frame)
            case _:
                assert_never(self.table.mode)

    def _writer(self, frame: "DataFrame") -> "DataFrameWriterV2":
        """A writer whose snapshot carries the provenance, whichever session the rows come from."""
        writer = frame.writeTo(self.sql_name)
        for name, value in self.provenance.items():
            writer = writer.option(f"snapshot-property.{name}", value)
        return writer

    def _merge(self, frame: "DataFrame") -> None:
        """Update and insert by key; rows that would change nothing are skipped."""
        twice = repeated_keys(frame, self.table.keys)
        if twice:
            raise InputDataError(
                f"{self.table.name}: several rows of the batch have the same key, so a merge is ambiguous: "
                f"{'; '.join(map(str, twice))}.",
                hint="Drop the duplicates by a declared order before the merge.",
            )
        changed = changed_rows(frame, self.session.table(self.sql_name)).localCheckpoint()
        if changed.isEmpty():
            return
        view = f"merge_{secrets.token_hex(4)}"
        changed.createGlobalTempView(view)  # global: the rows may come from another session than the writes
        matched = " AND ".join(f"target.{quoted(key)} <=> source.{quoted(key)}" for key in self.table.keys)
        self.session.sql(
            f"MERGE INTO {self.sql_name} AS target USING global_temp.{view} AS source ON {matched} "
            "WHEN MATCHED THEN UPDATE SET * WHEN NOT MATCHED THEN INSERT *"
        )
        self.session.catalog.dropGlobalTempView(view)


def rows_of_interval(table: Table, frame: "DataFrame", interval: TimeRange) -> "DataFrame":
    """The rows that belong to an interval of a table, and those without a moment: the audit finds them.

    Raises:
        DeclarationError: the interval column is missing, or neither a timestamp nor a date.
    """
    from pyspark.sql import functions as F

    column = table.interval.column if table.interval else ""
    return frame.where(within(column, interval, frame.schema) | F.col(quoted(column)).isNull())


def within(column: str, interval: TimeRange, schema: "StructType") -> "Column":
    """The condition start <= column < end, in the column's own type, so that Iceberg can plan by it.

    Raises:
        DeclarationError: the column is missing, or neither a timestamp nor a date.
    """
    from pyspark.sql import functions as F

    kind = schema[column].dataType.typeName() if column in schema.names else "missing"
    start, end = interval.start, interval.end
    match kind:
        case "timestamp":
            low, high = F.lit(start), F.lit(end)
        case "timestamp_ntz":
            low, high = (F.lit(moment.isoformat(" ")[:26]).cast("timestamp_ntz") for moment in (start, end))
        case "date" if start == start.replace(hour=0) and end == end.replace(hour=0):
            low, high = F.lit(start.date()), F.lit(end.date())
        case _:
            raise DeclarationError(
                f"The interval column {column!r} is {kind}; it must be a timestamp, or a date for whole days.",
                hint=f"The columns are {', '.join(schema.names)}.",
            )
    value = F.col(quoted(column))
    return (value >= low) & (value < high)


def _partition_sql(field: PartitionField) -> str:
    column = quoted(field.column)
    if field.transform is None:
        return column
    return f"{field.transform}s({column})" if field.width is None else f"{field.transform}({field.width}, {column})"
