"""Which commits of an attempt's branch the attempt made itself, and proof that there are no others.

Only its own run may write to an audit branch, but Nessie can't enforce that. So the seal checks every commit since the
base. Rows don't show which run wrote them, but each commit does:

- a new snapshot carries run id and attempt in its summary, in the sealed metadata;
- a commit that changes only metadata (create, alter, properties) can't carry them, so such commits are counted:
  each table must have as many as the attempt made;
- a commit to Nessie itself (a namespace) is known by its hash.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from asgard.common.names import CommitHash, TableName
from asgard.lakehouse.catalog.files import TableState
from asgard.lakehouse.catalog.nessie import LogEntry, Operation

NO_SNAPSHOT = -1
"""Nessie's snapshot id of a table without a snapshot."""


@dataclass
class OwnCommits:
    """The commits that an attempt made without a snapshot.

    Attributes:
        metadata: for each table, how many commits changed only its metadata.
        hashes: the commits that were made without Iceberg.
    """

    metadata: Counter[TableName] = field(default_factory=Counter)
    hashes: set[CommitHash] = field(default_factory=set)


@dataclass(frozen=True)
class Sealed:
    """What is known of a written table at the seal.

    Attributes:
        before: its current snapshot at the base, or `NO_SNAPSHOT`.
        known: its snapshots at the base.
        summaries: the summary of each snapshot in the sealed metadata; None if the table is gone.
    """

    before: int
    known: frozenset[int]
    summaries: Mapping[int, Mapping[str, str]] | None

    @classmethod
    def of(cls, base: TableState | None, after: TableState | None) -> "Sealed":
        """From the states at the base and at the seal."""
        before = base.snapshot_id if base else None
        return cls(
            before=NO_SNAPSHOT if before is None else before,
            known=base.snapshot_ids if base else frozenset(),
            summaries=after.summaries if after else None,
        )

    def is_own(self, snapshot: int, provenance: Mapping[str, str]) -> bool:
        """Whether a snapshot's summary carries the attempt's provenance; true if the table was dropped."""
        if self.summaries is None:
            return True
        summary = self.summaries.get(snapshot, {})
        return all(summary.get(name) == value for name, value in provenance.items())


def foreign_commits(
    commits: Iterable[tuple[LogEntry, tuple[Operation, ...]]],
    tables: Mapping[TableName, Sealed],
    own: OwnCommits,
    provenance: Mapping[str, str],
) -> list[str]:
    """The changes on a branch that its attempt did not make, in words; empty if there are none.

    Args:
        commits: all commits since the base, oldest first.
        tables: the tables that the attempt wrote.
        own: the attempt's commits without a snapshot.
        provenance: run id and attempt, as each of the attempt's snapshots carries them.
    """
    foreign: list[str] = []
    seen = {name: {table.before, *table.known} for name, table in tables.items()}
    metadata: dict[TableName, list[LogEntry]] = {name: [] for name in tables}
    for entry, operations in commits:
        if entry.hash in own.hashes:
            continue
        for operation in operations:
            written = [name for name in tables if (name.layer, name.name) == operation.key]
            content = operation.content
            if not written or content is None or not content.is_table:
                foreign.append(_told(entry, f"{operation.kind.lower()} {'.'.join(operation.key)}"))
                continue
            (name,), snapshot = written, content.snapshot_id
            if snapshot in seen[name]:
                metadata[name].append(entry)
            elif not tables[name].is_own(snapshot, provenance):
                foreign.append(_told(entry, f"snapshot {snapshot} of {name}"))
            seen[name].add(snapshot)
    for name, entries in metadata.items():
        if len(entries) != own.metadata[name]:
            foreign.append(
                f"{len(entries)} commits changed only the metadata of {name}, of which this run made "
                f"{own.metadata[name]}: {'; '.join(_told(entry, str(name)) for entry in entries)}"
            )
    return [*foreign, *_never_current(tables, seen, provenance)]


def _never_current(
    tables: Mapping[TableName, Sealed], seen: Mapping[TableName, set[int]], provenance: Mapping[str, str]
) -> Iterator[str]:
    """Snapshots of a table that the attempt did not make and that were never the current one."""
    for name, table in tables.items():
        for snapshot in table.summaries or ():
            if snapshot not in seen[name] and not table.is_own(snapshot, provenance):
                yield f"snapshot {snapshot} of {name}, which was never its current one"


def _told(entry: LogEntry, what: str) -> str:
    by = f" by {entry.author}" if entry.author else ""
    return f"{what} ({entry.message!r}{by} at {entry.committed:%H:%M:%S} UTC, commit {entry.hash[:12]})"
