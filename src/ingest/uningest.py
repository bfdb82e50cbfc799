"""Take what was ingested out of a bronze table again: a file's rows, or all rows of a run."""

from collections.abc import Sequence
from dataclasses import dataclass

from asgard.common.aliases import Say
from asgard.common.errors import UsageError
from asgard.common.names import RunId, TableName
from asgard.ingest.deliveries import deliveries, take_out
from asgard.ingest.files import printable
from asgard.ingest.ledger import LedgerEntry, ledger_table
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.declaring.declaration import Table
from asgard.lakehouse.runs.attempt import Attempt
from asgard.lakehouse.runs.run import RunRequest, RunResult, execute

_SHOWN = 5


@dataclass(frozen=True)
class Uningested:
    """How the run ended, and the deliveries that it took out."""

    run: RunResult
    entries: tuple[LedgerEntry, ...]


def uningest(
    lake: Lakehouse, table: Table, what: str, say: Say, *, run_id: RunId | None = None, take_over: bool = False
) -> Uningested:
    """Take deliveries out of a bronze table, as one run.

    Args:
        lake: whose table.
        table: bronze.
        what: a file as the ledger names it, the end of such a name, or the id of an ingest's run.
        say: called with one line about each step.
        run_id: of this run; None for a new one.
        take_over: also of a table that another pipeline filled.

    Raises:
        UsageError: the table holds nothing of that name.
        AsgardError: the run failed; nothing was published.
    """
    lake.content(table.name, lake.target)
    found: list[LedgerEntry] = []

    def work(attempt: Attempt) -> None:
        ledger = ledger_table(table.name)
        found[:] = _chosen(table.name, deliveries(attempt, ledger), what)
        for entry in found:
            say(f"taking out {entry.rows:,} rows of {printable(entry.source)} (run {entry.run_id})")
        take_out(attempt, table, ledger, found)
        attempt.details["uningested"] = [{"path": each.source, "rows": each.rows, "run": each.run_id} for each in found]

    request = RunRequest("uningest", run_id, {"table": str(table.name), "what": what}, take_over=take_over)
    return Uningested(execute(lake, request, work, say), tuple(found))


def _chosen(table: TableName, entries: Sequence[LedgerEntry], what: str) -> list[LedgerEntry]:
    chosen = [each for each in entries if what in (each.source, each.run_id) or each.source.endswith(f"/{what}")]
    if not chosen:
        newest = ", ".join(printable(each.source) for each in entries[-_SHOWN:]) or "no file"
        raise UsageError(
            f"{table} has no rows of {printable(what)}, neither as a file nor as a run that ingested files.",
            hint=f"Its newest files: {newest}. Rows of databases stay: a cursor would not read them again.",
        )
    return chosen
