"""The ledger of a bronze table: which files it contains, and how far a database table was read.

`ledger.bronze_<name>` is written by the run that writes the rows and published by the same commit, so the two never
disagree. The ledger is a read key: a run that relied on an old ledger can't publish.

| column | |
|---|---|
| kind | `file` or `jdbc`; `removed` for a file whose rows were taken out |
| source | the file's name as given, or the database table, without secrets |
| digest | SHA-256 of the file's bytes; null for a database |
| bytes | size of the file; null for a database |
| rows | how many rows the table got from it, malformed ones included |
| cursor_column, cursor_value | how far an incremental read came; else null |
| ingested_at, run_id | when, and by which run |
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from asgard.common.errors import UsageError
from asgard.common.names import RunId, TableName, ledger_name
from asgard.ingest.cursor import latest
from asgard.ingest.files import SourceFile, printable
from asgard.lakehouse.catalog.files import TableState
from asgard.lakehouse.declaring.declaration import Table, declare_table
from asgard.lakehouse.runs.attempt import Attempt

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

_COLUMNS = (
    "kind string, source string, digest string, bytes bigint, rows bigint, cursor_column string, "
    "cursor_value string, ingested_at timestamp, run_id string"
)
_MAX_NAME = 56


@dataclass(frozen=True)
class LedgerEntry:
    """One row of the ledger."""

    kind: str
    source: str
    rows: int
    ingested_at: datetime
    run_id: RunId
    digest: str | None = None
    bytes: int | None = None
    cursor_column: str | None = None
    cursor_value: str | None = None


def ledger_table(bronze: TableName) -> Table:
    """The declaration of a bronze table's ledger.

    Raises:
        UsageError: the bronze table's name is too long for a ledger's name.
    """
    if len(bronze.name) > _MAX_NAME:
        raise UsageError(
            f"The name of {bronze} has {len(bronze.name)} characters.", hint=f"Use at most {_MAX_NAME} after the dot."
        )
    return declare_table(
        str(ledger_name(bronze)),
        columns=_COLUMNS,
        mode="append",
        description=f"What {bronze} was ingested from.",
    )


def without_landed(
    files: Sequence[SourceFile], entries: Mapping[str, LedgerEntry]
) -> tuple[tuple[SourceFile, ...], dict[str, str]]:
    """The files to ingest, and the reason for each file that is skipped.

    Args:
        files: hashed.
        entries: of the ledger, by digest.
    """
    fresh: dict[str, SourceFile] = {}
    skipped = {}
    for file in files:
        if file.digest in entries:
            entry = entries[file.digest]
            skipped[file.name] = (
                f"landed before, as {printable(entry.source)} at {entry.ingested_at:%Y-%m-%d %H:%M:%S} UTC "
                f"(run {entry.run_id})"
            )
        elif file.digest in fresh:
            skipped[file.name] = f"has the same content as {printable(fresh[file.digest].name)}"
        else:
            fresh[file.digest] = file
    return tuple(fresh.values()), skipped


def watermark(attempt: Attempt, ledger: Table, source: str, cursor: str) -> str | None:
    """How far a cursor column of a source was read, as of the attempt's base; None: it was never read.

    From here on the ledger is a read key: the attempt conflicts if the ledger changes before it publishes.
    """
    state = guarded(attempt, ledger.name)
    if state is None:
        return None
    rows = state.rows(("source", "cursor_column", "cursor_value"))
    mine = [row["cursor_value"] for row in rows if (row["source"], row["cursor_column"]) == (source, cursor)]
    return latest(value for value in mine if value is not None)


def guarded(attempt: Attempt, name: TableName) -> TableState | None:
    """A table's state at the attempt's base, as a read key; None if there is no such table. Needs no Spark."""
    if not attempt.has(name):
        return None
    content = attempt.lake.content(name, attempt.at_base)
    attempt.reads[name] = content
    attempt.read_keys.add(name)
    return TableState.load(content.metadata_location, attempt.lake.settings)


def entries_frame(attempt: Attempt, entries: Iterable[LedgerEntry]) -> "DataFrame":
    """Entries as rows of the ledger."""
    from dataclasses import astuple, fields

    names = [one.name for one in fields(LedgerEntry)]
    rows = [dict(zip(names, astuple(entry), strict=True)) for entry in entries]
    return attempt.session.createDataFrame(rows, _COLUMNS)
