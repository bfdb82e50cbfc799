"""Write to a bronze table: its columns, the provenance that is added to each row, and counts of what was written."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from asgard.common.errors import RunError
from asgard.common.names import TableName
from asgard.common.spark_utils import explained
from asgard.ingest.columns import TableColumns
from asgard.ingest.files import printable
from asgard.ingest.own_columns import CORRUPT, INGESTED_AT, OWN, RAW, RUN_ID, SOURCE_FILE, SOURCE_ROW
from asgard.lakehouse.catalog.lake import identifier
from asgard.lakehouse.declaring.declaration import Table
from asgard.lakehouse.declaring.declared_columns import declared_schema
from asgard.lakehouse.declaring.schema_changes import quoted, type_sql
from asgard.lakehouse.runs.attempt import Attempt

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


def known_columns(attempt: Attempt, table: Table) -> TableColumns:
    """The columns that are declared for a table, then the other columns that it has.

    Raises:
        UsageError: the declared columns are not valid DDL.
    """
    types: dict[str, str] = {}
    undeclared: set[str] = set()
    session = attempt.session
    if table.columns is not None:
        types = {one.name: type_sql(one.dataType) for one in declared_schema(table).fields}
    if attempt.has(table.name):
        existing = session.table(identifier(table.name, attempt.branch)).schema
        spelled = {name.lower() for name in types}
        for one in existing.fields:
            name = table.renames.get(one.name, one.name)
            if name.lower() not in spelled and one.name not in OWN:
                types[name] = type_sql(one.dataType)
                undeclared.add(name)
    return TableColumns(types, table.renames, table.contract, frozenset(undeclared))


def with_provenance(rows: "DataFrame", attempt: Attempt) -> "DataFrame":
    """The rows with their ingestion time and run id; ingest's own columns come last."""
    from pyspark.sql import functions as F

    stamped = rows.withColumns({INGESTED_AT: F.lit(attempt.as_of), RUN_ID: F.lit(attempt.run_id)})
    return stamped.select(*(F.col(quoted(name)) for name in stamped.columns if name not in OWN), *OWN)


@dataclass(frozen=True)
class Count:
    """Counts of what was written from one source.

    Attributes:
        last_row: the greatest row number; None where rows have none.
        misfits: rows with a text in `_raw`.
        corrupt: records in `_corrupt`.
        stray: records in `_corrupt` with a lone carriage return.
    """

    rows: int = 0
    last_row: int | None = 0
    misfits: int = 0
    corrupt: int = 0
    stray: int = 0


def count_written(attempt: Attempt, table: TableName) -> dict[str, Count]:
    """What this run wrote to a bronze table, counted on its branch, by source."""
    from pyspark.sql import functions as F

    with explained(f"Counting what was written to {table}"):
        written = attempt.session.table(identifier(table, attempt.branch)).where(F.col(RUN_ID) == attempt.run_id)
        stray = F.count_if(F.col(CORRUPT).rlike(r"\r(?!\n)"))
        rows = (
            written.groupBy(SOURCE_FILE)
            .agg(F.count("*"), F.max(SOURCE_ROW), F.count_if(F.col(RAW).isNotNull()), F.count(CORRUPT), stray)
            .collect()
        )
    return {row[0]: Count(*row[1:]) for row in rows}


def never_read(attempt: Attempt, table: TableName) -> dict[str, str]:
    """The timestamp columns for which this run wrote no value, only texts in `_raw`; each with one of the texts."""
    from pyspark.sql import functions as F

    with explained(f"Counting what was written to {table}"):
        found = attempt.session.table(identifier(table, attempt.branch)).where(F.col(RUN_ID) == attempt.run_id)
        columns = [name for name, kind in found.dtypes if kind in ("timestamp", "timestamp_ntz") and name not in OWN]
        if not columns:
            return {}
        texts = (F.max(F.col(RAW)[name]) for name in columns)
        values = (F.count(quoted(name)) for name in columns)
        row = found.agg(*texts, *values).collect()[0]
    return {name: row[at] for at, name in enumerate(columns) if row[at] is not None and not row[at + len(columns)]}


def require_complete(counts: Mapping[str, Count]) -> None:
    """Compare the number of rows written from each file with the number of its last record.

    Raises:
        RunError: a record is missing or duplicated.
    """
    for name, count in counts.items():
        if count.rows != count.last_row:
            raise RunError(
                f"{printable(name)} has {count.last_row} records, but {count.rows} rows were written.",
                hint="Nothing was published. This is a defect: report it, with the branch's name.",
            )
