"""What a check may be declared with, and what is refused on the spot."""

import math
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest

from asgard.common.errors import DeclarationError
from asgard.validation import checks as c
from asgard.validation.checks import Check, CheckDefinitionError, Scope, Severity
from asgard.validation.rules import AcceptedValues, Between, CheckKind, bounds_of

ALL = [
    c.not_null("a"),
    c.null_rate("a", 0.1),
    c.unique("a", "b"),
    c.accepted_values("a", ["x", "y"]),
    c.between("a", 0, 10),
    c.matches("a", "[a-z]+"),
    c.length("a", 1, 5),
    c.row_count(1),
    c.freshness("a", timedelta(days=1)),
    c.references("a", "silver.b"),
    c.mean_between("a", 0, 1),
    c.quantile_between("a", 0.95, 0, 1),
    c.expression("a is b", "a = b"),
]


def test_every_kind_can_be_declared() -> None:
    assert {check.kind for check in ALL} == set(CheckKind)


@pytest.mark.parametrize("check", ALL, ids=str)
def test_a_check_is_a_value(check: Check) -> None:
    changed = check.warn().over("table").named("x")

    assert changed != check
    assert replace(changed, name=check.name, severity=check.severity, scope=check.scope) == check
    assert len({check, Check(check.rule, check.name, check.severity, check.scope)}) == 1
    assert None not in bounds_of(check.rule).values()


def test_defaults_and_changes() -> None:
    check = c.between("sales_value", 0)

    assert (check.name, check.columns, check.severity, check.scope) == (
        "between(sales_value)",
        ("sales_value",),
        Severity.ERROR,
        Scope.ADDED,
    )
    changed = check.warn().over("table").named("no refunds")
    assert (changed.name, changed.severity, changed.scope) == ("no refunds", Severity.WARN, Scope.TABLE)
    assert changed.rule is check.rule


@pytest.mark.parametrize(
    ("check", "name", "scope"),
    [
        (c.unique("a", "b"), "unique(a, b)", Scope.INTERVAL),
        (c.references(["a", "b"], "silver.t", ["x", "y"]), "references(a, b, silver.t)", Scope.INTERVAL),
        (c.row_count(1), "row_count", Scope.INTERVAL),
        (c.quantile_between("a", 0.5, 0), "quantile_between(a, 0.5)", Scope.ADDED),
        (c.freshness("a", timedelta(1)), "freshness(a)", Scope.ADDED),
        (c.expression("mine", "a > 0"), "mine", Scope.ADDED),
    ],
)
def test_names_and_scopes(check: Check, name: str, scope: Scope) -> None:
    assert (check.name, check.scope) == (name, scope)


def test_references_say_what_they_read() -> None:
    assert c.references("a", "silver.b").reads == ("silver.b",)
    assert c.not_null("a").reads == ()


MIDNIGHT = datetime(2024, 1, 1)
REFUSED: list[tuple[Callable[[], Any], str]] = [
    (lambda: c.between("a"), "neither low nor high"),
    (lambda: c.between("a", 2, 1), "low 2 is above high 1"),
    (lambda: c.between("a", Decimal("0.2"), 0.1), "is above"),
    (lambda: c.between("a", 1, "z"), "low is a number and high a text"),
    (lambda: c.between("a", math.nan), "is NaN"),
    (lambda: c.between("a", Decimal("NaN")), "is NaN"),
    (lambda: c.between("a", Decimal("sNaN")), "is NaN"),
    (lambda: c.between("a", np.float64("nan")), "is NaN"),
    (lambda: c.between("a", True), "a bound is a boolean"),
    (lambda: c.between("a", MIDNIGHT), "without a time zone"),
    (lambda: c.between("a", date(2024, 1, 1), MIDNIGHT.replace(tzinfo=UTC)), "low is a date and high a timestamp"),
    (lambda: c.between("a", object()), "a object"),  # type: ignore[arg-type]
    (lambda: c.between("a", b"x"), "a bytes"),  # type: ignore[arg-type]
    (lambda: c.between("a", "\ud800"), "not valid Unicode"),
    (lambda: c.not_null(""), "is not a column name"),
    (lambda: c.not_null(3), "3 is not a column name"),  # type: ignore[arg-type]
    (lambda: c.not_null("${env:HOME}"), "contains '${'"),
    (lambda: c.not_null("\ud800"), "not valid Unicode"),
    (lambda: c.null_rate("a", 1.1), "max_rate is 1.1"),
    (lambda: c.null_rate("a", -0.1), "max_rate is -0.1"),
    (lambda: c.null_rate("a", math.nan), "is NaN"),
    (lambda: c.null_rate("a", True), "max_rate is True"),
    (lambda: c.unique(), "no column is named"),
    (lambda: c.unique("a", "a"), "named twice"),
    (lambda: c.accepted_values("a", []), "no values"),
    (lambda: c.accepted_values("a", "red"), "one text, 'red'"),
    (lambda: c.accepted_values("a", ["x", None]), "null is among"),  # type: ignore[list-item]
    (lambda: c.accepted_values("a", ["x", 1]), "mix types"),
    (lambda: c.accepted_values("a", [True, 1]), "mix types"),
    (lambda: c.accepted_values("a", [math.nan]), "is NaN"),
    (lambda: c.matches("a", "("), "is not a regular expression"),
    (lambda: c.matches("a", ""), "the pattern is ''"),
    (lambda: c.matches("a", "[z-a]"), "is not a regular expression"),
    (lambda: c.length("a"), "neither"),
    (lambda: c.length("a", 5, 2), "is above"),
    (lambda: c.length("a", -1), "-1"),
    (lambda: c.length("a", 1.5), "1.5"),  # type: ignore[arg-type]
    (lambda: c.row_count(), "neither"),
    (lambda: c.row_count(10, 1), "is above"),
    (lambda: c.freshness("a", timedelta(-1)), "max_age is"),
    (lambda: c.freshness("a", 3), "max_age is 3"),  # type: ignore[arg-type]
    (lambda: c.freshness("a", timedelta(1), max_ahead=timedelta(-1)), "max_ahead is"),
    (lambda: c.references("a", "b"), "'b' is not a table name"),
    (lambda: c.references("a", "silver.b; DROP TABLE x"), "is not a table name"),
    (lambda: c.references(["a", "b"], "silver.b", "a"), "2 columns refer to 1"),
    (lambda: c.mean_between("a"), "neither"),
    (lambda: c.mean_between("a", "x"), "low is 'x'"),  # type: ignore[arg-type]
    (lambda: c.quantile_between("a", 95, 0), "q is 95"),
    (lambda: c.quantile_between("a", 0.5), "neither"),
    (lambda: c.quantile_between("a", 0.5, "x"), "is text"),  # type: ignore[arg-type]
    (lambda: c.expression("x", " "), "is empty"),
    (lambda: c.expression("x", 3), "a int"),  # type: ignore[arg-type]
    (lambda: c.expression("", "a > 0"), "not a usable check name"),
    (lambda: c.not_null("a").named("\x1b[31m"), "not a usable check name"),
    (lambda: c.not_null("a").named("x" * 201), "not a usable check name"),
    (lambda: c.not_null("a").over("everything"), "'everything' is not a scope"),
]


@pytest.mark.parametrize(("declare", "message"), REFUSED, ids=[message for _, message in REFUSED])
def test_contradictions_are_refused_with_a_hint(declare: Callable[[], Any], message: str) -> None:
    with pytest.raises(CheckDefinitionError) as refused:
        declare()
    assert message in refused.value.message
    assert refused.value.hint


@pytest.mark.parametrize(
    "pattern",
    [
        r"\p{L}+",
        r"\p{IsLatin}",
        r"(?<year>\d{4})-\k<year>",
        r"\Q(\E",
        r"a++",
        "[a-z&&[^b]]",
        r"\h\R\z",
        "(?i)x",
        "(?<=a)b",
        r"(?-U)\d+",
        r"(?iU)x(?s-i:.)",
    ],
)
def test_javas_own_syntax_is_accepted(pattern: str) -> None:
    assert c.matches("a", pattern).kind is CheckKind.MATCHES


def test_values_of_numpy_and_pandas_become_pythons_own() -> None:
    rule = c.between("a", np.int64(1), np.float32(2.5)).rule
    assert isinstance(rule, Between)
    assert (type(rule.low), type(rule.high)) == (int, float)

    moments = c.accepted_values("a", [pd.Timestamp("2024-01-01T01:00", tz="Europe/Paris")]).rule
    assert isinstance(moments, AcceptedValues)
    assert moments.values == (datetime(2024, 1, 1, tzinfo=UTC),)
    assert type(moments.values[0]) is datetime


def test_names_must_differ_within_a_table() -> None:
    c.require_unique_names("silver.t", [c.not_null("a"), c.not_null("b")])
    with pytest.raises(DeclarationError, match=r"silver\.t declares more than one check named between\(a\)") as refused:
        c.require_unique_names("silver.t", [c.between("a", 0), c.not_null("a"), c.between("a", None, 9)])
    assert ".named(" in refused.value.hint


def test_declaring_imports_no_spark() -> None:
    code = "import sys, asgard.validation.checks; sys.exit('pyspark' in sys.modules or 'pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
