"""Audits of a DataFrame as if it were a table."""

from collections.abc import Sequence
from datetime import UTC, datetime

from pyspark.sql import DataFrame

from asgard.validation.batch import AuditedTable, Batch, RelationReader
from asgard.validation.checks import Check, Scope
from asgard.validation.results import CheckResult
from asgard.validation.schema import Schema
from asgard.validation.validator import audit

AS_OF = datetime(2024, 1, 10, tzinfo=UTC)


def whole(frame: DataFrame, sql_name: str = "t") -> dict[Scope, Batch]:
    """Return the frame as one batch of unknown files, for every scope."""

    def rows(files: Sequence[str] | None) -> DataFrame:
        assert files is None
        return frame

    return dict.fromkeys(Scope, Batch(Schema.of(frame.schema), rows, sql_name))


def run(frame: DataFrame, *checks: Check, relation: RelationReader | None = None) -> dict[str, CheckResult]:
    """Run checks, and return their results by name."""
    outcome = audit([AuditedTable("silver.t", checks, whole(frame))], as_of=AS_OF, relation=relation)
    assert [result.name for result in outcome.tables[0].results] == [check.name for check in checks]
    return {result.name: result for result in outcome.tables[0].results}
