"""Which rows of a bronze table's ledger still count: those of files whose rows are in the table.

The columns by which a row of the table names its file and its run are here too: ingest writes them, lineage reads them.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

SOURCE_FILE = "_source_file"
"""The file's name as it was given, or the database table; without secrets."""
RUN_ID = "_run_id"
"""The run that ingested the row."""
REMOVED = "removed"
"""Kind of a ledger row that ends an earlier one with the same digest."""


def standing_rows(rows: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The rows that no row of kind `removed` ends, oldest first.

    Each `removed` ends one landing of its digest. They are counted, not ordered by their times: a file lands again only
    after its rows were taken out, and the clocks of the machines that note it may differ.

    Args:
        rows: of one ledger, with at least kind, source, digest and ingested_at.
    """
    ordered = sorted(rows, key=lambda row: (row["ingested_at"], row["source"]))
    ended = Counter(row["digest"] for row in ordered if row["kind"] == REMOVED)
    standing = []
    for row in ordered:
        if row["kind"] == REMOVED:
            continue
        if ended[row["digest"]] > 0:
            ended[row["digest"]] -= 1
        else:
            standing.append(row)
    return standing
