"""Failing rows, and the SQL that finds them."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, assert_never

from asgard.validation import rules
from asgard.validation.batch import Batch, RelationReader
from asgard.validation.measures import Broken, Failing, Measure, NotAccepted, Orphans, Outside, Shared, Values
from asgard.validation.questions import Question
from asgard.validation.scan import orphans, shared_keys, target_fields

if TYPE_CHECKING:
    from pyspark.sql import DataFrame
    from pyspark.sql.types import DataType

MAX_TEXT = 300
"""Characters of a text that a sample keeps."""


def sample_sql(question: Question, batch: Batch, relation: RelationReader | None) -> str | None:
    """A statement that finds the failing rows, or shows what was measured; None for a condition without SQL text."""
    rule = question.check.rule
    match rule:
        case rules.RowCount():
            return _select("count(*)", batch)
        case rules.MeanBetween(column=column):
            return _select(f"avg({_sql(batch, column)})", batch)
        case rules.Freshness(column=column):
            return _select(f"max({_sql(batch, column)})", batch)
        case rules.QuantileBetween(column=column, q=q):
            return _select(f"percentile_disc({q}) WITHIN GROUP (ORDER BY {_sql(batch, column)})", batch)
        case rules.NullRate(column=column):
            return _select("*", batch, f"{_sql(batch, column)} IS NULL")
        case rules.Unique(columns=columns):
            keys = ", ".join(_sql(batch, column) for column in columns)
            present = " AND ".join(f"{_sql(batch, column)} IS NOT NULL" for column in columns)
            counted = _select(f"{keys}, count(*) AS rows", batch, present)
            return f"{counted} GROUP BY {keys} HAVING count(*) > 1"
        case rules.References():
            return _orphans_sql(question, batch, relation)
        case (
            rules.NotNull()
            | rules.AcceptedValues()
            | rules.Between()
            | rules.Matches()
            | rules.Length()
            | rules.Expression()
        ):
            return _select("*", batch, question.condition) if question.condition else None
        case _:
            assert_never(rule)


def sample(question: Question, batch: Batch, relation: RelationReader | None, limit: int) -> list[dict[str, object]]:
    """Up to `limit` failing rows, as column to value; for `unique` the values that repeat, and `rows`.

    Empty for a check that isn't about single rows.
    """
    from pyspark.sql import functions as F

    rule = question.check.rule
    measure = question.measures[-1]
    rows = batch.frame(_files_with_failures(batch, measure))
    failing: DataFrame
    if isinstance(measure, Shared):
        names = [field.name for field in measure.fields]
        failing = shared_keys(rows, measure).toDF(*names, "rows")
    elif isinstance(measure, Orphans):
        failing = orphans(rows, measure, relation)
    elif isinstance(measure, Broken):
        failing = rows.where(measure.failing())
    elif isinstance(rule, rules.NullRate):
        failing = rows.where(f"{_sql(batch, rule.column)} IS NULL")
    elif question.condition:
        failing = rows.where(F.expr(question.condition))
    else:
        return []
    types = [field.dataType for field in failing.schema.fields]
    names = failing.columns
    return [
        {name: _plain(value, type_) for name, value, type_ in zip(names, row, types, strict=True)}
        for row in failing.limit(limit).collect()
    ]


def _files_with_failures(batch: Batch, measure: Measure) -> tuple[str, ...] | None:
    """The files that may have failing rows according to statistics: a sample reads only these."""
    if batch.statistics is None:
        return None
    if isinstance(measure, Values):
        paths = [file.path for file in batch.statistics if measure.from_file(file) != file.record_count]
    elif isinstance(measure, Failing | Outside | NotAccepted | Orphans):
        paths = [file.path for file in batch.statistics if measure.from_file(file) != 0]
    else:
        return None
    return None if len(paths) == len(batch.statistics) else tuple(paths)


def _orphans_sql(question: Question, batch: Batch, relation: RelationReader | None) -> str | None:
    measure = question.measures[-1]
    if not isinstance(measure, Orphans) or relation is None:
        return None
    pairs = list(zip(measure.fields, target_fields(measure, relation), strict=True))
    present = " AND ".join(f"{own.sql} IS NOT NULL" for own, _ in pairs)
    same = " AND ".join(f"other.{target.sql} = own.{own.sql}" for own, target in pairs)
    inner = f"SELECT 1 FROM {relation(measure.table).sql_name} AS other WHERE {same}"  # noqa: S608 - quoted parts
    return f"{_select('*', batch, present, alias='own')} AND NOT EXISTS ({inner})"


def _select(what: str, batch: Batch, condition: str | None = None, alias: str = "") -> str:
    conditions = [f"({part})" for part in (batch.sql_filter, condition) if part]
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    return f"SELECT {what} FROM {batch.sql_name}{f' AS {alias}' if alias else ''}{where}"  # noqa: S608 - quoted parts


def _sql(batch: Batch, column: str) -> str:
    return batch.schema.find(column).sql


def _plain(value: Any, type_: "DataType") -> object:
    """A value for a report: moments in UTC (PySpark gives them in the machine's own zone), long text cut."""
    match type_.typeName(), value:
        case "timestamp", datetime():
            return value.astimezone(UTC)
        case _, str() if len(value) > MAX_TEXT:
            return value[:MAX_TEXT] + "…"
        case "struct", tuple():
            fields = type_.fields  # type: ignore[attr-defined]  # a struct, by its name
            return {field.name: _plain(each, field.dataType) for field, each in zip(fields, value, strict=True)}
        case "array", list():
            return [_plain(each, type_.elementType) for each in value]  # type: ignore[attr-defined]
        case "map", Mapping():
            return {str(key): _plain(each, type_.valueType) for key, each in value.items()}  # type: ignore[attr-defined]
        case _:
            return value
