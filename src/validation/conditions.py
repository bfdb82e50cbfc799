"""What makes a row fail, as SQL: the audit executes the same text that a person can run.

The condition is true for a failing row, and false or null for one that passes.
"""

import math
from typing import assert_never

from asgard.validation import rules, sql_text
from asgard.validation.bounds import Range, fit_range, fit_values, literal
from asgard.validation.rules import RowRule
from asgard.validation.schema import Field, Schema, TypeKind, UnfitCheckError


def failing_condition(rule: RowRule, schema: Schema) -> str | None:
    """The condition of the rows that break `rule`; None for an expression given as a Column.

    Raises:
        UnfitCheckError: the rule doesn't fit the schema.
    """
    match rule:
        case rules.NotNull(column=column):
            return f"{schema.find(column).sql} IS NULL"
        case rules.AcceptedValues(column=column, values=values):
            field = schema.find(column)
            accepted = ", ".join(literal(field, value) for value in fit_values(field, values))
            plus = " + 0" if field.kind is TypeKind.FLOATING else ""  # -0.0 + 0 is 0.0, the one that IN looks for
            return f"{field.sql}{plus} NOT IN ({accepted})"
        case rules.Between(column=column, low=low, high=high, allow_nan=allow_nan):
            return outside_condition(fit_range(schema.find(column), low, high, nan_outside=not allow_nan))
        case rules.Matches(column=column, pattern=pattern):
            field = text_field(schema, column, rule)
            # (?U): \s, \w, \d and \b cover all of Unicode; without it, Java's \s doesn't match a no-break space.
            whole = sql_text.text_literal(r"\A(?U:" + pattern + r")\z")
            return f"NOT {field.sql} RLIKE {whole}"
        case rules.Length(column=column, low=low, high=high):
            field = text_field(schema, column, rule)
            size = f"char_length({field.sql})"
            sides = [f"{size} < {low}" if low else "", f"{size} > {high}" if high is not None else ""]
            return " OR ".join(side for side in sides if side) or "FALSE"
        case rules.Expression(condition=condition):
            # A line of its own, as the text may end in a comment.
            return f"NOT (\n{condition}\n)" if isinstance(condition, str) else None
        case _:
            assert_never(rule)


def outside_condition(wanted: Range) -> str:
    """The condition of the rows whose value lies outside a range. Spark treats NaN as the greatest number."""
    name, field = wanted.field.sql, wanted.field
    floating = field.kind is TypeKind.FLOATING
    if wanted.nothing:
        return f"{name} IS NOT NULL"
    below = "" if wanted.low is None else f"{name} < {literal(field, wanted.low)}"
    above = "" if wanted.high is None else f"{name} > {literal(field, wanted.high)}"
    if floating and wanted.nan_outside and not above:
        above = f"isnan({name})"
    if floating and not wanted.nan_outside and above:
        above = f"({above} AND NOT isnan({name}))" if wanted.high != math.inf else ""
    return " OR ".join(side for side in (below, above) if side) or "FALSE"


def text_field(schema: Schema, column: str, rule: rules.Matches | rules.Length) -> Field:
    """The column of a rule about text.

    Raises:
        UnfitCheckError: missing, or not a string.
    """
    field = schema.find(column)
    if field.kind is not TypeKind.STRING:
        raise UnfitCheckError(
            f"{column} is {field.type}; {rule.kind} reads strings.", hint="Cast the column in the table's function."
        )
    return field
