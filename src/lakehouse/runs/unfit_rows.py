"""Check that rows fit their table's declaration, before any of them is written."""

from collections.abc import Collection
from typing import TYPE_CHECKING

from asgard.common.arguments import nearest
from asgard.common.errors import DeclarationError
from asgard.common.places import place_of
from asgard.common.spark_utils import explained, first_line
from asgard.lakehouse.declaring.declaration import INTERVAL_TYPES, Table, WriteMode
from asgard.lakehouse.declaring.stored_types import stored_schema
from asgard.validation.questions import fit
from asgard.validation.rules import AfterWrite, Expression
from asgard.validation.schema import Schema, UnfitCheckError

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from asgard.validation.checks import Check


def require_rows_fit(table: Table, rows: "DataFrame", stored: Collection[str] = ()) -> None:
    """Refuse rows that lack a column that the declaration names, or have it in a type that the declaration can't use.

    If the table exists already, its own types decide, and the audit applies the checks to them: here only columns are
    refused that neither the rows nor the table have.

    Args:
        table: the declaration.
        rows: to be written.
        stored: the columns that the table has already; none for a new table.

    Raises:
        DeclarationError: keys, interval, partitions or checks name a column that the rows lack, or can't use its type.
        RunError: a check's own condition fails.
    """
    if table.columns is None:  # declared columns were checked when the pipeline was loaded; the rows are cast to them
        with explained(f"Fitting the checks of {table.name} to its rows"):
            _require(table, rows, stored)


def _require(table: Table, rows: "DataFrame", stored: Collection[str]) -> None:
    wanted = {
        "keys": table.keys,
        "interval": (table.interval.column,) if table.interval else (),
        "partitioned_by": tuple(each.column for each in table.partition_fields),
    }
    for what, columns in wanted.items():
        names = {column.lower() for column in rows.columns}  # as Spark compares them
        missing = next((column for column in columns if column.lower() not in names), None)
        if missing is not None:
            meant = nearest(missing, rows.columns)
            merged = what == "keys" and table.mode is WriteMode.MERGE
            raise DeclarationError(
                f"{table.name} is merged by {', '.join(columns)}, but its rows lack {missing}."
                if merged
                else f"{table.name}: {what} names {missing!r}, which its rows lack.",
                hint=f"Did you mean {meant!r}?" if meant else f"Their columns are {', '.join(rows.columns)}.",
            )
    if table.interval:
        own = next(each for each in rows.schema.fields if each.name.lower() == table.interval.column.lower())
        kind = own.dataType.simpleString()
        if kind not in INTERVAL_TYPES:
            raise DeclarationError(
                f"The interval column {table.interval.column!r} of {table.name} is {kind}; it must be a timestamp, or "
                "a date for whole days.",
                hint=f"Cast it in the table's function, e.g. F.to_timestamp({table.interval.column!r}).",
            )
    schema = Schema.of(stored_schema(table, rows.schema))
    given = {name.lower() for name in schema.fields}
    only_stored = {name.lower() for name in stored} - given
    for check in table.audited_checks:
        if stored and check.columns and {name.lower() for name in check.columns} <= given | only_stored:
            continue
        try:
            fit(check, schema)
            if not only_stored:
                _require_analysed(check, rows)
        except UnfitCheckError as error:
            raise DeclarationError(
                f"{table.name}: check {check.name} does not fit its rows: {error.message}", hint=error.hint
            ) from error


def _require_analysed(check: "Check", rows: "DataFrame") -> None:
    """Let Spark analyse an expression: only Spark knows which columns the expression names."""
    from pyspark.errors import PySparkException
    from pyspark.sql import functions as F

    if not isinstance(check.rule, Expression) or isinstance(check.rule.condition, AfterWrite):
        return
    condition = check.rule.condition
    try:
        rows.select(F.expr(condition) if isinstance(condition, str) else condition())  # analysed, not run
    except PySparkException as error:
        place = place_of(error)
        raise UnfitCheckError(
            f"{first_line(error)}{f' ({place})' if place else ''}", hint=f"The columns are {', '.join(rows.columns)}."
        ) from error
