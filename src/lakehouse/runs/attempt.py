"""One attempt of a run: a branch, what was read from it, and what was written to it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from functools import cached_property
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from asgard.common.aliases import Say
from asgard.common.errors import RunError
from asgard.common.failpoints import failpoint
from asgard.common.names import BranchName, CommitHash, RunId, TableName
from asgard.common.spark_utils import explained
from asgard.lakehouse.catalog.clock import now_ms, wait_until_past
from asgard.lakehouse.catalog.files import TableState
from asgard.lakehouse.catalog.lake import Lakehouse, identifier
from asgard.lakehouse.catalog.nessie import Content, drop
from asgard.lakehouse.declaring.declaration import Table, WriteMode, declare_table
from asgard.lakehouse.declaring.intervals import RangeSet, TimeRange
from asgard.lakehouse.freshness.interval_state import INTERVALS_PROPERTY, STATE_PROPERTY, IntervalRecord
from asgard.lakehouse.runs.equal_rows import Overwrite
from asgard.lakehouse.runs.file_swap import Files, FileSwap
from asgard.lakehouse.runs.own_commits import OwnCommits, Sealed, foreign_commits
from asgard.lakehouse.runs.state_keeping import Difference, StateKeeper
from asgard.lakehouse.runs.tables import BranchTable
from asgard.lakehouse.runs.takeover import foreign_owners, require_own
from asgard.lakehouse.runs.unfit_rows import require_rows_fit

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.types import StructType

SNAPSHOT_PROPERTY = "spark.sql.iceberg.snapshot-property."
_SHOWN = 5


class Isolation(StrEnum):
    """What happens if an input changes while the run computes from it."""

    SNAPSHOT = "snapshot"
    """Nothing: the inputs' snapshots are recorded, and the result is stale, not wrong."""
    SERIALIZABLE = "serializable"
    """The run starts again from the new state."""


@dataclass
class Write:
    """What one attempt wrote to one table, over all its intervals.

    Attributes:
        base: the table's state at the branch's base, or None for a new table.
        after: its state on the sealed branch.
        difference: the files that it lost and gained, at the seal.
        properties: that are set with it, an empty text for one that goes; None: those of `table` as declared.
        label: what the record calls it; "" for the table's mode.
        is_dropped: the attempt dropped the table.
        changed_ms: time of the table's last change, by the clock of the machine that made it.
    """

    table: Table
    base: TableState | None
    intervals: RangeSet = field(default_factory=RangeSet)
    after: TableState | None = None
    changed_ms: int = 0
    difference: Difference = field(default_factory=Difference)
    properties: Mapping[str, str] | None = None
    label: str = ""
    is_dropped: bool = False

    def __post_init__(self) -> None:
        if self.base is not None:
            self.changed_ms = self.base.updated_ms

    @property
    def new_snapshots(self) -> frozenset[int]:
        """The snapshots that the attempt made."""
        before = self.base.snapshot_ids if self.base else frozenset()
        return (self.after.snapshot_ids if self.after else frozenset()) - before

    @property
    def done(self) -> RangeSet:
        """The time ranges that are computed once this is published."""
        before = RangeSet.parse(self.base.properties.get(INTERVALS_PROPERTY, "")) if self.base else RangeSet()
        return before | self.intervals

    def to_json(self) -> dict[str, Any]:
        """What the record says of it; files that were removed and put back do not count."""
        return {
            "mode": self.label or self.table.mode,
            "intervals": str(self.intervals),
            "created": self.base is None,
            **({"dropped": True} if self.is_dropped else {}),
            "snapshot_id": self.after.snapshot_id if self.after else None,
            "rows_added": self.difference.rows_added,
            "rows_removed": self.difference.rows_removed,
            "files_added": self.difference.files_added,
            "rows": int((self.after and self.after.summary("total-records")) or 0),
        }


@dataclass
class Attempt:
    """One attempt of a run: a job's work gets it, and reads and writes through it, on the attempt's branch.

    Attributes:
        base: the commit of the target ref that the branch began at (H0).
        as_of: the moment that freshness is measured at.
        provenance: run id, attempt, job, code version and user, as every snapshot and the publish commit carry them.
        reads: every table that was read and not written, with its content at the base.
        read_keys: the tables among `reads` that must not change before this is published.
        take_over: whether tables of other pipelines may be written; they then belong to this one.
        params: of the job, as recorded; the work may correct them.
        details: further values that the job adds to the record (plain values, e.g. ingested files).
        sealed: the branch's head when writing ended; the verdict is about this commit.
        own: the attempt's commits on the branch that can't be recognised by a snapshot.
        fitted: for each table, a schema of rows that fits its declaration: rows of this schema are not checked again.
    """

    lake: Lakehouse
    run_id: RunId
    number: int
    branch: BranchName
    base: CommitHash
    as_of: datetime
    isolation: Isolation
    provenance: Mapping[str, str]
    say: Say
    take_over: bool = False
    params: dict[str, Any] = field(default_factory=dict)
    reads: dict[TableName, Content] = field(default_factory=dict)
    read_keys: set[TableName] = field(default_factory=set)
    writes: dict[TableName, Write] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)
    sealed: CommitHash | None = None
    own: OwnCommits = field(default_factory=OwnCommits)
    fitted: dict[TableName, "StructType"] = field(default_factory=dict)

    @cached_property
    def keeper(self) -> StateKeeper:
        """Notes what the intervals that are computed have read."""
        return StateKeeper(self.lake, self.run_id, self.at_base, self._written)

    def _written(self, table: TableName) -> TableState | None:
        return self._state(table, self.branch) if table in self.writes else None

    @cached_property
    def session(self) -> "SparkSession":
        """The attempt's own Spark session: every snapshot that it writes carries the provenance."""
        session = self.lake.spark.newSession()
        for name, value in self.provenance.items():
            session.conf.set(SNAPSHOT_PROPERTY + name, value)
        return session

    def read(self, table: TableName, *, guard: bool = False, pinned: bool = False) -> "DataFrame":
        """The rows of a table as this attempt sees it: with its own writes, or as at the base.

        Args:
            table: to read.
            guard: the run must start again if the table changes before it publishes (ledgers, checks).
            pinned: read the table as at the base, even if this attempt writes it: for rows that are written to the
                table itself, which may get further columns before the write.

        Raises:
            UnknownTableError: the table doesn't exist.
            AsgardError: Spark failed; the message explains why.
        """
        if table not in self.writes and table not in self.reads:
            self.reads[table] = self.lake.content(table, self.at_base)
        if table not in self.writes and (guard or self.isolation is Isolation.SERIALIZABLE):
            self.read_keys.add(table)
        name = identifier(table, f"{self.branch}#{self.base}") if pinned else self.sql_name(table)
        with explained(f"Reading {table}"):
            return self.session.table(name)

    def sql_name(self, table: TableName) -> str:
        """How Spark SQL names a table as this attempt sees it: at the exact commit, once the attempt is sealed."""
        return identifier(table, f"{self.branch}#{self.sealed}" if self.sealed else self.branch)

    def has(self, table: TableName) -> bool:
        """Whether a table exists, as this attempt sees it."""
        return table in self.writes or self.lake.nessie.content(self.at_base, table) is not None

    def write(self, table: Table, frame: "DataFrame", interval: TimeRange | None = None) -> None:
        """Write rows to a table on the branch, in its declared mode.

        Raises:
            ContractError: the rows do not fit the table's contract.
            DeclarationError: the rows lack a declared column, or an interval is missing.
            UsageError: the table belongs to another pipeline.
            RunError: the attempt is sealed, or Spark failed.
            EnvironmentSetupError: this machine's clock is far behind the table's last change.
        """
        write = self._begin_write(table)
        if self.fitted.get(table.name) != frame.schema:
            require_rows_fit(table, frame, write.base.columns if write.base else ())
            self.fitted[table.name] = frame.schema
        self._before_write(write)
        replaces = table.mode in (WriteMode.REPLACE, WriteMode.OVERWRITE_INTERVAL)
        before = self._written(table.name) if replaces and write.base is not None else None
        self._on_branch(table).write(frame, interval)
        write.changed_ms = max(write.changed_ms, now_ms())
        self.keeper.forget(table.name)
        if before is not None and before.snapshot_id is not None:
            self._keep_equal_rows(write, before, interval)
        if interval is not None:
            write.intervals = write.intervals | RangeSet([interval])
        self.say(f"wrote {table.name}{f' for {interval}' if interval else ''}")

    def delete(self, table: Table, where: str) -> None:
        """Delete the rows that fulfil a SQL condition from a table on the branch.

        Raises:
            UsageError: the table belongs to another pipeline.
            RunError: the attempt is sealed, or Spark failed.
            EnvironmentSetupError: this machine's clock is far behind the table's last change.
        """
        write = self._begin_write(table)
        self._before_write(write)
        with explained(f"Deleting rows of {table.name}"):
            self.session.sql(f"DELETE FROM {identifier(table.name, self.branch)} WHERE {where}")  # noqa: S608 - own text
        self.keeper.forget(table.name)
        write.changed_ms = max(write.changed_ms, now_ms())

    def accept(self, name: TableName) -> tuple[int, int]:
        """Take what others did to a table since its last recorded run as it is: its intervals are in doubt no longer.

        Returns:
            How many foreign snapshots were accepted, and how many intervals were in doubt before.

        Raises:
            RunError: the attempt is sealed.
            UnknownTableError: the table is not there.
        """
        self.lake.content(name, self.at_base)
        write = self._begin_write(declare_table(str(name)))
        write.properties, write.label = {}, "accept"
        self.writes[name] = write
        return self.keeper.accept(name)

    def swap_files(
        self,
        table: Table,
        back: Files,
        out: Files,
        records: Mapping[int, IntervalRecord | None],
        properties: Mapping[str, str],
        intervals: RangeSet,
    ) -> None:
        """Put old files of a table back and take others out, and set what is known of its intervals back as well.

        Args:
            table: to change; only its interval and its checks matter.
            back: files of an earlier state that are not there now.
            out: files of the state at the base.
            records: what is known of the intervals from now on, by their start; None for nothing.
            properties: of the table; an empty text for one that goes.
            intervals: those whose rows change, for the record.

        Raises:
            RunError: the attempt is sealed, or a file is not there.
            EnvironmentSetupError: this machine's clock is far behind the table's last change.
        """
        write = self._begin_write(table)
        self._before_write(write)
        write.properties, write.label = dict(properties), "revert"
        write.intervals = intervals
        if back.numbers or out.numbers:
            swap = FileSwap(self.session, identifier(table.name, self.branch), self.provenance)
            if not swap.commit(back, out):
                raise RunError(f"A file of {table.name} is not where it was.", hint="This is a defect: report it.")
            write.changed_ms = max(write.changed_ms, now_ms())
        self.keeper.restore(table.name, records)
        self.keeper.forget(table.name)
        self.say(f"changed the files of {table.name}: {len(back.numbers)} back, {len(out.numbers)} out")

    def drop(self, table: Table) -> None:
        """Drop a table on the branch.

        Raises:
            RunError: the attempt is sealed.
        """
        write = self._begin_write(table)
        self._before_write(write)
        head, key = self.lake.nessie.head(self.branch), (table.name.layer, table.name.name)
        self.own.hashes.add(self.lake.nessie.commit(self.branch, head, [drop(key)], f"drop {table.name}"))
        write.label, write.is_dropped = "revert", True
        base = self.keeper.facts(table.name).files
        write.difference = Difference(removed=base.files if base else {})
        self.say(f"dropped {table.name}")

    def keep_description(self, name: TableName) -> None:
        """Leave owner, interval and the like of a table that this attempt wrote to as they were published."""
        write = self.writes[name]
        if write.base is not None:
            write.properties = {}

    def _begin_write(self, table: Table) -> Write:
        if self.sealed is not None:
            raise RunError(f"Attempt {self.number} of run {self.run_id} is sealed.", hint="Write before the audit.")
        if not self.take_over and table.name not in self.writes:
            require_own(table.pipeline, foreign_owners(self.lake, [table], self.at_base))
        return self.writes.get(table.name) or Write(table, self._state(table.name, self.at_base))

    def _before_write(self, write: Write) -> None:
        if self.writes:
            failpoint("between-tables")
        failpoint("before-write")
        self.writes[write.table.name] = write
        wait_until_past(write.changed_ms, str(write.table.name), self.say)

    def _keep_equal_rows(self, write: Write, before: TableState, interval: TimeRange | None) -> None:
        table = write.table
        after = self._state(table.name, self.branch)
        if after is None or after.snapshot_id == before.snapshot_id:
            return
        wait_until_past(write.changed_ms, str(table.name), self.say)
        sql_name = identifier(table.name, self.branch)
        if Overwrite(self.session, table, sql_name, before, after, interval, self.provenance).keep_equal():
            self.keeper.forget(table.name)
            write.changed_ms = max(write.changed_ms, now_ms())

    def seal(self) -> None:
        """End writing: record the inputs of each table, and fix the branch's head for the audit.

        Raises:
            RunError: the branch contains a commit that this attempt did not make.
        """
        for name, write in self.writes.items():
            write.after = self._state(name, self.branch)  # None if another process dropped it
        for write in self.writes.values():
            if write.after is not None:
                described = self._described(write)
                kept = self.keeper.keep(write.table, write.after)
                write.difference = kept.difference
                wanted = {**described, STATE_PROPERTY: kept.name}
                current = write.after.properties
                missing = {name: text for name, text in wanted.items() if current.get(name, "") != text}
                wait_until_past(write.changed_ms, str(write.table.name), self.say)
                self._on_branch(write.table).set_properties(missing)
        self.sealed = self.lake.nessie.head(self.branch)
        for name, write in self.writes.items():
            write.after = self._state(name, f"{self.branch}@{self.sealed}")
        self._refuse_foreign_commits()

    def _described(self, write: Write) -> dict[str, str]:
        if write.properties is not None:
            return dict(write.properties)
        return self._on_branch(write.table).described(write.done, self._input_snapshots(write.table))

    def _refuse_foreign_commits(self) -> None:
        """Refuse a sealed branch with changes that others made: they would be published in this run's name."""
        branch = f"{self.branch}@{self.sealed}"
        since_base = takewhile(lambda each: each[0].hash != self.base, self.lake.nessie.operations(branch))
        tables = {name: Sealed.of(write.base, write.after) for name, write in self.writes.items()}
        mine = {name: self.provenance[name] for name in ("asgard.run-id", "asgard.attempt")}
        foreign = foreign_commits(reversed(list(since_base)), tables, self.own, mine)
        if foreign:
            raise RunError(
                f"Branch {self.branch} has changes that run {self.run_id} did not make: {'; '.join(foreign[:_SHOWN])}"
                f"{f'; and {len(foreign) - _SHOWN} more' if len(foreign) > _SHOWN else ''}.",
                hint="Only its own run may write to an audit branch: nothing was published, and the branch is kept for "
                "inspection. Find out who wrote there, then run again.",
            )

    def _input_snapshots(self, table: Table) -> dict[str, int]:
        """The snapshot of each input that a table was computed from."""
        snapshots: dict[str, int] = {}
        for name in table.inputs.values():
            write = self.writes.get(name)
            if write is not None and write.after is not None:
                snapshots[str(name)] = write.after.snapshot_id or -1
            elif name in self.reads:
                snapshots[str(name)] = self.reads[name].snapshot_id
        return snapshots

    @property
    def at_base(self) -> str:
        """The reference for reads at the base: through the branch, which contains the base even if the target moves."""
        return f"{self.branch}@{self.base}"

    def reads_json(self) -> dict[str, Any]:
        """The read set, for the record."""
        return {
            str(name): {
                "snapshot_id": content.snapshot_id,
                "metadata_location": content.metadata_location,
                "guarded": name in self.read_keys,
            }
            for name, content in sorted(self.reads.items())
        }

    def writes_json(self) -> dict[str, Any]:
        """The write set, for the record."""
        return {str(name): write.to_json() for name, write in sorted(self.writes.items())}

    def _on_branch(self, table: Table) -> BranchTable:
        return BranchTable(self.lake, self.session, self.branch, table, self.provenance, self.own)

    def _state(self, table: TableName, ref: str) -> TableState | None:
        content = self.lake.nessie.content(ref, table)
        if content is None:
            return None
        return TableState.load(content.metadata_location, self.lake.settings)
