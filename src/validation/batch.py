"""What an audit reads: one scope of one table, and the tables that it refers to."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from asgard.validation.checks import Check, Scope
from asgard.validation.schema import Schema
from asgard.validation.statistics import FileStatistics

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


@dataclass(frozen=True)
class Batch:
    """The rows of one scope of one table.

    Attributes:
        schema: the columns of `frame`.
        frame: returns the rows of the given files only, or of the whole batch (None). Called at most a few times
            per audit, and never when statistics answer everything.
        sql_name: how SQL names the table, quoted and ready for a FROM clause.
        sql_filter: an SQL condition that limits the table to this batch, if there is one.
        statistics: of exactly the files whose rows `frame(None)` returns. None means unknown: everything is read.
            Must be None if a file has deleted rows, or lies partly outside the batch.
    """

    schema: Schema
    frame: "Callable[[Sequence[str] | None], DataFrame]"
    sql_name: str
    sql_filter: str | None = None
    statistics: Sequence[FileStatistics] | None = None


@dataclass(frozen=True)
class Relation:
    """Another table that a check refers to: its rows, and how SQL names it (quoted)."""

    frame: "DataFrame"
    sql_name: str


RelationReader = Callable[[str], Relation]
"""Returns the table of a name `layer.name`."""


@dataclass(frozen=True)
class AuditedTable:
    """A table under audit: its checks, and the batch of each scope that they read.

    Scopes with the same rows share one Batch object, and are then read together.
    """

    name: str
    checks: Sequence[Check]
    batches: Mapping[Scope, Batch]
