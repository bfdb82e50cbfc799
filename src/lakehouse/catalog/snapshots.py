"""Time travel: a published state, named by branch, tag, commit, snapshot, or time.

A time means *as published*: it resolves through the target ref's log to a commit. Iceberg's own `TIMESTAMP AS OF` is
not used, because it goes by the snapshot's time, when its rows were still on an audit branch.
"""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from asgard.common.errors import UnknownReferenceError, UsageError
from asgard.common.names import CommitHash, SnapshotId, TableName, check_reference
from asgard.lakehouse.catalog.lake import Lakehouse, identifier
from asgard.lakehouse.declaring.intervals import parse_moment

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

_COMMIT = re.compile(r"[0-9a-f]{16,64}")
_TIME = re.compile(r"\d{4}-\d{2}-\d{2}")


@dataclass(frozen=True)
class At:
    """One commit, reached through one reference."""

    reference: str
    commit: CommitHash

    def __str__(self) -> str:
        return f"{self.reference}@{self.commit}"

    def sql_name(self, table: TableName) -> str:
        """How Spark SQL names a table at this commit."""
        return identifier(table, f"{self.reference}#{self.commit}")


def resolve(lake: Lakehouse, text: str | None) -> At:
    """Find the commit that a person names.

    Args:
        lake: the lakehouse.
        text: a branch or tag, a commit of the target ref, a time (as published), or None for the target ref.

    Raises:
        UnknownReferenceError: no such branch, tag or commit exists, or nothing was published by that time.
        UsageError: the text can't be any of these.
    """
    if text is None:
        return At(lake.target, lake.nessie.head(lake.target))
    if _TIME.match(text):
        return published_at(lake, parse_moment(text))
    if _COMMIT.fullmatch(text):
        for entry in lake.nessie.log(lake.target):
            if entry.hash.startswith(text):
                return At(lake.target, entry.hash)
        raise UnknownReferenceError(
            f"{lake.target} has no commit {text}.", hint="`asgard runs` lists what was published."
        )
    reference = lake.nessie.reference(check_reference(text))
    return At(reference.name, reference.hash)


def published_at(lake: Lakehouse, moment: datetime) -> At:
    """The target ref as it was published at a moment.

    Raises:
        UnknownReferenceError: nothing was published by then.
    """
    for entry in lake.nessie.log(lake.target):
        if entry.committed <= moment:
            return At(lake.target, entry.hash)
    raise UnknownReferenceError(
        f"Nothing was published on {lake.target} by {moment.isoformat()}.", hint="Name a later time."
    )


def published_with(lake: Lakehouse, table: TableName, snapshot: SnapshotId) -> At:
    """The newest commit of the target ref that published a table with a snapshot.

    Raises:
        UsageError: the table was never published with that snapshot.
    """
    for entry, content in lake.nessie.history(lake.target, table):
        if content is not None and content.is_table and content.snapshot_id == snapshot:
            return At(lake.target, entry.hash)
    raise UsageError(
        f"{table} was never published on {lake.target} with snapshot {snapshot}.",
        hint=f"`asgard lineage {table}` names its current snapshot; --as-of takes a time.",
    )


def read_at(lake: Lakehouse, table: TableName, at: At) -> "DataFrame":
    """The rows of a table at a commit.

    Raises:
        UnknownTableError: the table doesn't exist there.
    """
    lake.content(table, str(at))
    return lake.spark.table(at.sql_name(table))
