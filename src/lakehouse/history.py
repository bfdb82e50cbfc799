"""What happened: runs and their outcomes, branches, differences, and where a table's rows come from."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from asgard.common.heartbeat import DEAD_AFTER
from asgard.common.names import LOG_MARGIN, RunId, TableName, parse_audit_branch, run_id_time
from asgard.lakehouse.files import TableState
from asgard.lakehouse.lake import Lakehouse
from asgard.lakehouse.nessie import Content, LogEntry, RefKind
from asgard.lakehouse.records import AttemptRecord, RunRecords
from asgard.lakehouse.snapshots import At


@dataclass(frozen=True)
class RunSummary:
    """One attempt of a run, and how it ended as far as Nessie's log and its records tell.

    Attributes:
        intact: its record has the SHA-256 that its publish commit names; None if it has no commit, or nobody asked.
    """

    attempt: AttemptRecord
    status: str
    commit: str | None
    intact: bool | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        record, start = self.attempt.record, self.attempt.start
        verdict = record.get("verdict", {})
        return {
            "run_id": self.attempt.run_id,
            "attempt": self.attempt.attempt,
            "job": start.get("job") or record.get("job"),
            "status": self.status,
            "commit": self.commit,
            "record_intact": self.intact,
            "started": start.get("started"),
            "user": start.get("user"),
            "code_version": start.get("code_version"),
            "dirty": start.get("dirty"),
            "target": start.get("target"),
            "tables": record.get("writes", {}),
            "reads": record.get("reads", {}),
            "checks": [check for table in verdict.get("tables", ()) for check in table["results"]],
            "error": self.attempt.outcome.get("error"),
            "seconds": self.attempt.outcome.get("seconds") or record.get("seconds", {}),
            "params": start.get("params", {}),
        }


def list_runs(lake: Lakehouse, *, limit: int | None = None, run_id: RunId | None = None) -> list[RunSummary]:
    """The newest runs, newest first, each attempt on its own.

    Args:
        lake: whose runs.
        limit: how many attempts; None for all.
        run_id: only this run, each record held against its publish commit; None for all runs.
    """
    records = RunRecords(lake.storage)
    attempts = records.attempts(run_id, limit=limit)
    if not attempts:
        return []
    oldest = min(run_id_time(attempt.run_id) for attempt in attempts) - LOG_MARGIN
    published: dict[tuple[str, str], LogEntry] = {}
    for entry in lake.nessie.log(lake.target, since=oldest):
        key = (entry.properties.get("asgard.run-id", ""), entry.properties.get("asgard.attempt", ""))
        if key[0]:
            published.setdefault(key, entry)
    signs = records.signs_of_life()
    found = []
    for attempt in attempts:
        commit = published.get((attempt.run_id, str(attempt.attempt)))
        if commit is None:
            found.append(RunSummary(attempt, _unpublished(attempt, signs.get(attempt.run_id)), None))
            continue
        digest = commit.properties.get("asgard.record-sha256")
        intact = records.digest(attempt.run_id, attempt.attempt) == digest if run_id and digest else None
        kind = commit.properties.get("asgard.kind", "publish")
        found.append(RunSummary(attempt, "published" if kind == "publish" else "reverted", commit.hash, intact))
    return found


def _unpublished(attempt: AttemptRecord, sign: datetime | None) -> str:
    status = attempt.outcome.get("status")
    if status is None:
        lives = sign is not None and datetime.now(UTC) - sign < DEAD_AFTER
        status = "running, or died within the hour" if lives else "died"
    return str(status)


def list_branches(lake: Lakehouse) -> list[dict[str, Any]]:
    """All branches and tags, with the run that an audit branch belongs to."""
    signs = RunRecords(lake.storage).signs_of_life()
    rows = []
    for reference in sorted(lake.nessie.references(), key=lambda ref: ref.name):
        owner = parse_audit_branch(reference.name)
        sign = signs.get(owner[0]) if owner else None
        rows.append(
            {
                "name": reference.name,
                "kind": "tag" if reference.kind is RefKind.TAG else "branch",
                "hash": reference.hash,
                "target": reference.name == lake.target,
                "run_id": owner[0] if owner else None,
                "attempt": owner[1] if owner else None,
                "renewed": sign.isoformat() if sign else None,
            }
        )
    return rows


def describe_tables(lake: Lakehouse, at: At) -> list[dict[str, Any]]:
    """Every table at a commit: its size, snapshot, and what its declaration says of it."""
    return [
        {"table": str(name), **_describe(TableState.load(content.metadata_location, lake.settings), content)}
        for name, content in sorted(lake.nessie.entries(str(at)).items())
    ]


def _describe(state: TableState, content: Content) -> dict[str, Any]:
    snapshot = state.table.current_snapshot()
    written = datetime.fromtimestamp(snapshot.timestamp_ms / 1000, UTC).isoformat() if snapshot else None
    properties = state.properties
    return {
        "rows": int(state.summary("total-records") or 0),
        "files": int(state.summary("total-data-files") or 0),
        "bytes": int(state.summary("total-files-size") or 0),
        "snapshot_id": content.snapshot_id,
        "written": written,
        "run_id": state.summary("asgard.run-id"),
        "intervals": properties.get("asgard.intervals", ""),
        "interval": properties.get("asgard.interval", ""),
        "owner": properties.get("asgard.owner", ""),
        "pipeline": properties.get("asgard.pipeline", ""),
        "description": properties.get("comment", ""),
        "tags": properties.get("asgard.tags", ""),
        "consumers": properties.get("asgard.consumers", ""),
        "update_frequency": properties.get("asgard.update-frequency", ""),
        "columns": {field.name: str(field.field_type) for field in state.table.schema().fields},
        "location": state.location,
    }


def differences(lake: Lakehouse, before: At, after: At) -> list[dict[str, Any]]:
    """Table by table, what differs between two commits."""
    rows = []
    for change in lake.nessie.diff(str(before), str(after)):
        if len(change.key) < 2:
            continue
        old = TableState.load(change.before.metadata_location, lake.settings) if change.before else None
        new = TableState.load(change.after.metadata_location, lake.settings) if change.after else None
        old_columns, new_columns = _columns(old), _columns(new)
        rows.append(
            {
                "table": ".".join(change.key),
                "change": "added" if old is None else "dropped" if new is None else "changed",
                "rows_before": int((old and old.summary("total-records")) or 0),
                "rows_after": int((new and new.summary("total-records")) or 0),
                "snapshot_before": old.snapshot_id if old else None,
                "snapshot_after": new.snapshot_id if new else None,
                "columns_added": sorted(set(new_columns) - set(old_columns)) if new else [],
                "columns_dropped": sorted(set(old_columns) - set(new_columns)) if new else [],
                "columns_retyped": sorted(
                    name for name in set(old_columns) & set(new_columns) if old_columns[name] != new_columns[name]
                ),
            }
        )
    return sorted(rows, key=lambda row: str(row["table"]))


def _columns(state: TableState | None) -> dict[str, str]:
    return {field.name: str(field.field_type) for field in state.table.schema().fields} if state else {}


@dataclass(frozen=True)
class LineageNode:
    """One state of a table: the run that made it, the states that it was computed from, and raw files."""

    table: TableName
    snapshot_id: int
    run: RunSummary | None
    inputs: "tuple[LineageNode, ...]"
    files: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        run = self.run.attempt if self.run else None
        return {
            "table": str(self.table),
            "snapshot_id": self.snapshot_id,
            "run_id": run.run_id if run else None,
            "job": run.start.get("job") if run else None,
            "code_version": run.start.get("code_version") if run else None,
            "commit": self.run.commit if self.run else None,
            "files": list(self.files),
            "inputs": [node.to_json() for node in self.inputs],
        }


def lineage(lake: Lakehouse, table: TableName, at: At) -> LineageNode:
    """Where the rows of a table come from: runs, inputs at their snapshots, and source files.

    Raises:
        UnknownTableError: it is not there.
    """
    content = lake.content(table, str(at))
    makers = {
        (name, write["snapshot_id"]): summary
        for summary in list_runs(lake)
        if summary.status == "published"
        for name, write in summary.attempt.record.get("writes", {}).items()
    }
    return _node(table, content.snapshot_id, makers, lake, frozenset())


def _node(
    table: TableName,
    snapshot: int,
    makers: Mapping[tuple[str, int], RunSummary],
    lake: Lakehouse,
    above: frozenset[TableName],
) -> LineageNode:
    maker = makers.get((str(table), snapshot))
    if maker is None or table in above:
        return LineageNode(table, snapshot, maker, (), ())
    inputs = tuple(
        _node(name, source, makers, lake, above | {table}) for name, source in _inputs_of(table, maker.attempt)
    )
    return LineageNode(table, snapshot, maker, inputs, tuple(_files_of(table, snapshot, makers, lake)))


def _inputs_of(table: TableName, attempt: AttemptRecord) -> Iterator[tuple[TableName, int]]:
    """The tables that a run computed `table` from: those of its step, read from the base or written by itself."""
    record = attempt.record
    steps: Sequence[Mapping[str, Any]] = record.get("params", {}).get("steps", ())
    names = next((step["reads"] for step in steps if step["table"] == str(table)), ())
    for name in names:
        source = record["writes"].get(name) or record["reads"].get(name)
        if source:
            yield TableName.parse(name), int(source["snapshot_id"])


def _files_of(
    table: TableName, snapshot: int, makers: Mapping[tuple[str, int], RunSummary], lake: Lakehouse
) -> Iterator[str]:
    """The source files of a bronze table at a snapshot: of every ingest up to it, oldest first."""
    if table.layer != "bronze":
        return
    content = lake.content(table, lake.target)
    for each in TableState.load(content.metadata_location, lake.settings).ancestors(snapshot):
        maker = makers.get((str(table), each))
        for file in maker.attempt.record.get("details", {}).get("files", ()) if maker else ():
            yield str(file["path"])
