"""Runs a pass: one aggregate over the rows for all its measures, or a pass of its own for `unique` and `references`."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from asgard.validation.batch import RelationReader
from asgard.validation.compiler import ScanPass
from asgard.validation.measures import AggregateMeasure, Broken, Measure, Orphans, Shared
from asgard.validation.schema import Field, Schema, TypeKind, UnfitCheckError

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

MAX_AGGREGATES = 90
"""Aggregates per job. Beyond spark.sql.codegen.maxFields (100) columns Spark stops compiling the plan."""

MAX_ATTEMPTS = 200
"""Limit of jobs that look for the measures that made a pass fail; after it, the remaining ones count as failed."""


@dataclass(frozen=True)
class Scanned:
    """What a pass found: a value or an error for each measure, and how long the pass took."""

    found: dict[Measure, Any]
    errors: dict[Measure, Exception]
    seconds: float


def run_pass(work: ScanPass, frame: "Callable[[], DataFrame]", relation: RelationReader | None) -> Scanned:
    """Compute the measures of a pass over its rows.

    A measure that raises does not hide the others: measures that failed together are retried in halves.
    """
    started = time.monotonic()
    measured: dict[Measure, Any] = {}
    errors: dict[Measure, Exception] = {}
    try:
        rows = frame()
        _require_parser(rows)
        alone = work.measures[0]
        if isinstance(alone, Shared):
            measured[alone] = count_shared(rows, alone)
        elif isinstance(alone, Orphans):
            measured[alone] = orphans(rows, alone, relation).count()
        else:
            _aggregate_all(rows, cast("tuple[AggregateMeasure, ...]", work.measures), measured, errors)
    except Exception as error:
        errors.update({measure: error for measure in work.measures if measure not in measured})
    return Scanned(measured, errors, time.monotonic() - started)


def shared_keys(rows: "DataFrame", measure: Shared) -> "DataFrame":
    """The values that more than one row has in the fields, without nulls, and the number of those rows, as `rows`."""
    from pyspark.sql import functions as F

    names = [f"k{index}" for index in range(len(measure.fields))]
    keys = rows.select(*(F.col(field.sql).alias(name) for field, name in zip(measure.fields, names, strict=True)))
    present = keys.where(" AND ".join(f"{name} IS NOT NULL" for name in names))  # dropna would drop NaN too
    return present.groupBy(*names).agg(F.count("*").alias("rows")).where("rows > 1")


def count_shared(rows: "DataFrame", measure: Shared) -> tuple[int, int]:
    """How many values more than one row has, and how many rows have them."""
    row = shared_keys(rows, measure).selectExpr("count(1)", "coalesce(sum(rows), 0L)").first()
    assert row is not None  # noqa: S101 - an aggregate without keys gives one row
    return row[0], row[1]


def orphans(rows: "DataFrame", measure: Orphans, relation: RelationReader | None) -> "DataFrame":
    """The rows whose values another table lacks, without rows that have a null among the values."""
    from pyspark.sql import functions as F

    target = target_fields(measure, relation)
    assert relation is not None  # noqa: S101 - target_fields raised otherwise
    names = [f"__asgard_target_{index}" for index in range(len(target))]
    others = relation(measure.table).frame.select(
        *(F.col(field.sql).alias(name) for field, name in zip(target, names, strict=True))
    )
    same: Column = F.lit(True)
    present: Column = F.lit(True)
    for field, name in zip(measure.fields, names, strict=True):
        same = same & (F.col(field.sql) == F.col(name))
        present = present & F.col(field.sql).isNotNull()
    return rows.where(present).join(others, same, "left_anti")


def target_fields(measure: Orphans, relation: RelationReader | None) -> tuple[Field, ...]:
    """The columns of the other table, of the same types.

    Raises:
        UnfitCheckError: the table can't be read, lacks a column, or has it with another type.
    """
    if relation is None:
        raise UnfitCheckError(
            f"{measure.table} can't be read here.", hint="Call the audit with `relation`, which reads other tables."
        )
    schema = Schema.of(relation(measure.table).frame.schema)
    targets = []
    for field, column in zip(measure.fields, measure.target_columns, strict=True):
        try:
            target = schema.find(column)
        except UnfitCheckError as error:
            raise UnfitCheckError(f"{measure.table}: {error.message}", hint=error.hint) from None
        if field.kind is not target.kind or (field.kind is TypeKind.OTHER and field.type != target.type):
            raise UnfitCheckError(
                f"{field.name} is {field.type}, but {measure.table}.{column} is {target.type}.",
                hint="Cast one of them in its table's function.",
            )
        targets.append(target)
    return tuple(targets)


def _require_parser(rows: "DataFrame") -> None:
    if rows.sparkSession.conf.get("spark.sql.parser.escapedStringLiterals") == "true":
        raise UnfitCheckError(
            "spark.sql.parser.escapedStringLiterals is on, so Spark would misread r'...'.", hint="Turn it off."
        )


def _aggregate_all(
    rows: "DataFrame",
    measures: Sequence[AggregateMeasure],
    found: dict[Measure, Any],
    errors: dict[Measure, Exception],
) -> None:
    attempts = iter(range(MAX_ATTEMPTS))
    sound = []
    for measure in sorted(measures, key=lambda each: each.sort_key):
        # Only a user's own condition can fail in analysis: find that out before any job runs.
        error = _analyse(rows, measure) if isinstance(measure, Broken) else None
        if error is None:
            sound.append(measure)
        else:
            errors[measure] = error
    for chunk in _chunks(sound):
        _aggregate(rows, chunk, found, errors, attempts)


def _aggregate(
    rows: "DataFrame",
    measures: Sequence[AggregateMeasure],
    found: dict[Measure, Any],
    errors: dict[Measure, Exception],
    attempts: Iterator[int],
) -> None:
    try:
        columns = [measure.column().alias(f"m{index}") for index, measure in enumerate(measures)]
        row = rows.agg(*columns).first()
        assert row is not None  # noqa: S101 - an aggregate without keys gives one row
        found.update({measure: measure.decode(value) for measure, value in zip(measures, row, strict=True)})
    except Exception as error:
        if len(measures) == 1 or next(attempts, None) is None:
            errors.update(dict.fromkeys(measures, error))
            return
        half = len(measures) // 2
        _aggregate(rows, measures[:half], found, errors, attempts)
        _aggregate(rows, measures[half:], found, errors, attempts)


def _analyse(rows: "DataFrame", measure: AggregateMeasure) -> Exception | None:
    try:
        rows.agg(measure.column())
    except Exception as error:
        return error
    return None


def _chunks(measures: Sequence[AggregateMeasure]) -> list[Sequence[AggregateMeasure]]:
    """In equal parts of at most MAX_AGGREGATES, in order."""
    parts = -(-len(measures) // MAX_AGGREGATES)
    size = -(-len(measures) // parts) if parts else 0
    return [measures[index : index + size] for index in range(0, len(measures), size or 1)]
