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
from asgard.lakehouse.catalog.nessie import Content
from asgard.lakehouse.declaring.declaration import Table
from asgard.lakehouse.declaring.intervals import RangeSet, TimeRange
from asgard.lakehouse.runs.own_commits import OwnCommits, Sealed, foreign_commits
from asgard.lakehouse.runs.tables import INTERVALS_PROPERTY, BranchTable
from asgard.lakehouse.runs.takeover import foreign_owners, require_own
from asgard.lakehouse.runs.unfit_rows import require_rows_fit

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.types import StructType

SNAPSHOT_PROPERTY = "spark.sql.iceberg.snapshot-property."
_SHOWN = 5


class Isolation(StrEnum):
    """What happens when an input moves while the run computes from it."""

    SNAPSHOT = "snapshot"
    """Nothing: the inputs' snapshots are recorded, and what was computed is stale, not wrong."""
    SERIALIZABLE = "serializable"
    """The run starts again from the new state."""


@dataclass
class Write:
    """What one attempt wrote to one table, over all its intervals.

    Attributes:
        base: the table's state where the branch began, or None for a new table.
        after: its state on the sealed branch.
        changed_ms: when it was last changed, by the clock of whoever did.
    """

    table: Table
    base: TableState | None
    intervals: RangeSet = field(default_factory=RangeSet)
    after: TableState | None = None
    changed_ms: int = 0

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
        """The stretches of time that are computed once this is published."""
        before = RangeSet.parse(self.base.properties.get(INTERVALS_PROPERTY, "")) if self.base else RangeSet()
        return before | self.intervals

    def to_json(self) -> dict[str, Any]:
        """What the record says of it; row counts come from the snapshots' own summaries."""
        summaries = self.after.summaries_of(self.new_snapshots) if self.after else []
        return {
            "mode": self.table.mode,
            "intervals": str(self.intervals),
            "created": self.base is None,
            "snapshot_id": self.after.snapshot_id if self.after else None,
            "rows_added": sum(int(s.get("added-records", 0)) for s in summaries),
            "rows_removed": sum(int(s.get("deleted-records", 0)) for s in summaries),
            "files_added": sum(int(s.get("added-data-files", 0)) for s in summaries),
            "rows": int((self.after and self.after.summary("total-records")) or 0),
        }


@dataclass
class Attempt:
    """The attempt that a job's work is given: it reads and writes through it, on the attempt's branch.

    Attributes:
        base: the commit of the target ref that the branch began at (H0).
        as_of: the moment that freshness is measured at.
        provenance: what every snapshot and the publish commit say of where they come from.
        reads: every table that was read and not written, with its content at the base.
        read_keys: those of them that must not have moved when this is published.
        take_over: whether tables of other pipelines may be written, and are this one's from then on.
        params: of the job, as recorded; the work corrects what only it knows.
        details: what the job wants in the record beside all that (plain values, e.g. ingested files).
        sealed: the branch's head once nothing more is written; the verdict is bound to it.
        own: the commits of the branch that the attempt made, as far as snapshots don't tell.
        fitted: the schema of a table's rows that fit its declaration: the next rows of it are not looked at again.
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
    def session(self) -> "SparkSession":
        """A Spark session of its own, whose every snapshot carries the provenance."""
        session = self.lake.spark.newSession()
        for name, value in self.provenance.items():
            session.conf.set(SNAPSHOT_PROPERTY + name, value)
        return session

    def read(self, table: TableName, *, guard: bool = False, pinned: bool = False) -> "DataFrame":
        """The rows of a table as this attempt sees it: its own writes, or what the base held.

        Args:
            table: to read.
            guard: the run must start again if the table moves before it publishes (ledgers, checks).
            pinned: what the base held, also once this attempt writes the table: for rows that are written to the table
                itself, whose columns may grow before that.

        Raises:
            UnknownTableError: it is not there.
            AsgardError: Spark failed, in words.
        """
        if table not in self.writes and table not in self.reads:
            self.reads[table] = self.lake.content(table, self.at_base)
        if table not in self.writes and (guard or self.isolation is Isolation.SERIALIZABLE):
            self.read_keys.add(table)
        name = identifier(table, f"{self.branch}#{self.base}") if pinned else self.sql_name(table)
        with explained(f"Reading {table}"):
            return self.session.table(name)

    def sql_name(self, table: TableName) -> str:
        """How Spark SQL names a table as this attempt sees it: at the exact commit, once it is sealed."""
        return identifier(table, f"{self.branch}#{self.sealed}" if self.sealed else self.branch)

    def has(self, table: TableName) -> bool:
        """Whether a table is there, as this attempt sees it."""
        return table in self.writes or self.lake.nessie.content(self.at_base, table) is not None

    def write(self, table: Table, frame: "DataFrame", interval: TimeRange | None = None) -> None:
        """Put rows into a table on the branch, in its declared mode.

        Raises:
            ContractError: the rows do not fit the table's contract.
            DeclarationError: the rows lack a declared column, or an interval is missing.
            UsageError: the table belongs to another pipeline.
            RunError: the attempt is sealed, or Spark failed.
            EnvironmentSetupError: this machine's clock is far behind the table's last change.
        """
        if self.sealed is not None:
            raise RunError(f"Attempt {self.number} of run {self.run_id} is sealed.", hint="Write before the audit.")
        if not self.take_over and table.name not in self.writes:
            require_own(table.pipeline, foreign_owners(self.lake, [table], self.at_base))
        write = self.writes.get(table.name) or Write(table, self._state(table.name, self.at_base))
        if self.fitted.get(table.name) != frame.schema:
            require_rows_fit(table, frame, write.base.columns if write.base else ())
            self.fitted[table.name] = frame.schema
        if self.writes:
            failpoint("between-tables")
        failpoint("before-write")
        self.writes[table.name] = write
        wait_until_past(write.changed_ms, str(table.name), self.say)
        self._on_branch(table).write(frame, interval)
        write.changed_ms = max(write.changed_ms, now_ms())
        if interval is not None:
            write.intervals = write.intervals | RangeSet([interval])
        self.say(f"wrote {table.name}{f' for {interval}' if interval else ''}")

    def seal(self) -> None:
        """End writing: note what was computed from what, and fix the branch's head for the audit.

        Raises:
            RunError: the branch holds a commit that is not this attempt's.
        """
        for name, write in self.writes.items():
            write.after = self._state(name, self.branch)  # None where a stranger dropped it
        for write in self.writes.values():
            if write.after is not None:
                wanted = self._on_branch(write.table).described(write.done, self._input_snapshots(write.table))
                current = write.after.properties
                missing = {name: text for name, text in wanted.items() if current.get(name, "") != text}
                wait_until_past(write.changed_ms, str(write.table.name), self.say)
                self._on_branch(write.table).set_properties(missing)
        self.sealed = self.lake.nessie.head(self.branch)
        for name, write in self.writes.items():
            write.after = self._state(name, f"{self.branch}@{self.sealed}")
        self._refuse_foreign_commits()

    def _refuse_foreign_commits(self) -> None:
        """Whatever is on the sealed branch, this attempt put there: else it would be published under its name."""
        branch = f"{self.branch}@{self.sealed}"
        since_base = takewhile(lambda each: each[0].hash != self.base, self.lake.nessie.operations(branch))
        tables = {name: Sealed.of(write.base, write.after) for name, write in self.writes.items()}
        mine = {name: self.provenance[name] for name in ("asgard.run-id", "asgard.attempt")}
        foreign = foreign_commits(reversed(list(since_base)), tables, self.own, mine)
        if foreign:
            raise RunError(
                f"Branch {self.branch} has changes that run {self.run_id} did not make: {'; '.join(foreign[:_SHOWN])}"
                f"{f'; and {len(foreign) - _SHOWN} more' if len(foreign) > _SHOWN else ''}.",
                hint="Nobody but its run may write to an audit branch: nothing was published, and the branch is kept "
                "to look at. Find out who wrote there, then run again.",
            )

    def _input_snapshots(self, table: Table) -> dict[str, int]:
        """The snapshot of each of a table's inputs that it was computed from."""
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
        """The base as a reference to read at: through the branch, which holds it whatever becomes of the target."""
        return f"{self.branch}@{self.base}"

    def reads_json(self) -> dict[str, Any]:
        """What the record says of the read set."""
        return {
            str(name): {
                "snapshot_id": content.snapshot_id,
                "metadata_location": content.metadata_location,
                "guarded": name in self.read_keys,
            }
            for name, content in sorted(self.reads.items())
        }

    def writes_json(self) -> dict[str, Any]:
        """What the record says of the write set."""
        return {str(name): write.to_json() for name, write in sorted(self.writes.items())}

    def _on_branch(self, table: Table) -> BranchTable:
        return BranchTable(self.lake, self.session, self.branch, table, self.provenance, self.own)

    def _state(self, table: TableName, ref: str) -> TableState | None:
        content = self.lake.nessie.content(ref, table)
        if content is None:
            return None
        return TableState.load(content.metadata_location, self.lake.settings)
