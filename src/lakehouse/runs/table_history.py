"""The states that one table had on a ref, newest first: who published each, and what changed. Metadata only."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import islice
from typing import Any

from asgard.common.errors import AsgardError
from asgard.common.names import CommitHash, RunId, TableName
from asgard.lakehouse.catalog.files import TableState
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.catalog.nessie import Content, LogEntry
from asgard.lakehouse.catalog.publications import REVERTS, Publications
from asgard.lakehouse.catalog.snapshots import At
from asgard.lakehouse.runs.records import RunRecords

DROPPED = "dropped"
_Commit = tuple[LogEntry, Content | None]


@dataclass(frozen=True)
class TableVersion:
    """One state of a table, as one commit published it.

    Attributes:
        published: time of the commit.
        snapshot_id: None for a table without one, and for a dropped one.
        run_id, job: "" where no recorded run made the commit.
        by: author and message of such a commit.
        mode: how a run wrote it, e.g. `merge`, `revert`, `accept`; `dropped` where the commit removed the table.
        operation: Iceberg's name of the newest snapshot's change; "" if only metadata changed.
        intervals: that the run computed.
        rows_added, rows_removed, rows, files: None if unknown.
        reverts: the run that this one undid; "" for none.
        reverted_by: the run that undid this one; "" for none.
        why: the reason that was given for a revert or an accept.
        problem: why the state can't be read; "" if it can.
    """

    published: datetime
    commit: CommitHash
    snapshot_id: int | None = None
    run_id: str = ""
    job: str = ""
    by: str = ""
    mode: str = ""
    operation: str = ""
    intervals: str = ""
    rows_added: int | None = None
    rows_removed: int | None = None
    rows: int | None = None
    files: int | None = None
    reverts: str = ""
    reverted_by: str = ""
    why: str = ""
    problem: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**vars(self), "published": self.published.isoformat()}


def table_history(lake: Lakehouse, table: TableName, at: At, limit: int | None = None) -> list[TableVersion]:
    """The states that a table had up to a commit, newest first; also of a table that was dropped.

    Args:
        lake: the lakehouse.
        table: whose states.
        at: where to begin.
        limit: how many states; None for all.

    Raises:
        UnknownTableError: the ref never had the table.
    """
    log = Publications(lake.nessie, at.reference)
    commits = lake.nessie.history(str(at), table)
    needed = list(commits if limit is None else islice(commits, limit + 1))  # one more: what changed since
    if not needed:
        raise lake.unknown(table, str(at))
    earlier: list[_Commit | None] = [*needed[1:], None]
    found = (_version(lake, table, log, *pair) for pair in zip(needed, earlier, strict=True))
    return list(islice(found, limit))


def _version(
    lake: Lakehouse, table: TableName, log: Publications, commit: _Commit, earlier: _Commit | None
) -> TableVersion:
    entry, content = commit
    run_id, attempt = (entry.properties.get(f"asgard.{name}", "") for name in ("run-id", "attempt"))
    record = _record(lake, run_id, attempt)
    write, details = record.get("writes", {}).get(str(table), {}), record.get("details", {})
    undone = log.revert_of(entry) if run_id and log.of(RunId(run_id), attempt) is not None else None
    version = TableVersion(
        published=entry.committed,
        commit=entry.hash,
        run_id=run_id,
        job=entry.properties.get("asgard.job", ""),
        by="" if run_id else f"{entry.author}: {entry.message}".removeprefix(": "),
        reverts=entry.properties.get(REVERTS, ""),
        reverted_by=undone.properties.get("asgard.run-id", "") if undone else "",
        why=next((each["why"] for name in ("reverted", "accepted") if (each := details.get(name))), ""),
    )
    if content is None or not content.is_table:
        return replace(version, mode=DROPPED, rows_removed=write.get("rows_removed"), rows=0, files=0)
    try:
        state = TableState.load(content.metadata_location, lake.settings)
    except AsgardError as error:
        return replace(version, snapshot_id=content.snapshot_id, problem=error.message)
    before = earlier[1].snapshot_id if earlier and earlier[1] is not None and earlier[1].is_table else None
    new = _new_snapshots(state, before)
    return replace(
        version,
        snapshot_id=state.snapshot_id,
        mode=str(write.get("mode", "")),
        operation=state.operation(new[-1]) if new else "",
        intervals=str(write.get("intervals", "")),
        rows_added=int(write.get("rows_added", _sum(state, new, "added-records"))),
        rows_removed=int(write.get("rows_removed", _sum(state, new, "deleted-records"))),
        rows=int(state.summary("total-records") or 0),
        files=int(state.summary("total-data-files") or 0),
    )


def _record(lake: Lakehouse, run_id: str, attempt: str) -> Mapping[str, Any]:
    """The record of one attempt; empty for a commit that no run made."""
    attempts = RunRecords(lake.storage).attempts(RunId(run_id)) if run_id else ()
    return next((each.record for each in attempts if str(each.attempt) == attempt), {})


def _new_snapshots(state: TableState, before: int | None) -> list[int]:
    """The snapshots that came with a commit, oldest first, as far as the metadata lists them."""
    chain = state.ancestors(state.snapshot_id) if state.snapshot_id is not None else []
    if before in chain:
        return chain[chain.index(before) + 1 :]
    return chain if before is None else chain[-1:]


def _sum(state: TableState, snapshots: Iterable[int], key: str) -> int:
    return sum(int(state.summaries[each].get(key, 0)) for each in snapshots)
