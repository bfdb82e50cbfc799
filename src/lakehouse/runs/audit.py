"""Audit what an attempt wrote; the verdict is valid for exactly that."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, assert_never

from asgard.common.errors import RunError
from asgard.common.names import BranchName, CommitHash, TableName
from asgard.lakehouse.catalog.files import TableState
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.catalog.nessie import Content
from asgard.lakehouse.catalog.snapshots import At, read_at
from asgard.lakehouse.declaring.declaration import WriteMode
from asgard.lakehouse.runs.attempt import Attempt, Write
from asgard.lakehouse.runs.file_reads import FileReads
from asgard.validation.batch import AuditedTable, Batch, Relation
from asgard.validation.checks import Check, Scope
from asgard.validation.results import AuditOutcome
from asgard.validation.schema import Schema
from asgard.validation.statistics import FileStatistics

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


@dataclass(frozen=True)
class Verdict:
    """The audit's outcome for one exact branch hash and the exact contents of the tables that it read.

    Only what a passed verdict names can be published.
    """

    branch: BranchName
    branch_hash: CommitHash
    base: CommitHash
    read_keys: Mapping[TableName, Content]
    outcome: AuditOutcome

    @property
    def passed(self) -> bool:
        """Whether nothing blocks the publish."""
        return self.outcome.passed

    def to_json(self) -> dict[str, Any]:
        """Plain values for the record."""
        return {
            "passed": self.passed,
            "branch_hash": self.branch_hash,
            "base": self.base,
            "read_keys": {str(name): content.metadata_location for name, content in sorted(self.read_keys.items())},
            **self.outcome.to_json(),
        }


def audit(attempt: Attempt) -> Verdict:
    """Check every table that a sealed attempt wrote.

    Raises:
        RunError: the attempt is not sealed.
    """
    from asgard.validation import validator

    if attempt.sealed is None:
        raise RunError(f"Run {attempt.run_id} is audited before its branch was sealed.", hint="This is a defect.")
    attempt.say("auditing")
    with FileReads(attempt.session) as reads:
        outcome = validator.audit(
            [_audited(attempt, write, reads) for write in attempt.writes.values() if not write.is_dropped],
            relation=lambda name: _relation(attempt, name),
            as_of=attempt.as_of,
        )
    read_keys = {name: attempt.reads[name] for name in attempt.read_keys}
    return Verdict(attempt.branch, attempt.sealed, attempt.base, read_keys, outcome)


def table_batch(
    reads: FileReads,
    sql_name: str,
    state: TableState,
    files: Sequence[FileStatistics] | None = None,
) -> Batch:
    """All rows of a table at a commit, or only those of some of its files.

    Args:
        reads: reads the rows.
        sql_name: SQL name of the table at that commit.
        state: state of the table at that commit.
        files: only the rows of these files; None for all.
    """
    live = state.live_files() if files is None else files
    frame = reads.whole(sql_name, int(state.summary("total-files-size") or 0))

    def rows(paths: Sequence[str] | None) -> "DataFrame":
        if paths is None and files is None:
            return frame
        return reads.frame(sql_name, [file.path for file in live] if paths is None else paths)

    return Batch(
        schema=Schema.of(frame.schema),
        frame=rows,
        sql_name=sql_name,
        statistics=None if state.has_delete_files() else live,
    )


def _audited(attempt: Attempt, write: Write, reads: FileReads) -> AuditedTable:
    table, state = write.table, write.after
    if state is None:
        raise RunError(f"{table.name} has no state on the sealed branch.", hint="This is a defect.")
    sql_name = attempt.sql_name(table.name)
    whole = table_batch(reads, sql_name, state)
    if write.base is None or table.mode is WriteMode.REPLACE:
        added = whole
    else:
        added = table_batch(reads, sql_name, state, state.live_files(added_by=write.new_snapshots))
    match table.mode:
        case WriteMode.APPEND | WriteMode.MERGE:
            interval = whole
        case WriteMode.OVERWRITE_INTERVAL | WriteMode.REPLACE:
            interval = added
        case _:
            assert_never(table.mode)
    return AuditedTable(
        name=str(table.name),
        checks=table.audited_checks,
        batches={Scope.ADDED: added, Scope.INTERVAL: interval, Scope.TABLE: whole},
    )


def _relation(attempt: Attempt, name: str) -> Relation:
    table = TableName.parse(name)
    return Relation(attempt.read(table, guard=True), attempt.sql_name(table))


def audit_published(lake: Lakehouse, table: TableName, at: At, checks: Sequence[Check]) -> AuditOutcome:
    """Run checks on a whole table at a commit, as of now.

    Raises:
        UnknownTableError: the table doesn't exist there.
    """
    from asgard.validation import validator

    state = TableState.load(lake.content(table, str(at)).metadata_location, lake.settings)

    def relation(name: str) -> Relation:
        other = TableName.parse(name)
        return Relation(read_at(lake, other, at), at.sql_name(other))

    with FileReads(lake.spark) as reads:
        batch = table_batch(reads, at.sql_name(table), state)
        audited = AuditedTable(str(table), checks, dict.fromkeys(Scope, batch))
        return validator.audit([audited], relation=relation, as_of=datetime.now(UTC))
