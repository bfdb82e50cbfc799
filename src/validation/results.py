"""Results of an audit: per check, per table, and as one verdict; all of them can be written as JSON."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum

from asgard.validation.checks import Scope, Severity
from asgard.validation.rules import CheckKind


class AnsweredBy(StrEnum):
    """Where an answer came from."""

    STATISTICS = "statistics"
    SCAN = "scan"
    ERROR = "error"


@dataclass(frozen=True)
class CheckResult:
    """One check's answer.

    Attributes:
        passed: whether the check passed. A check that could not be answered did not pass.
        measured: what was measured, by name; the names depend on the kind.
        bounds: what was expected.
        failing_rows: number of rows that fail; None if the check isn't about single rows, or has no answer.
        checked_rows: number of rows in its scope; None if the check has no answer.
        scanned_files: files that were read for it, 0 if statistics answered; None if files are unknown.
        sample: some failing rows, as column to value; for `unique`, the values that repeat, and `rows`.
        sample_sql: a statement that finds the failing rows, or shows what was measured.
        error: why there is no answer; set exactly if `answered_by` is `error`.
        seconds: time of the pass that answered it, which it may share with other checks.
    """

    name: str
    kind: CheckKind
    columns: tuple[str, ...]
    severity: Severity
    scope: Scope
    passed: bool
    answered_by: AnsweredBy
    measured: Mapping[str, object]
    bounds: Mapping[str, object]
    failing_rows: int | None = None
    checked_rows: int | None = None
    scanned_files: int | None = None
    sample: Sequence[Mapping[str, object]] = ()
    sample_sql: str | None = None
    error: str | None = None
    seconds: float = 0.0

    @property
    def blocks(self) -> bool:
        """Whether it blocks the publish: it failed with severity error, or could not be answered."""
        return not self.passed and (self.severity is Severity.ERROR or self.answered_by is AnsweredBy.ERROR)

    def told(self) -> Iterator[str]:
        """A failed check in lines for people: what was measured and expected, how many rows fail, SQL to find them."""
        if self.error:
            yield f"{self.name}: {self.error}"
            return
        measured, bounds = (
            ", ".join(f"{name}={value}" for name, value in each.items()) for each in (self.measured, self.bounds)
        )
        failing = f", {self.failing_rows:,} of {self.checked_rows or 0:,} rows fail" if self.failing_rows else ""
        yield f"{self.name}: measured {measured or 'nothing'}; expected {bounds}{failing}"
        if self.sample_sql:
            yield f"  {self.sample_sql}"

    def to_json(self) -> dict[str, object]:
        """Plain values that `json.dumps(..., allow_nan=False)` takes."""
        return {
            "name": self.name,
            "kind": str(self.kind),
            "columns": list(self.columns),
            "severity": str(self.severity),
            "scope": str(self.scope),
            "passed": self.passed,
            "blocks": self.blocks,
            "answered_by": str(self.answered_by),
            "measured": json_value(self.measured),
            "bounds": json_value(self.bounds),
            "failing_rows": self.failing_rows,
            "checked_rows": self.checked_rows,
            "scanned_files": self.scanned_files,
            "sample": json_value(self.sample),
            "sample_sql": self.sample_sql,
            "error": self.error,
            "seconds": round(self.seconds, 3),
        }


@dataclass(frozen=True)
class TableAudit:
    """All answers of one table, in the order of its declaration."""

    table: str
    results: tuple[CheckResult, ...]
    seconds: float = 0.0

    @property
    def passed(self) -> bool:
        """Whether no check blocks."""
        return not self.blocking

    @property
    def blocking(self) -> tuple[CheckResult, ...]:
        """The checks that block the publish."""
        return tuple(result for result in self.results if result.blocks)

    @property
    def warnings(self) -> tuple[CheckResult, ...]:
        """The checks that failed without blocking."""
        return tuple(result for result in self.results if not result.passed and not result.blocks)

    def to_json(self) -> dict[str, object]:
        """Plain values for JSON."""
        return {
            "table": self.table,
            "passed": self.passed,
            "seconds": round(self.seconds, 3),
            "results": [result.to_json() for result in self.results],
        }


@dataclass(frozen=True)
class AuditOutcome:
    """The audit of all tables of a run, as of one moment."""

    as_of: datetime
    tables: tuple[TableAudit, ...]

    @property
    def passed(self) -> bool:
        """Whether no check of any table blocks."""
        return all(table.passed for table in self.tables)

    @property
    def warnings(self) -> tuple[tuple[str, CheckResult], ...]:
        """The checks that failed without blocking, each with its table."""
        return tuple((table.table, result) for table in self.tables for result in table.warnings)

    def warnings_json(self) -> list[dict[str, object]]:
        """The warnings as plain values for JSON."""
        kept = ("name", "failing_rows", "checked_rows", "measured", "bounds")
        return [
            {"table": table, **{name: value for name, value in result.to_json().items() if name in kept}}
            for table, result in self.warnings
        ]

    def to_json(self) -> dict[str, object]:
        """Plain values for JSON."""
        return {
            "passed": self.passed,
            "as_of": self.as_of.isoformat(),
            "warnings": self.warnings_json(),
            "tables": [table.to_json() for table in self.tables],
        }


def json_value(value: object) -> object:
    """A value of a result, a row, or a bound, as a JSON value.

    Decimals, NaN, infinities, dates and moments (ISO 8601) become text; durations become seconds; bytes become hex.
    """
    match value:
        case None | bool() | str() | int():
            return value
        case float():
            return value if math.isfinite(value) else str(value)
        case Decimal():
            return f"{value:f}" if value.is_finite() else str(value)
        case datetime() | date():
            return value.isoformat()
        case timedelta():
            return value.total_seconds()
        case bytes() | bytearray():
            return value.hex()
        case Mapping():
            return {str(key): json_value(each) for key, each in value.items()}
        case list() | tuple() | set() | frozenset():
            return [json_value(each) for each in value]
        case _:
            return str(value)
