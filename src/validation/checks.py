"""The checks that a table may declare: pure functions, each returning one frozen `Check`.

Declaring checks imports no Spark. Nulls pass every check except `not_null` and `null_rate`: declare separately
whether a value must exist, and which values are right.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from asgard.common import arguments
from asgard.common.arguments import Misfit, Shape, declares, optional
from asgard.common.errors import CheckDefinitionError, DeclarationError
from asgard.validation import rules
from asgard.validation.rules import CheckKind, Rule, columns_of
from asgard.validation.values import Scalar

if TYPE_CHECKING:
    from pyspark.sql import Column

MAX_NAME = 200


class Severity(StrEnum):
    """What a failed check does to the run."""

    ERROR = "error"
    """Blocks the publish."""
    WARN = "warn"
    """Is reported; the run goes on."""


class Scope(StrEnum):
    """Which rows a check reads."""

    ADDED = "added"
    """The rows that the run added."""
    INTERVAL = "interval"
    """All rows of the interval that the run writes."""
    TABLE = "table"
    """All rows of the table."""


@dataclass(frozen=True)
class Check:
    """One named rule over a table's rows, with its severity and the scope of rows that it reads."""

    rule: Rule
    name: str
    severity: Severity = Severity.ERROR
    scope: Scope = Scope.ADDED

    def __post_init__(self) -> None:
        if not self.name.strip() or len(self.name) > MAX_NAME or not self.name.isprintable():
            raise CheckDefinitionError(
                f"{self.name!r} is not a usable check name.",
                hint=f"Use 1 to {MAX_NAME} printable characters; .named('...') sets it.",
            )

    @property
    def kind(self) -> CheckKind:
        """Which function declared it."""
        return self.rule.kind

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that it names; an expression names none."""
        return columns_of(self.rule)

    @property
    def reads(self) -> tuple[str, ...]:
        """The other tables that it reads, as `layer.name`."""
        return (self.rule.table,) if isinstance(self.rule, rules.References) else ()

    @declares("A check's .warn()", error=CheckDefinitionError)
    def warn(self) -> "Check":
        """The same check as a warning: a failure is reported and doesn't block."""
        return replace(self, severity=Severity.WARN)

    @declares("A check's .over()", error=CheckDefinitionError)
    def over(self, scope: str | Scope) -> "Check":
        """The same check over other rows: `added`, `interval` or `table`.

        Raises:
            CheckDefinitionError: `scope` is none of these.
        """
        try:
            return replace(self, scope=Scope(scope))
        except ValueError as error:
            raise CheckDefinitionError(
                f"{self.name}: {scope!r} is not a scope.", hint=f"Use one of {', '.join(Scope)}."
            ) from error

    @declares("A check's .named()", error=CheckDefinitionError, name=arguments.text("'a name'"))
    def named(self, name: str) -> "Check":
        """The same check under another name.

        Raises:
            CheckDefinitionError: the name is empty, longer than 200 characters, or unprintable.
        """
        return replace(self, name=name)


def require_unique_names(table: str, checks: Iterable[Check]) -> None:
    """Refuse checks of one table that share a name: results and metrics are identified by it.

    Raises:
        DeclarationError: two checks of `table` share a name.
    """
    shared = [name for name, times in Counter(check.name for check in checks).items() if times > 1]
    if shared:
        raise DeclarationError(
            f"{table} declares more than one check named {', '.join(shared)}.",
            hint="Give one of them a name of its own: .named('...').",
        )


def _values(value: Any) -> Any:
    if isinstance(value, bytes | Mapping):
        raise Misfit
    return value if isinstance(value, str) else tuple(value)


_VALUES = Shape("a list of values", "['a', 'b']", _values)
_COLUMNS = arguments.names("('customer_id',)")


@declares("not_null", error=CheckDefinitionError)
def not_null(column: str) -> Check:
    """No row has null in `column`. NaN is not null. Passes without rows."""
    return _check(rules.NotNull(column))


@declares("null_rate", error=CheckDefinitionError)
def null_rate(column: str, max_rate: float) -> Check:
    """At most `max_rate` (0..1) of the rows have null in `column`. NaN is not null. Passes without rows.

    Raises:
        CheckDefinitionError: max_rate outside 0..1.
    """
    return _check(rules.NullRate(column, max_rate))


@declares("unique", error=CheckDefinitionError)
def unique(*columns: str) -> Check:
    """No two rows of the interval have the same values in all of `columns`.

    As in SQL's UNIQUE, rows with a null in one of the columns are ignored: pair with `not_null`. NaN equals NaN.
    The failing rows are all rows that share their values with another row.

    Raises:
        CheckDefinitionError: no column is given, or one is named twice.
    """
    return _check(rules.Unique(columns), Scope.INTERVAL)


@declares("accepted_values", error=CheckDefinitionError, values=_VALUES)
def accepted_values(column: str, values: Iterable[Scalar]) -> Check:
    """Values of `column` are among `values`; nulls pass (pair with `not_null`), NaN fails.

    Raises:
        CheckDefinitionError: no values, null or NaN among them, or values of different types.
    """
    if isinstance(values, str):
        raise CheckDefinitionError(
            f"accepted_values({column}): the values are one text, {values!r}.", hint=f"Write [{values!r}]."
        )
    return _check(rules.AcceptedValues(column, tuple(values)))


@declares("between", error=CheckDefinitionError, allow_nan=arguments.FLAG)
def between(
    column: str,
    low: float | Decimal | str | date | datetime | None = None,
    high: float | Decimal | str | date | datetime | None = None,
    *,
    allow_nan: bool = False,
) -> Check:
    """Values of `column` lie in [low, high]; nulls pass (pair with `not_null`).

    NaN fails, unless `allow_nan`; infinities are compared like any number. Bounds are converted to the column's
    type: for a decimal column, a float becomes the decimal that it prints as; for a float column, the nearest
    float; for a date or timestamp column, text is read as ISO 8601 (UTC without an offset). Other text is compared
    by Unicode code point, as Spark does.

    Raises:
        CheckDefinitionError: low > high, both are None, of different types, or a datetime without time zone.
    """
    return _check(rules.Between(column, low, high, allow_nan))


@declares("matches", error=CheckDefinitionError)
def matches(column: str, pattern: str) -> Check:
    """The whole value of `column` matches `pattern`, a Java regular expression; nulls pass.

    `[A-Z]{2}` does not accept `xABx`, and `a$` does not accept `a` followed by a line feed. Write `.*` around a pattern
    to search in the text; `.` does not match a line end, unless the pattern begins with `(?s)`. As in Python, `\\s`,
    `\\w`, `\\d` and `\\b` cover all of Unicode (Java's flag `(?U)`): `\\s` matches the no-break space and U+2028, and
    `\\d` the digits of all scripts, so write `[0-9]` for ASCII digits. Invisible characters, such as the zero-width
    space, are not white space: `\\p{C}` matches them and control characters.

    Raises:
        CheckDefinitionError: not a regular expression.
    """
    return _check(rules.Matches(column, pattern))


@declares("length", error=CheckDefinitionError)
def length(column: str, low: int | None = None, high: int | None = None) -> Check:
    """Texts in `column` have `low` to `high` characters (Unicode code points); nulls pass.

    Raises:
        CheckDefinitionError: low > high, both None, negative, or not whole.
    """
    return _check(rules.Length(column, low, high))


@declares("row_count", error=CheckDefinitionError)
def row_count(low: int | None = None, high: int | None = None) -> Check:
    """The interval has `low` to `high` rows.

    Raises:
        CheckDefinitionError: low > high, both None, negative, or not whole.
    """
    return _check(rules.RowCount(low, high), Scope.INTERVAL)


@declares("freshness", error=CheckDefinitionError, allow_empty=arguments.FLAG)
def freshness(
    column: str, max_age: timedelta, *, max_ahead: timedelta | None = None, allow_empty: bool = False
) -> Check:
    """The newest value of `column` is at most `max_age` older than the audit's `as_of`.

    A date counts from its midnight UTC. One row dated in the future would hide that a table gets no new rows:
    `max_ahead` limits how far after `as_of` the newest value may be. Without a value (no rows, or only
    nulls) the check fails, unless `allow_empty`.

    Raises:
        CheckDefinitionError: a limit that isn't a timedelta of at least zero.
    """
    return _check(rules.Freshness(column, max_age, max_ahead, allow_empty))


@declares("references", error=CheckDefinitionError, columns=_COLUMNS, target_columns=optional(_COLUMNS))
def references(columns: str | Iterable[str], table: str, target_columns: str | Iterable[str] | None = None) -> Check:
    """Each value of `columns` in the interval occurs in `table` (`layer.name`).

    As with SQL's foreign keys, rows with a null in one of the columns pass.

    Args:
        columns: one column, or several that are compared together.
        table: the other table.
        target_columns: the other table's columns, in the same order; by default those of the same names.

    Raises:
        CheckDefinitionError: `table` is not a table name, or the number of target columns is another one.
    """
    own = _names(columns)
    targets = own if target_columns is None else _names(target_columns)
    rule = rules.References(own, table, targets)
    return Check(rule, f"references({', '.join(own)}, {rule.table})", scope=Scope.INTERVAL)


@declares("mean_between", error=CheckDefinitionError, allow_empty=arguments.FLAG)
def mean_between(
    column: str, low: float | Decimal | None = None, high: float | Decimal | None = None, *, allow_empty: bool = False
) -> Check:
    """The mean of `column`, without nulls, lies in [low, high].

    A NaN makes the mean NaN, which fails. Without a value (no rows, or only nulls) there is no mean: the check
    fails, unless `allow_empty`.

    Raises:
        CheckDefinitionError: low > high, both None, or not numbers.
    """
    return _check(rules.MeanBetween(column, low, high, allow_empty))


@declares("quantile_between", error=CheckDefinitionError, allow_empty=arguments.FLAG)
def quantile_between(
    column: str,
    q: float,
    low: float | Decimal | date | datetime | None = None,
    high: float | Decimal | date | datetime | None = None,
    *,
    allow_empty: bool = False,
) -> Check:
    """The `q`-quantile of `column`, without nulls, lies in [low, high].

    The quantile is the smallest value v such that at least the share q of the values is <= v (SQL's PERCENTILE_DISC),
    decided exactly, by counting. NaN counts as the greatest value. Without a value the check fails, unless
    `allow_empty`.

    Raises:
        CheckDefinitionError: q outside 0..1, low > high, both None, or text.
    """
    rule = rules.QuantileBetween(column, q, low, high, allow_empty)
    return Check(rule, f"quantile_between({column}, {q:g})")


@declares("expression", error=CheckDefinitionError, name=arguments.text("'net is positive'"))
def expression(name: str, condition: "str | Callable[[], Column]") -> Check:
    """Each row satisfies `condition`: SQL text, or a function that returns a pyspark Column.

    As in SQL's CHECK, a row passes if the condition is true or null. SQL text is code and is executed unchanged, so
    never build it from values that others wrote.

    Raises:
        CheckDefinitionError: an empty name or condition.
    """
    return Check(rules.Expression(condition), name)


def _check(rule: Rule, scope: Scope = Scope.ADDED) -> Check:
    columns = columns_of(rule)
    return Check(rule, f"{rule.kind}({', '.join(columns)})" if columns else str(rule.kind), scope=scope)


def _names(columns: str | Iterable[str]) -> tuple[str, ...]:
    return (columns,) if isinstance(columns, str) else tuple(columns)
