"""The history of a lakehouse: runs and their outcomes, branches, tables, and differences."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from asgard.common.errors import AsgardError, UnknownReferenceError
from asgard.common.heartbeat import DEAD_AFTER
from asgard.common.names import RunId, parse_audit_branch
from asgard.lakehouse.catalog.files import TableState
from asgard.lakehouse.catalog.lake import CATALOG, Lakehouse
from asgard.lakehouse.catalog.nessie import Content, DiffEntry, LogEntry, RefKind
from asgard.lakehouse.catalog.publications import Publications
from asgard.lakehouse.catalog.snapshots import At
from asgard.lakehouse.declaring.schema_changes import quoted
from asgard.lakehouse.runs.records import AttemptRecord, RunRecords

PUBLISHED, ROLLED_BACK, REVERTED = "published", "rolled back", "reverted"
_MERGED = ", merged"


@dataclass(frozen=True)
class RunSummary:
    """One attempt of a run, and how it ended according to Nessie's log and its records.

    Attributes:
        commit: its publish commit, if a log still contains it.
        intact: whether its record has the SHA-256 that its publish commit names; None if unchecked or not committed.
        reverted_by: the run that undid it; "" if none did.
    """

    attempt: AttemptRecord
    status: str
    commit: str | None
    intact: bool | None = None
    reverted_by: str = ""

    @property
    def is_published(self) -> bool:
        """Whether the lakehouse's target ref contains it now, directly or by a merge."""
        return self.status == PUBLISHED or self.status.endswith(_MERGED)

    @property
    def reverts(self) -> str:
        """The run that this one undid; "" if it is no revert."""
        return str(self.attempt.record.get("details", {}).get("reverted", {}).get("run", ""))

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        record, start = self.attempt.record, self.attempt.start
        verdict = record.get("verdict", {})
        return {
            "run_id": self.attempt.run_id,
            "attempt": self.attempt.attempt,
            "job": start.get("job") or record.get("job"),
            "status": self.status,
            "reverted_by": self.reverted_by or None,
            "reverts": self.reverts or None,
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
    """The newest runs, newest first, each attempt separately.

    Args:
        lake: the lakehouse.
        limit: how many attempts; None for all.
        run_id: only this run, with each record verified against its publish commit; None for all runs.
    """
    records = RunRecords(lake.storage)
    attempts = records.attempts(run_id, limit=limit)
    signs = records.signs_of_life() if attempts else {}
    logs: dict[str, Publications] = {}
    runs = []
    for attempt in attempts:
        status, commit, by = _status(lake, logs, attempt, signs.get(attempt.run_id))
        digest = commit.properties.get("asgard.record-sha256") if commit else None
        intact = records.digest(attempt.run_id, attempt.attempt) == digest if run_id and digest else None
        runs.append(RunSummary(attempt, status, commit.hash if commit else None, intact, by))
    return runs


def _status(
    lake: Lakehouse, logs: dict[str, Publications], attempt: AttemptRecord, sign: datetime | None
) -> tuple[str, LogEntry | None, str]:
    """How an attempt ended, its publish commit, and who undid it: by the logs of the lakehouse's target and its own."""
    own = str(attempt.start.get("target") or lake.target)
    here = _publication(lake, logs, lake.target, attempt)
    elsewhere = here if own == lake.target else _publication(lake, logs, own, attempt)
    commit = here or elsewhere
    if commit is not None:
        undone = logs[lake.target if here else own].revert_of(commit)
        if undone is not None:
            return REVERTED, commit, undone.properties.get("asgard.run-id", "")
        place = PUBLISHED if own == lake.target else f"{PUBLISHED} to {own}"
        return f"{place}{_MERGED if here and own != lake.target else ''}", commit, ""
    status = _unpublished(attempt, sign)
    if status != PUBLISHED:
        return status, None, ""
    return ROLLED_BACK if own == lake.target else f"{ROLLED_BACK} on {own}", None, ""


def _publication(
    lake: Lakehouse, logs: dict[str, Publications], reference: str, attempt: AttemptRecord
) -> LogEntry | None:
    log = logs.setdefault(reference, Publications(lake.nessie, reference))
    try:
        return log.of(attempt.run_id, attempt.attempt)
    except UnknownReferenceError:
        if reference == lake.target:
            raise
        return None


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


@dataclass(frozen=True)
class Other:
    """A content of a reference that Asgard can't read as a table: listed, so that nothing is left out silently.

    Attributes:
        kind: in words, e.g. `view`, or Nessie's own name of the kind.
        problem: why it is not listed as a table.
    """

    name: str
    kind: str
    problem: str

    def to_json(self) -> dict[str, str]:
        """Plain values for JSON."""
        return {"name": self.name, "kind": self.kind, "problem": self.problem}


def describe_contents(lake: Lakehouse, at: At) -> tuple[list[dict[str, Any]], list[Other]]:
    """Every table at a commit, with its size, snapshot and declared properties; and every other content."""
    tables, others = [], []
    for key, content in sorted(lake.nessie.everything(str(at)).items()):
        name = ".".join(key)
        if not content.is_table:
            others.append(Other(name, content.kind_in_words, "not an Iceberg table"))
            continue
        try:
            state = TableState.load(content.metadata_location, lake.settings)
            described = {"table": name, **describe(state, content), "rows": _rows(lake, state, key, at)}
        except AsgardError as error:
            others.append(Other(name, content.kind_in_words, error.message))
            continue
        if len(key) == 2:
            tables.append(described)
        else:
            problem = (
                f"in the namespace {'.'.join(key[:-1])}, which layer.name can't address; {described['rows']:,} rows"
            )
            others.append(Other(name, content.kind_in_words, problem))
    return tables, others


def describe_tables(lake: Lakehouse, at: At) -> list[dict[str, Any]]:
    """Every table that can be read at a commit: its size, snapshot and declared properties."""
    return describe_contents(lake, at)[0]


def _rows(lake: Lakehouse, state: TableState, key: tuple[str, ...], at: At) -> int:
    """The exact number of rows of a table; Spark counts them if the table has equality deletes."""
    rows = state.row_count()
    if rows is not None:
        return rows
    names = ".".join(quoted(part) for part in key[:-1])
    return lake.spark.table(f"{CATALOG}.{names}.{quoted(f'{key[-1]}@{at.reference}#{at.commit}')}").count()


def describe(state: TableState, content: Content) -> dict[str, Any]:
    """A table's metadata: size, snapshot, columns and declared properties; reads no rows."""
    snapshot = state.table.current_snapshot()
    written = datetime.fromtimestamp(snapshot.timestamp_ms / 1000, UTC).isoformat() if snapshot else None
    properties = state.properties
    return {
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
        if any(content is not None and content.kind == "NAMESPACE" for content in (change.before, change.after)):
            continue
        old, old_problem = _read(lake, change.before)
        new, new_problem = _read(lake, change.after)
        old_columns, new_columns = _columns(old), _columns(new)
        known = old is not None and new is not None
        rows.append(
            {
                "table": ".".join(change.key),
                "kind": next(each.kind_in_words for each in (change.after, change.before) if each is not None),
                "problem": new_problem or old_problem,
                "change": "added" if change.before is None else "dropped" if change.after is None else "changed",
                "rows_before": _rows_of(lake, old, change, before) if old or change.before is None else None,
                "rows_after": _rows_of(lake, new, change, after) if new or change.after is None else None,
                "snapshot_before": old.snapshot_id if old else None,
                "snapshot_after": new.snapshot_id if new else None,
                "columns_added": sorted(set(new_columns) - set(old_columns)) if known or change.before is None else [],
                "columns_dropped": sorted(set(old_columns) - set(new_columns)) if known else [],
                "columns_retyped": sorted(
                    name for name in set(old_columns) & set(new_columns) if old_columns[name] != new_columns[name]
                ),
            }
        )
    return sorted(rows, key=lambda row: str(row["table"]))


def _read(lake: Lakehouse, content: Content | None) -> tuple[TableState | None, str]:
    """A table's state, or why there is none."""
    if content is None:
        return None, ""
    try:
        return TableState.load(content.metadata_location, lake.settings), ""
    except AsgardError as error:
        return None, error.message


def _rows_of(lake: Lakehouse, state: TableState | None, change: DiffEntry, at: At) -> int:
    return _rows(lake, state, change.key, at) if state else 0


def _columns(state: TableState | None) -> dict[str, str]:
    return {field.name: str(field.field_type) for field in state.table.schema().fields} if state else {}
