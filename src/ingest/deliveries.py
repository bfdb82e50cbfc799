"""Deliveries: what a bronze table holds of each file, files that changed under a known name, and what was taken out.

The ledger only grows. An entry of kind `removed` says that the rows of an earlier entry with the same digest are gone
from the table; a file with these bytes lands again then.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from enum import StrEnum

from asgard.common.errors import InputDataError
from asgard.ingest.files import SourceFile, printable
from asgard.ingest.ledger import LedgerEntry, entries_frame, guarded
from asgard.ingest.own_columns import RUN_ID, SOURCE_FILE
from asgard.lakehouse.declaring.declaration import Table
from asgard.lakehouse.declaring.schema_changes import sql_text
from asgard.lakehouse.runs.attempt import Attempt
from asgard.lakehouse.runs.ledger_rows import REMOVED, standing_rows

_FILTERED = 500
"""Up to this many files are looked up by a filter; for more, the whole ledger is read."""
_COLUMNS = ("kind", "source", "digest", "rows", "ingested_at", "run_id")


class OnChanged(StrEnum):
    """What an ingest does with a file whose bytes differ from those that landed under its name."""

    KEEP = "keep"
    """Add its rows; the old ones stay."""
    REPLACE = "replace"
    """Add its rows, and take the old ones out in the same run."""
    REFUSE = "refuse"
    """Fail."""


def deliveries(attempt: Attempt, ledger: Table, files: Sequence[SourceFile] | None = None) -> list[LedgerEntry]:
    """The entries of files whose rows the table holds, as of the attempt's base, oldest first.

    From here on the ledger is a read key: the attempt conflicts if the ledger changes before it publishes.

    Args:
        attempt: that reads.
        ledger: of the bronze table.
        files: only entries with the name or the bytes of one of these; None for all.
    """
    from pyiceberg.expressions import In, Or

    state = guarded(attempt, ledger.name)
    if state is None or files == ():
        return []
    condition = None
    if files is not None and len(files) <= _FILTERED:
        names, digests = {file.name for file in files}, {file.digest for file in files}
        condition = Or(In("source", names), In("digest", digests))  # type: ignore[arg-type,call-arg]
    rows = (row for row in standing_rows(state.rows(_COLUMNS, condition)) if row["kind"] == "file")
    return [LedgerEntry(**row) for row in rows]


def changed_files(files: Sequence[SourceFile], known: Sequence[LedgerEntry]) -> dict[str, list[LedgerEntry]]:
    """The older deliveries of files that are about to land under a known name with other bytes, by that name."""
    arriving = {file.digest for file in files}
    names = {file.name for file in files}
    changed: dict[str, list[LedgerEntry]] = {}
    for entry in known:
        if entry.source in names and entry.digest not in arriving:
            changed.setdefault(entry.source, []).append(entry)
    return changed


def settle_changed(
    attempt: Attempt, table: Table, ledger: Table, changed: Mapping[str, Sequence[LedgerEntry]], policy: OnChanged
) -> None:
    """Name the files that changed under a known name, and do with their old rows what the policy says.

    Raises:
        InputDataError: the policy refuses them.
    """
    if changed and policy is OnChanged.REFUSE:
        raise InputDataError(
            f"{len(changed)} {'file' if len(changed) == 1 else 'files'} changed since they landed: "
            f"{'; '.join(_described(name, entries) for name, entries in sorted(changed.items()))}.",
            hint="Give --on-changed replace to take the old rows out, or --on-changed keep to have both.",
        )
    for name, entries in sorted(changed.items()):
        end = "the old rows stay beside the new ones; --on-changed replace takes them out"
        if policy is OnChanged.REPLACE:
            end = "the old rows are taken out"
        attempt.say(f"{_described(name, entries)}: {end}")
    if policy is OnChanged.REPLACE:
        take_out(attempt, table, ledger, [entry for entries in changed.values() for entry in entries])


def _rows_of(entry: LedgerEntry) -> str:
    """The SQL condition of a delivery's rows.

    The first half lets Iceberg skip files; the second is one that it can't answer from metadata alone, so the delete
    is a rewrite whose snapshot names its run.
    """
    return f"({RUN_ID} = {sql_text(entry.run_id)} AND coalesce({SOURCE_FILE}, '') = {sql_text(entry.source)})"


def _described(name: str, entries: Sequence[LedgerEntry]) -> str:
    runs = ", ".join(f"{entry.rows:,} rows of run {entry.run_id}" for entry in entries)
    return f"{printable(name)} changed since it landed ({runs})"


def take_out(attempt: Attempt, table: Table, ledger: Table, entries: Sequence[LedgerEntry]) -> None:
    """Delete the rows of some deliveries, and note it in the ledger.

    Raises:
        AsgardError: Spark failed; the message says what to do.
    """
    if not entries:
        return
    attempt.delete(table, " OR ".join(_rows_of(entry) for entry in entries))
    ended = [replace(each, kind=REMOVED, ingested_at=attempt.as_of, run_id=attempt.run_id) for each in entries]
    attempt.write(ledger, entries_frame(attempt, ended))
