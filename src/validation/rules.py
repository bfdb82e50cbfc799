"""The closed set of rules: what a check requires, as plain values that are validated when they are made.

A row rule decides for each row whether it fails. A table rule is about the rows as a whole.
How to add one: CONTRIBUTING.md, "A check".
"""

import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from fractions import Fraction
from typing import TYPE_CHECKING, ClassVar, assert_never

from asgard.common.errors import CheckDefinitionError, UsageError
from asgard.common.names import TableName
from asgard.validation.values import Family, Scalar, family_of, scalar

if TYPE_CHECKING:
    from pyspark.sql import Column


class CheckKind(StrEnum):
    """The kinds of check, named like the functions that declare them."""

    NOT_NULL = "not_null"
    NULL_RATE = "null_rate"
    UNIQUE = "unique"
    ACCEPTED_VALUES = "accepted_values"
    BETWEEN = "between"
    MATCHES = "matches"
    LENGTH = "length"
    ROW_COUNT = "row_count"
    FRESHNESS = "freshness"
    REFERENCES = "references"
    MEAN_BETWEEN = "mean_between"
    QUANTILE_BETWEEN = "quantile_between"
    EXPRESSION = "expression"


@dataclass(frozen=True)
class NotNull:
    """No row has null in `column`."""

    kind: ClassVar[CheckKind] = CheckKind.NOT_NULL
    column: str

    def __post_init__(self) -> None:
        require_columns(self.kind, self.column)


@dataclass(frozen=True)
class NullRate:
    """At most `max_rate` of the rows have null in `column`."""

    kind: ClassVar[CheckKind] = CheckKind.NULL_RATE
    column: str
    max_rate: float

    def __post_init__(self) -> None:
        require_columns(self.kind, self.column)
        if not 0 <= _number(self.max_rate, f"null_rate({self.column}): max_rate") <= 1:
            raise CheckDefinitionError(
                f"null_rate({self.column}): max_rate is {self.max_rate}.", hint="A rate lies in 0..1; 0.05 is 5 %."
            )


@dataclass(frozen=True)
class Unique:
    """No two rows have the same values in `columns`; rows with a null among them don't count."""

    kind: ClassVar[CheckKind] = CheckKind.UNIQUE
    columns: tuple[str, ...]

    def __post_init__(self) -> None:
        require_columns(self.kind, *self.columns)


@dataclass(frozen=True)
class AcceptedValues:
    """Each value of `column` is one of `values`, or null."""

    kind: ClassVar[CheckKind] = CheckKind.ACCEPTED_VALUES
    column: str
    values: tuple[Scalar, ...]

    def __post_init__(self) -> None:
        require_columns(self.kind, self.column)
        what = f"accepted_values({self.column})"
        if not self.values:
            raise CheckDefinitionError(f"{what}: no values are given.", hint="Give at least one value.")
        if any(value is None for value in self.values):
            raise CheckDefinitionError(f"{what}: null is among the values.", hint="Nulls pass; leave it out.")
        values = [scalar(value, f"{what}: a value") for value in self.values]
        if len({family_of(value) for value in values}) > 1:
            raise CheckDefinitionError(f"{what}: the values mix types: {values!r}.", hint="Give values of one type.")
        object.__setattr__(self, "values", tuple(dict.fromkeys(values)))


@dataclass(frozen=True)
class Between:
    """`column` lies in [low, high], or is null."""

    kind: ClassVar[CheckKind] = CheckKind.BETWEEN
    column: str
    low: Scalar | None
    high: Scalar | None
    allow_nan: bool = False

    def __post_init__(self) -> None:
        require_columns(self.kind, self.column)
        what = f"between({self.column})"
        low, high = ordered_bounds(what, self.low, self.high)
        if Family.BOOLEAN in {family_of(bound) for bound in (low, high) if bound is not None}:
            raise CheckDefinitionError(f"{what}: a bound is a boolean.", hint="Use accepted_values for booleans.")
        object.__setattr__(self, "low", low)
        object.__setattr__(self, "high", high)


@dataclass(frozen=True)
class Matches:
    """The whole text of `column` matches `pattern`, whose classes cover all of Unicode, or is null."""

    kind: ClassVar[CheckKind] = CheckKind.MATCHES
    column: str
    pattern: str

    def __post_init__(self) -> None:
        require_columns(self.kind, self.column)
        pattern = scalar(self.pattern, f"matches({self.column}): the pattern")
        if not isinstance(pattern, str) or not pattern:
            raise CheckDefinitionError(
                f"matches({self.column}): the pattern is {self.pattern!r}.", hint="Give a regular expression as text."
            )
        _require_regex(pattern, f"matches({self.column})")


@dataclass(frozen=True)
class Length:
    """The text of `column` has `low` to `high` characters, or is null."""

    kind: ClassVar[CheckKind] = CheckKind.LENGTH
    column: str
    low: int | None
    high: int | None

    def __post_init__(self) -> None:
        require_columns(self.kind, self.column)
        _require_counts(f"length({self.column})", self.low, self.high)


@dataclass(frozen=True)
class RowCount:
    """There are `low` to `high` rows."""

    kind: ClassVar[CheckKind] = CheckKind.ROW_COUNT
    low: int | None
    high: int | None

    def __post_init__(self) -> None:
        _require_counts("row_count", self.low, self.high)


@dataclass(frozen=True)
class Freshness:
    """The newest value of `column` is at most `max_age` older, and `max_ahead` newer, than the audit's as_of."""

    kind: ClassVar[CheckKind] = CheckKind.FRESHNESS
    column: str
    max_age: timedelta
    max_ahead: timedelta | None = None
    allow_empty: bool = False

    def __post_init__(self) -> None:
        require_columns(self.kind, self.column)
        for name, limit in (("max_age", self.max_age), ("max_ahead", self.max_ahead)):
            if limit is None and name == "max_ahead":
                continue
            if not isinstance(limit, timedelta) or limit < timedelta(0):
                raise CheckDefinitionError(
                    f"freshness({self.column}): {name} is {limit!r}.",
                    hint="Give a timedelta of at least zero, e.g. timedelta(days=2).",
                )


@dataclass(frozen=True)
class References:
    """Each value of `columns` is among `target_columns` of `table`; rows with a null among them pass."""

    kind: ClassVar[CheckKind] = CheckKind.REFERENCES
    columns: tuple[str, ...]
    table: str
    target_columns: tuple[str, ...]

    def __post_init__(self) -> None:
        require_columns(self.kind, *self.columns)
        require_columns(self.kind, *self.target_columns)
        what = f"references({', '.join(self.columns)})"
        if len(self.columns) != len(self.target_columns):
            raise CheckDefinitionError(
                f"{what}: {len(self.columns)} columns refer to {len(self.target_columns)} of {self.table}.",
                hint="Give as many target columns as columns, in the same order.",
            )
        try:
            object.__setattr__(self, "table", str(TableName.parse(str(self.table))))
        except UsageError as error:
            raise CheckDefinitionError(f"{what}: {error.message}", hint=error.hint) from error


@dataclass(frozen=True)
class MeanBetween:
    """The mean of `column`, without nulls, lies in [low, high]."""

    kind: ClassVar[CheckKind] = CheckKind.MEAN_BETWEEN
    column: str
    low: Scalar | None
    high: Scalar | None
    allow_empty: bool = False

    def __post_init__(self) -> None:
        require_columns(self.kind, self.column)
        what = f"mean_between({self.column})"
        for name, bound in zip(("low", "high"), ordered_bounds(what, self.low, self.high), strict=True):
            if bound is not None:
                _number(bound, f"{what}: {name}")
            object.__setattr__(self, name, bound)


@dataclass(frozen=True)
class QuantileBetween:
    """The `q`-quantile of `column`, without nulls, lies in [low, high]."""

    kind: ClassVar[CheckKind] = CheckKind.QUANTILE_BETWEEN
    column: str
    q: float
    low: Scalar | None
    high: Scalar | None
    allow_empty: bool = False

    def __post_init__(self) -> None:
        require_columns(self.kind, self.column)
        what = f"quantile_between({self.column})"
        if not 0 <= _number(self.q, f"{what}: q") <= 1:
            raise CheckDefinitionError(f"{what}: q is {self.q}.", hint="q lies in 0..1; 0.5 is the median.")
        low, high = ordered_bounds(what, self.low, self.high)
        if {family_of(bound) for bound in (low, high) if bound is not None} & {Family.BOOLEAN, Family.TEXT}:
            raise CheckDefinitionError(f"{what}: a bound is text or a boolean.", hint="Give numbers, dates or moments.")
        object.__setattr__(self, "low", low)
        object.__setattr__(self, "high", high)


@dataclass(frozen=True)
class AfterWrite:
    """A condition that depends on the written rows, so it is made only after the write; it names no columns.

    Attributes:
        make: returns the condition.
    """

    make: "Callable[[], Column]"

    def __call__(self) -> "Column":
        """The condition."""
        return self.make()


@dataclass(frozen=True)
class Expression:
    """A user's own condition: a row passes if the condition is true or null."""

    kind: ClassVar[CheckKind] = CheckKind.EXPRESSION
    condition: "str | Callable[[], Column]"

    def __post_init__(self) -> None:
        if isinstance(self.condition, str):
            if not self.condition.strip():
                raise CheckDefinitionError(
                    "expression: the condition is empty.", hint="Give SQL such as 'sales_value >= discount'."
                )
            scalar(self.condition, "expression: the condition")
        elif not callable(self.condition) or isinstance(self.condition, type):
            raise CheckDefinitionError(
                f"expression: the condition is a {type(self.condition).__name__}.",
                hint="Give SQL text, or a function without arguments that returns a Column.",
            )


RowRule = NotNull | AcceptedValues | Between | Matches | Length | Expression
TableRule = NullRate | Unique | RowCount | Freshness | References | MeanBetween | QuantileBetween
Rule = RowRule | TableRule


def columns_of(rule: Rule) -> tuple[str, ...]:
    """The columns that a rule names, in its own order; an expression names none."""
    match rule:
        case RowCount() | Expression():
            return ()
        case Unique(columns=columns) | References(columns=columns):
            return columns
        case NotNull() | AcceptedValues() | Between() | Matches() | Length():
            return (rule.column,)
        case NullRate() | Freshness() | MeanBetween() | QuantileBetween():
            return (rule.column,)
        case _:
            assert_never(rule)


def bounds_of(rule: Rule) -> Mapping[str, object]:
    """What the rule requires, as named values for a report; open bounds are left out."""
    match rule:
        case NotNull():
            bounds: dict[str, object] = {"max_nulls": 0}
        case NullRate(max_rate=rate):
            bounds = {"max_rate": rate}
        case Unique():
            bounds = {"max_duplicates": 0}
        case AcceptedValues(values=values):
            bounds = {"values": values}
        case Matches(pattern=pattern):
            bounds = {"pattern": pattern}
        case Freshness(max_age=age, max_ahead=ahead):
            bounds = {"max_age": age, "max_ahead": ahead}
        case References(table=table, target_columns=columns):
            bounds = {"table": table, "columns": columns}
        case QuantileBetween(q=q, low=low, high=high):
            bounds = {"q": q, "low": low, "high": high}
        case Expression(condition=condition):
            bounds = {"condition": condition if isinstance(condition, str) else "(a Column)"}
        case Between() | Length() | RowCount() | MeanBetween():
            bounds = {"low": rule.low, "high": rule.high}
        case _:
            assert_never(rule)
    return {name: bound for name, bound in bounds.items() if bound is not None}


def require_columns(kind: CheckKind, *columns: str) -> None:
    """Refuse column names that a statement can't use.

    Raises:
        CheckDefinitionError: no column, one named twice, one that isn't text, or one that Spark would rewrite.
    """
    if not columns:
        raise CheckDefinitionError(f"{kind}: no column is named.", hint="Name at least one column.")
    for column in columns:
        if not isinstance(column, str) or not column:
            raise CheckDefinitionError(f"{kind}: {column!r} is not a column name.", hint="Give the name as text.")
        scalar(column, f"{kind}: a column name")
        if "${" in column:
            raise CheckDefinitionError(
                f"{kind}: the column name {column!r} contains '${{'.",
                hint="Spark substitutes ${...} with settings inside statements; rename the column.",
            )
    if len(set(columns)) < len(columns):
        raise CheckDefinitionError(f"{kind}: a column is named twice: {', '.join(columns)}.", hint="Name each once.")


def ordered_bounds(what: str, low: object, high: object) -> tuple[Scalar | None, Scalar | None]:
    """Both bounds as scalars of one family, at least one of them given, in order.

    Raises:
        CheckDefinitionError: none is given, low > high, or they are of different families.
    """
    lower = None if low is None else scalar(low, f"{what}: low")
    upper = None if high is None else scalar(high, f"{what}: high")
    if lower is None and upper is None:
        raise CheckDefinitionError(f"{what}: neither low nor high is given.", hint="Give at least one of them.")
    if lower is not None and upper is not None:
        if family_of(lower) != family_of(upper):
            raise CheckDefinitionError(
                f"{what}: low is a {family_of(lower)} and high a {family_of(upper)}.", hint="Give both the same type."
            )
        if lower > upper:  # type: ignore[operator]  # of one family, as just checked
            raise CheckDefinitionError(f"{what}: low {lower} is above high {upper}.", hint="Swap them.")
    return lower, upper


def rank(q: float, values: int) -> int:
    """The 1-based rank of the `q`-quantile among `values` sorted values: the smallest rank >= q * values."""
    return max(1, -((-Fraction(str(q)) * values) // 1))


def _number(value: object, what: str) -> float:
    number = scalar(value, what)
    if family_of(number) is not Family.NUMBER:
        raise CheckDefinitionError(f"{what} is {value!r}.", hint="Give a number.")
    return number  # type: ignore[return-value]


def _require_counts(what: str, low: int | None, high: int | None) -> None:
    for bound in ordered_bounds(what, low, high):
        if bound is not None and (isinstance(bound, bool) or not isinstance(bound, int) or bound < 0):
            raise CheckDefinitionError(f"{what}: a bound is {bound!r}.", hint="Give whole numbers of at least 0.")


_JAVA_ONLY = (
    (re.compile(r"\\Q.*?\\E", re.DOTALL), "a"),  # quoted text
    (re.compile(r"\\[pP](\{\w*(=\w+)?\}|\w)"), "a"),  # a Unicode class
    (re.compile(r"\\[hHRXzGvVe]"), "a"),  # classes and anchors that Python lacks
    (re.compile(r"\\k<(\w+)>"), r"(?P=\1)"),
    (re.compile(r"\(\?<(?![=!])"), "(?P<"),
    (re.compile(r"\(\?[idmsuxU]*(-[idmsuxU]+)?([:)])"), r"(?:\2"),  # flags
    (re.compile(r"\(\?:\)"), ""),
)


def _require_regex(pattern: str, what: str) -> None:
    """Refuse a pattern that neither Java nor Python accepts; Java has the final decision, when the audit runs."""
    translated = pattern
    for java, python in _JAVA_ONLY:
        translated = java.sub(python, translated)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Python warns of Java's class intersections
        try:
            re.compile(translated)
        except (re.error, OverflowError) as error:
            raise CheckDefinitionError(
                f"{what}: {pattern!r} is not a regular expression: {error}.", hint="Write it in Java's syntax."
            ) from error
