"""A check fitted to a table's columns: the measures that answer it, and the judgement over them."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any, assert_never

from asgard.validation import rules
from asgard.validation.bounds import fit_range, fit_values
from asgard.validation.checks import Check
from asgard.validation.conditions import failing_condition, text_field
from asgard.validation.measures import (
    Broken,
    Failing,
    Mean,
    Measure,
    Newest,
    NotAccepted,
    Orphans,
    Outside,
    RecordCount,
    Shared,
    Values,
)
from asgard.validation.schema import MOMENTS, NUMBERS, Field, Schema, TypeKind, UnfitCheckError


@dataclass(frozen=True)
class Judgement:
    """The answer to a question: whether the check passed, what was measured, and how many rows fail."""

    passed: bool
    measured: Mapping[str, object]
    failing_rows: int | None = None


Answers = Mapping[Measure, Any]
Judge = Callable[[Answers, datetime], Judgement]


@dataclass(frozen=True)
class Question:
    """A check that fits its table.

    Attributes:
        check: as declared.
        measures: what must be known to answer it.
        judge: computes the answer from the measures and the audit's as_of.
        condition: SQL of the failing rows, for a row rule that can be written as SQL.
    """

    check: Check
    measures: tuple[Measure, ...]
    judge: Judge
    condition: str | None = None


ROWS = RecordCount()


def fit(check: Check, schema: Schema) -> Question:
    """Fit a check to a table's columns.

    Raises:
        UnfitCheckError: a column is missing, or of a type that the check can't read.
    """
    measures, judge = _fit(check.rule, schema)
    condition = failing_condition(check.rule, schema) if isinstance(check.rule, rules.RowRule) else None
    return Question(check, (ROWS, *measures), judge, condition)


def _fit(rule: rules.Rule, schema: Schema) -> tuple[tuple[Measure, ...], Judge]:
    match rule:
        case rules.NotNull(column=column):
            return _nulls(schema.find(column), 0.0)
        case rules.NullRate(column=column, max_rate=max_rate):
            return _nulls(schema.find(column), max_rate)
        case rules.AcceptedValues(column=column, values=values):
            field = schema.find(column)
            accepted = frozenset(fit_values(field, values))
            return _count(NotAccepted(field, accepted, failing_condition(rule, schema) or ""))
        case rules.Between(column=column, low=low, high=high, allow_nan=allow_nan):
            return _count(Outside(fit_range(schema.find(column), low, high, nan_outside=not allow_nan)))
        case rules.Matches() | rules.Length():
            return _count(Failing(failing_condition(rule, schema) or "", text_field(schema, rule.column, rule)))
        case rules.Expression(condition=condition):
            return _count(Broken(condition))
        case rules.RowCount():
            return _row_count(rule)
        case rules.Freshness():
            return _freshness(rule, _require(schema.find(rule.column), MOMENTS, rule))
        case rules.MeanBetween():
            return _mean(rule, _require(schema.find(rule.column), NUMBERS, rule))
        case rules.QuantileBetween():
            return _quantile(rule, _require(schema.find(rule.column), NUMBERS | MOMENTS, rule))
        case rules.Unique(columns=columns):
            return _unique(tuple(_require_ordered(schema.find(column), rule) for column in columns))
        case rules.References():
            fields = tuple(_require_ordered(schema.find(column), rule) for column in rule.columns)
            return _count(Orphans(fields, rule.table, rule.target_columns))
        case _:
            assert_never(rule)


def _count(measure: Measure) -> tuple[tuple[Measure, ...], Judge]:
    def judge(answers: Answers, as_of: datetime) -> Judgement:
        failing, rows = answers[measure], answers[ROWS]
        return Judgement(failing == 0, {"failing_share": failing / rows if rows else 0.0}, failing)

    return (measure,), judge


def _nulls(field: Field, max_rate: float) -> tuple[tuple[Measure, ...], Judge]:
    values = Values(field)

    def judge(answers: Answers, as_of: datetime) -> Judgement:
        rows = answers[ROWS]
        nulls = rows - answers[values]
        rate = nulls / rows if rows else 0.0
        return Judgement(rate <= max_rate, {"null_rate": rate}, nulls)

    return (values,), judge


def _row_count(rule: rules.RowCount) -> tuple[tuple[Measure, ...], Judge]:
    def judge(answers: Answers, as_of: datetime) -> Judgement:
        rows = answers[ROWS]
        return Judgement(_inside(rows, rule.low, rule.high), {"rows": rows})

    return (), judge


def _freshness(rule: rules.Freshness, field: Field) -> tuple[tuple[Measure, ...], Judge]:
    newest = Newest(field)

    def judge(answers: Answers, as_of: datetime) -> Judgement:
        moment = answers[newest]
        if moment is None:
            return Judgement(rule.allow_empty, {"newest": None})
        age = as_of - moment
        ahead = rule.max_ahead is None or -age <= rule.max_ahead
        return Judgement(age <= rule.max_age and ahead, {"newest": moment, "age": age})

    return (newest,), judge


def _mean(rule: rules.MeanBetween, field: Field) -> tuple[tuple[Measure, ...], Judge]:
    mean = Mean(field)

    def judge(answers: Answers, as_of: datetime) -> Judgement:
        value = answers[mean]
        passed = rule.allow_empty if value is None else _inside(value, rule.low, rule.high)
        return Judgement(passed, {"mean": value})

    return (mean,), judge


def _quantile(rule: rules.QuantileBetween, field: Field) -> tuple[tuple[Measure, ...], Judge]:
    """Decided by counting: of n values, the k-th smallest is >= low if fewer than k are below low, and
    <= high if at least k are not above high."""
    values = Values(field)
    below = Outside(fit_range(field, rule.low, None, nan_outside=False)) if rule.low is not None else None
    above = Outside(fit_range(field, None, rule.high)) if rule.high is not None else None

    def judge(answers: Answers, as_of: datetime) -> Judgement:
        count = answers[values]
        low, high = (answers[each] if each else 0 for each in (below, above))
        measured = {"values": count, "below": low, "above": high}
        if not count:
            return Judgement(rule.allow_empty, measured)
        rank = rules.rank(rule.q, count)
        return Judgement(low < rank <= count - high, measured)

    return (values, *(each for each in (below, above) if each)), judge


def _unique(fields: tuple[Field, ...]) -> tuple[tuple[Measure, ...], Judge]:
    shared = Shared(fields)

    def judge(answers: Answers, as_of: datetime) -> Judgement:
        keys, rows = answers[shared] or (0, 0)
        return Judgement(rows == 0, {"shared_keys": keys, "surplus_rows": rows - keys}, rows)

    return (shared,), judge


def _inside(value: float | Decimal, low: object, high: object) -> bool:
    """Low <= value <= high, compared as exact numbers; NaN is never inside."""
    if not math.isfinite(value):
        bounds = (float("-inf") if low is None else float(low), float("inf") if high is None else float(high))  # type: ignore[arg-type]
        return bounds[0] <= value <= bounds[1]
    exact = _exact(value)
    return (low is None or _exact(low) <= exact) and (high is None or exact <= _exact(high))


def _exact(value: object) -> Fraction | float:
    """A number exactly; a float as the decimal that it prints as, so that 0.1 equals the decimal 0.1."""
    assert isinstance(value, int | float | Decimal)  # noqa: S101 - of this family, as the rule required
    return Fraction(str(value)) if math.isfinite(value) else float(value)


def _require(field: Field, kinds: frozenset[TypeKind], rule: rules.Rule) -> Field:
    if field.kind not in kinds:
        raise UnfitCheckError(
            f"{field.name} is {field.type}; {rule.kind} reads {' or '.join(sorted(kinds))} columns.",
            hint="Cast the column in the table's function.",
        )
    return field


def _require_ordered(field: Field, rule: rules.Rule) -> Field:
    if field.kind is TypeKind.UNORDERED:
        raise UnfitCheckError(
            f"{field.name} is {field.type}; {rule.kind} can't compare such values.", hint="Name other columns."
        )
    return field
