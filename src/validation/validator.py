"""The audit: plans each table's checks, runs the passes, and gives the verdict.

WAP fails closed: a check that can't be answered (its column is missing, its condition raises, its files
can't be read) is a failed check that blocks, whatever its severity.
"""

import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from asgard.common.errors import UsageError
from asgard.common.stopping import require_none
from asgard.validation import rules
from asgard.validation.batch import AuditedTable, RelationReader
from asgard.validation.checks import Check
from asgard.validation.compiler import AuditPlan, BatchPlan, compile_audit
from asgard.validation.failures import one_line, quiet
from asgard.validation.file_facts import extent
from asgard.validation.measures import Measure
from asgard.validation.questions import Question
from asgard.validation.results import AnsweredBy, AuditOutcome, CheckResult, TableAudit
from asgard.validation.samples import sample, sample_sql
from asgard.validation.scan import Scanned, run_pass

SAMPLE_ROWS = 5
MAX_SAMPLED = 20
"""Failed checks per table whose failing rows are fetched; the others carry only the SQL that finds them."""


def audit(
    tables: Iterable[AuditedTable],
    *,
    as_of: datetime,
    relation: RelationReader | None = None,
    sample_rows: int = SAMPLE_ROWS,
) -> AuditOutcome:
    """Audit the tables of a run.

    Args:
        tables: each with its checks and the batches that they read.
        as_of: the moment that `freshness` counts from.
        relation: reads the other tables that `references` names.
        sample_rows: failing rows to fetch for each failed check; 0 fetches none.

    Raises:
        DeclarationError: two checks of a table share a name.
        UsageError: as_of has no time zone.
    """
    plans = [compile_audit(table) for table in tables]
    audits = tuple(run_plan(plan, as_of=as_of, relation=relation, sample_rows=sample_rows) for plan in plans)
    return AuditOutcome(as_of.astimezone(UTC), audits)


def run_plan(
    plan: AuditPlan,
    *,
    as_of: datetime,
    relation: RelationReader | None = None,
    sample_rows: int = SAMPLE_ROWS,
) -> TableAudit:
    """Carry out the plan of one table; arguments and errors as in `audit`."""
    if as_of.tzinfo is None:
        raise UsageError(f"as_of is {as_of}, without a time zone.", hint="Write datetime(..., tzinfo=UTC).")
    started = time.monotonic()
    results: dict[str, CheckResult] = {
        check.name: _unanswered(check, one_line(plan.refused[check.name]))
        for check in plan.checks
        if check.name in plan.refused
    }
    with quiet():
        for batch in plan.batches:
            results |= _run_batch(batch, as_of, relation, sample_rows)
    require_none()  # a check that a signal interrupted has not failed
    ordered = tuple(results[check.name] for check in plan.checks)
    return TableAudit(plan.table, ordered, time.monotonic() - started)


def _run_batch(
    plan: BatchPlan, as_of: datetime, relation: RelationReader | None, sample_rows: int
) -> dict[str, CheckResult]:
    scans = [
        run_pass(work, lambda files=work.files: plan.batch.frame(files), relation)  # type: ignore[misc]
        for work in plan.passes
    ]
    results: dict[str, CheckResult] = {}
    sampled = 0
    for question in plan.questions:
        try:
            result = _judge(plan, question, scans, as_of)
        except Exception as error:
            result = _unanswered(question.check, one_line(error))
        if not result.passed and result.answered_by is not AnsweredBy.ERROR:
            fetch = sample_rows if sampled < MAX_SAMPLED and result.failing_rows else 0
            sampled += fetch > 0
            result = _with_sample(result, plan, question, relation, fetch)
        results[result.name] = result
    return results


def _judge(plan: BatchPlan, question: Question, scans: list[Scanned], as_of: datetime) -> CheckResult:
    check = question.check
    used = [scans[scan] for measure in question.measures if (scan := plan.sources[measure].scan) is not None]
    seconds = max((each.seconds for each in used), default=0.0)
    errors = [each.errors[measure] for each in used for measure in question.measures if measure in each.errors]
    if errors:
        return replace(_unanswered(check, one_line(errors[0])), seconds=seconds)
    answers = {measure: _answer(plan, measure, scans) for measure in question.measures}
    judgement = question.judge(answers, as_of)
    by_statistics = plan.by_statistics(question)
    return CheckResult(
        name=check.name,
        kind=check.kind,
        columns=check.columns,
        severity=check.severity,
        scope=check.scope,
        passed=judgement.passed,
        answered_by=AnsweredBy.STATISTICS if by_statistics else AnsweredBy.SCAN,
        measured={**judgement.measured, **_extent(plan, check)},
        bounds=rules.bounds_of(check.rule),
        failing_rows=judgement.failing_rows,
        checked_rows=answers[question.measures[0]],
        scanned_files=plan.scanned_files(question),
        seconds=seconds,
    )


def _answer(plan: BatchPlan, measure: Measure, scans: list[Scanned]) -> Any:
    source = plan.sources[measure]
    if source.scan is None:
        return source.known
    return measure.combine((source.known, scans[source.scan].found[measure]))


def _extent(plan: BatchPlan, check: Check) -> Mapping[str, object]:
    """The least and the greatest value, if statistics have them."""
    if not isinstance(check.rule, rules.Between) or not plan.batch.statistics:
        return {}
    known = extent(plan.batch.statistics, plan.batch.schema.find(check.rule.column))
    return {"min": known[0], "max": known[1]} if known else {}


def _with_sample(
    result: CheckResult, plan: BatchPlan, question: Question, relation: RelationReader | None, sample_rows: int
) -> CheckResult:
    """The result with failing rows and their SQL; if the sample fails, the result is unchanged."""
    statement = rows = None
    try:
        statement = sample_sql(question, plan.batch, relation)
        rows = sample(question, plan.batch, relation, sample_rows) if sample_rows else []
    except Exception:
        rows = rows or []
    return replace(result, sample=tuple(rows), sample_sql=statement)


def _unanswered(check: Check, error: str) -> CheckResult:
    return CheckResult(
        name=check.name,
        kind=check.kind,
        columns=check.columns,
        severity=check.severity,
        scope=check.scope,
        passed=False,
        answered_by=AnsweredBy.ERROR,
        measured={},
        bounds=rules.bounds_of(check.rule),
        error=error,
    )
