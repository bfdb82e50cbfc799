"""Which rows of a bronze table's ledger still count: those of files whose rows are in the table.

The columns by which a row of the table names its file and its run are here too: ingest writes them, lineage reads them.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
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


def undo_clashes(
    now: Sequence[Mapping[str, Any]], out: Sequence[Mapping[str, Any]], back: Sequence[Mapping[str, Any]]
) -> dict[str, str]:
    """Why rows of a ledger can't be taken out, and others put back, because of what landed since: run id -> reason.

    Args:
        now: all rows, with at least kind, source, digest, rows, cursor_column, cursor_value, ingested_at and run_id.
        out: those of them that leave.
        back: further ones that come back.
    """
    leaving = Counter(map(_identity, out))
    left = []
    for row in now:
        if leaving[_identity(row)] > 0:
            leaving[_identity(row)] -= 1
        else:
            left.append(row)
    return dict((*_landed_again(now, left, back), *_taken_out(left, back), *_continued(left, out)))


def _identity(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return (row["run_id"], row["kind"], row["source"], row["digest"], row["cursor_value"])


def _landed_again(
    now: Sequence[Mapping[str, Any]], left: Sequence[Mapping[str, Any]], back: Sequence[Mapping[str, Any]]
) -> Iterator[tuple[str, str]]:
    """Files that are there, and would be there twice."""
    standing = [row for row in standing_rows(now) if row["digest"] is not None]
    times = Counter(row["digest"] for row in standing_rows([*left, *back]))
    before = Counter(row["digest"] for row in standing)
    for row in standing:
        if times[row["digest"]] > before[row["digest"]]:
            yield row["run_id"], f"landed {row['source']} again"


def _taken_out(left: Sequence[Mapping[str, Any]], back: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """Removals of deliveries that would not be there."""
    rows = [row for row in (*left, *back) if row["digest"] is not None]
    landed = Counter(row["digest"] for row in rows if row["kind"] != REMOVED)
    ended = Counter(row["digest"] for row in rows if row["kind"] == REMOVED)
    for row in rows:
        if row["kind"] == REMOVED and ended[row["digest"]] > landed[row["digest"]]:
            yield row["run_id"], f"took {row['source']} out"


def _continued(left: Sequence[Mapping[str, Any]], out: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """Reads of a database that began where one that leaves had ended: its rows would never be read again."""
    ends = {
        (row["source"], row["cursor_column"]): row["ingested_at"]
        for row in out
        if row["cursor_column"] is not None and row["rows"]
    }
    for row in left:
        reached = ends.get((row["source"], row["cursor_column"]))
        if reached is not None and row["ingested_at"] > reached:
            yield row["run_id"], f"read {row['source']} on from the {row['cursor_column']} that was reached"
