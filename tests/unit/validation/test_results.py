"""Results: what blocks, and how they are written as JSON."""

import json
import math
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest

from asgard.validation.checks import Scope, Severity
from asgard.validation.results import AnsweredBy, AuditOutcome, CheckResult, TableAudit
from asgard.validation.rules import CheckKind

PASSED = CheckResult(
    name="between(a)",
    kind=CheckKind.BETWEEN,
    columns=("a",),
    severity=Severity.ERROR,
    scope=Scope.ADDED,
    passed=True,
    answered_by=AnsweredBy.SCAN,
    measured={"failing_share": 0.0},
    bounds={"low": Decimal("0.10"), "high": math.inf},
    failing_rows=0,
    checked_rows=3,
)
AS_OF = datetime(2024, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("passed", "severity", "answered_by", "blocks"),
    [
        (True, Severity.ERROR, AnsweredBy.SCAN, False),
        (False, Severity.ERROR, AnsweredBy.SCAN, True),
        (False, Severity.WARN, AnsweredBy.STATISTICS, False),
        (False, Severity.WARN, AnsweredBy.ERROR, True),
    ],
)
def test_what_blocks(passed: bool, severity: Severity, answered_by: AnsweredBy, blocks: bool) -> None:
    result = replace(PASSED, passed=passed, severity=severity, answered_by=answered_by)
    audit = TableAudit("silver.t", (PASSED, result))

    assert result.blocks is blocks
    assert audit.passed is not blocks
    assert audit.blocking == ((result,) if blocks else ())
    assert audit.warnings == (() if passed or blocks else (result,))
    assert AuditOutcome(AS_OF, (TableAudit("silver.u", (PASSED,)), audit)).passed is not blocks


def test_everything_becomes_strict_json() -> None:
    odd = {
        "nan": math.nan,
        "infinite": -math.inf,
        "decimal": Decimal("1E+3"),
        "moment": AS_OF,
        "date": date(2024, 1, 2),
        "age": timedelta(hours=1),
        "bytes": b"\x00\xff",
        "nested": {"list": [(1, None)], 3: True},
    }
    result = replace(PASSED, passed=False, sample=(odd,), measured=odd)
    outcome = AuditOutcome(AS_OF, (TableAudit("silver.t", (result,)),))
    written = json.loads(json.dumps(outcome.to_json(), allow_nan=False))

    assert written["passed"] is False
    assert written["tables"][0]["results"][0]["bounds"] == {"low": "0.10", "high": "inf"}
    assert written["tables"][0]["results"][0]["sample"] == [
        {
            "nan": "nan",
            "infinite": "-inf",
            "decimal": "1000",
            "moment": "2024-01-01T00:00:00+00:00",
            "date": "2024-01-02",
            "age": 3600.0,
            "bytes": "00ff",
            "nested": {"list": [[1, None]], "3": True},
        }
    ]
