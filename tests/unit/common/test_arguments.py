"""Arguments of every public declaration: a wrong, misspelt, missing or superfluous one is an error in words."""

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.examples import examples

from asgard import Daily, Hourly, Monthly, Pipeline, Weekly
from asgard.common.errors import DeclarationError, UsageError
from asgard.features.aggregates import aggregate
from asgard.features.views import Feature, feature_view, on_demand
from asgard.features.windows import windowed
from asgard.lakehouse.declaring.declaration import PROPERTIES, Yearly, declare_table
from asgard.model.declaration import Script, model
from asgard.model.predictions_view import predictions_view
from asgard.validation import checks as c


def one_input(raw: Any) -> Any:
    return raw


def trainer(data: Any) -> Any:
    return data


CHURN = model("churn", labels="labels.csv", target="churned", views=("metrics",), trainer=trainer)


def named(column: str = "id", **given: Any) -> Any:
    return c.not_null(column).named(**given)


@dataclass
class Declaration:
    """A public declaration, arguments with which it works, and those that may be anything."""

    call: Callable[..., Any]
    works: dict[str, Any]
    keywords: tuple[str, ...] = ()
    anything: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        if not self.keywords:
            kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
            parameters = inspect.signature(self.call).parameters.items()
            self.keywords = tuple(name for name, each in parameters if each.kind in kinds and name != "self")


def table(*names: Any, **given: Any) -> Any:
    return Pipeline("shop").table(*names, **given)(one_input)


def source(*names: Any, **given: Any) -> Any:
    return Pipeline("shop").source(*names, **given)


TABLE = ("name", *PROPERTIES)
DECLARATIONS = {
    "Pipeline": Declaration(Pipeline, {"name": "shop"}, TABLE),
    "Pipeline.table": Declaration(table, {"name": "silver.a", "inputs": {"raw": "bronze.a"}}, TABLE),
    "Pipeline.source": Declaration(source, {"name": "bronze.a"}, TABLE),
    "Pipeline.add": Declaration(Pipeline("shop").add, {"extra": CHURN}, ("extra",)),
    "declare_table": Declaration(declare_table, {"name": "bronze.a"}, ("name", "function", *PROPERTIES)),
    **{each.__name__: Declaration(each, {"column": "at"}) for each in (Hourly, Daily, Weekly, Monthly, Yearly)},
    "feature_view": Declaration(
        feature_view, {"name": "v", "table": "gold.a", "keys": ("id",), "features": [Feature("x", "double")]}
    ),
    "Feature": Declaration(Feature, {"name": "x", "type": "double"}),
    "on_demand": Declaration(on_demand, {"inputs": {"x": "v:x"}}),
    "aggregate": Declaration(aggregate, {"function": "sum", "column": "x", "over": ("7d",)}),
    "windowed": Declaration(
        windowed, {"keys": ("id",), "at": "at", "aggregates": [aggregate("sum", "x", over=("7d",))]}
    ),
    "model": Declaration(model, {"name": "m", "labels": "l.csv", "target": "t", "views": ("v",), "trainer": trainer}),
    "Script": Declaration(Script, {"path": Path("train.py")}),
    "predictions_view": Declaration(predictions_view, {"name": "p", "model": CHURN}),
    "not_null": Declaration(c.not_null, {"column": "a"}),
    "null_rate": Declaration(c.null_rate, {"column": "a", "max_rate": 0.1}),
    "accepted_values": Declaration(c.accepted_values, {"column": "a", "values": ["x"]}),
    "between": Declaration(c.between, {"column": "a", "low": 1}),
    "matches": Declaration(c.matches, {"column": "a", "pattern": "x+"}),
    "length": Declaration(c.length, {"column": "a", "low": 1}),
    "row_count": Declaration(c.row_count, {"low": 1}),
    "freshness": Declaration(c.freshness, {"column": "a", "max_age": timedelta(1)}),
    "references": Declaration(c.references, {"columns": "a", "table": "silver.b"}),
    "mean_between": Declaration(c.mean_between, {"column": "a", "low": 1}),
    "quantile_between": Declaration(c.quantile_between, {"column": "a", "q": 0.5, "low": 1}),
    "expression": Declaration(c.expression, {"name": "mine", "condition": "a > 0"}),
    "Check.named": Declaration(c.not_null("a").named, {"name": "b"}),
    "Check.over": Declaration(c.not_null("a").over, {"scope": "table"}),
}
CASES = [(name, keyword) for name, each in DECLARATIONS.items() for keyword in each.keywords]

NEVER = [object(), b"bytes", 1j, object, Exception("no"), [object()], {"a": object()}, {object(): "a"}, [b"x"]]
"""Values that no argument takes."""
ODD = [
    *(None, True, 0, -1, 123, 1.5, float("nan"), float("inf"), Decimal("NaN"), 10**30, "", " ", "a, b", "\ud800"),
    *("x" * 500, "\x1b[31m", "{name}", "week(x)", "id bigit", "daily", "7d", date(2024, 1, 1), datetime(2024, 1, 1)),
    *(datetime(2024, 1, 1, tzinfo=UTC), timedelta(-1), timedelta.max, pd.NaT, Daily, Daily("at"), c.not_null("id")),
    *(len, print, one_input, partial(one_input, 1), (), ("a", "a"), ("a", None), [1], {"a"}, {"a": 1}, {"a": "b"}),
    *({}, {"raw": None}, (c.not_null,), ["not_null(id)"], range(3), Path("x"), CHURN, "📦", (x for x in "ab")),
]
"""Values that some arguments take, and most don't."""


LETTERS = "abcdefghijklmnopqrstuvwxyz_"


def misspellings(word: str) -> st.SearchStrategy[str]:
    """A letter left out, twice, another, or swapped with the next."""
    place = st.integers(0, len(word) - 1)
    letter = st.sampled_from(LETTERS)
    return st.one_of(
        place.map(lambda i: word[:i] + word[i + 1 :]),
        place.map(lambda i: word[:i] + word[i] + word[i:]),
        st.tuples(place, letter).map(lambda each: word[: each[0]] + each[1] + word[each[0] + 1 :]),
        place.map(lambda i: word[:i] + word[i : i + 2][::-1] + word[i + 2 :]),
    )


def one_apart(word: str) -> Iterable[str]:
    """The slow, obvious way: every word that one slip makes of it."""
    for i in range(len(word) + 1):
        yield word[:i] + word[i + 1 :]
        yield word[:i] + word[i : i + 2][::-1] + word[i + 2 :]
        for letter in LETTERS:
            yield word[:i] + letter + word[i:]
            yield word[:i] + letter + word[i + 1 :]


@pytest.mark.parametrize("name", DECLARATIONS)
def test_each_works_as_it_should(name: str) -> None:
    DECLARATIONS[name].call(**DECLARATIONS[name].works)


@given(st.sampled_from(CASES).flatmap(lambda case: st.tuples(st.just(case), misspellings(case[1]))))
@settings(max_examples=examples(300), deadline=None)
def test_a_misspelt_keyword_is_met_with_the_right_one(case: tuple[tuple[str, str], str]) -> None:
    (name, keyword), misspelt = case
    declared = DECLARATIONS[name]
    if misspelt in declared.keywords or not misspelt.isidentifier():
        return
    arguments = {key: value for key, value in declared.works.items() if key != keyword}
    with pytest.raises(DeclarationError, match=f"there is no argument '{misspelt}'") as refused:
        declared.call(**arguments, **{misspelt: declared.works.get(keyword)})
    nearby = set(one_apart(misspelt)) & set(declared.keywords)
    assert keyword in nearby
    assert refused.value.hint in {f"Did you mean {each}?" for each in nearby}


@pytest.mark.parametrize(("name", "keyword"), CASES)
def test_what_no_argument_takes_is_refused_in_words(name: str, keyword: str) -> None:
    declared = DECLARATIONS[name]
    for wrong in NEVER:
        if keyword in ("params",) and wrong == NEVER[6]:
            continue  # a trainer's own
        with pytest.raises(DeclarationError) as refused:
            declared.call(**{**declared.works, keyword: wrong})
        assert refused.value.hint, wrong
        assert "Traceback" not in str(refused.value)


def refusal(declared: Declaration, arguments: dict[str, Any]) -> UsageError | None:
    """How arguments are refused; any other exception passes through, and fails the test."""
    try:
        declared.call(**arguments)
    except UsageError as refused:
        return refused
    return None


@pytest.mark.parametrize(("name", "keyword"), CASES)
def test_odd_values_are_taken_or_refused_in_words(name: str, keyword: str) -> None:
    declared = DECLARATIONS[name]
    for odd in ODD:
        refused = refusal(declared, {**declared.works, keyword: odd})
        if refused is not None:
            assert refused.hint, odd
            assert refused.message.isprintable(), odd
            assert len(refused.message) < 1000


@pytest.mark.parametrize("name", [name for name, each in DECLARATIONS.items() if each.works])
def test_what_is_missing_or_too_much_is_said(name: str) -> None:
    declared = DECLARATIONS[name]
    with pytest.raises(DeclarationError, match=r"without its name|no argument") as refused:
        declared.call(*declared.works.values(), *range(20))
    assert refused.value.hint
    for keyword in declared.works:
        rest = {key: value for key, value in declared.works.items() if key != keyword}
        missing = refusal(declared, rest)
        assert missing is None or missing.hint


def declare(**given: Any) -> Any:
    """The table of the examples."""
    return Pipeline("retail").table("silver.a", **{"inputs": {"raw": "bronze.a"}, **given})(one_input)


SAID: dict[str, tuple[dict[str, Any], str, str]] = {
    "a misspelt keyword": ({"interal": Daily("at")}, "there is no argument 'interal'", "Did you mean interval?"),
    "a cadence as text": ({"interval": "daily"}, "interval is 'daily'; expected Hourly, Daily", "Daily('event_time')"),
    "a cadence without column": ({"interval": Daily}, "interval is the function Daily", "Daily('event_time')"),
    "one check": ({"checks": c.not_null("id")}, "checks is Check(", "needs a comma after it"),
    "a check as text": ({"checks": ("not_null('id')",)}, "expected a tuple of checks", "checks=(not_null('id'),)"),
    "a check's function": ({"checks": [c.not_null]}, "expected a tuple of checks", "checks=(not_null('id'),)"),
    "inputs as a list": ({"inputs": ["bronze.a"]}, "inputs is ['bronze.a'] (list)", "Name the parameter"),
    "an input that is no table": ({"inputs": {"raw": "a"}}, "inputs: 'a' is not a table name", "layer.name"),
    "a partition by week": ({"partitioned_by": "week(x)"}, "'week(x)' is not a partition field", "hour/day/month/year"),
    "an owner that is a number": ({"owner": 123}, "owner is 123 (int); expected text", "owner='data-team'"),
    "a type that is none": ({"columns": "id bigit"}, "the unknown type 'bigit'", "Did you mean bigint?"),
    "a start without zone": ({"start": datetime(2024, 1, 1)}, "start is datetime", "Say UTC"),
    "two keys in one text": ({"keys": "id, day"}, "keys is 'id, day'", "('id', 'day')"),
    "a mode that is none": ({"mode": "overwrite"}, "mode is 'overwrite'", "overwrite_interval"),
    "a contract that is nearly one": ({"contract": "frosen"}, "contract is 'frosen'", "Did you mean 'frozen'?"),
    "a key twice": ({"keys": ("id", "id")}, "keys is ('id', 'id')", "Name 'id' once"),
    "a property that is a number": ({"properties": {"a": 1}}, "properties is {'a': 1}", "text"),
    "a function as a keyword": ({"function": one_input}, "function is the function one_input", "on the line above"),
}


@pytest.mark.parametrize("case", SAID)
def test_what_is_said(case: str) -> None:
    arguments, message, hint = SAID[case]
    with pytest.raises(DeclarationError) as refused:
        declare(**arguments)
    assert message in refused.value.message
    assert "silver.a" in refused.value.message or case == "a partition by week"
    assert hint in str(refused.value)
    assert refused.value.exit_code == 2


def test_a_text_is_one_name() -> None:
    shop = Pipeline("retail")
    shop.table("silver.a", inputs={"raw": "bronze.a"}, keys="id", tags="pii", partitioned_by="country")(one_input)
    assert (shop["silver.a"].keys, shop["silver.a"].tags) == (("id",), ("pii",))
    assert shop["silver.a"].partitioned_by == ("country",)


def test_a_decorator_without_its_call_is_named() -> None:
    shop: Any = Pipeline("retail")
    with pytest.raises(DeclarationError, match="the function one_input") as refused:
        shop.table(one_input)
    assert "@pipeline.table('layer.name', ...)" in refused.value.hint
    with pytest.raises(DeclarationError, match="the function one_input") as refused:
        shop.table("silver.a", one_input)
    assert "on the line above the function" in refused.value.hint


def test_a_declaration_that_decorates_nothing_is_named() -> None:
    shop = Pipeline("retail")
    shop.source("bronze.a")
    shop.table("silver.a", inputs={"raw": "bronze.a"})
    with pytest.raises(DeclarationError, match=r"Table silver\.a: .* decorates no function .*test_arguments\.py, line"):
        shop.in_order()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"keys": ("idd",)}, "keys names 'idd', which is missing in `columns`"),
        ({"interval": Daily("day")}, "interval names 'day'"),
        ({"interval": Daily("name")}, "its interval column 'name' is string"),
        ({"interval": Hourly("on_day")}, "its interval column 'on_day' is date"),
        ({"partitioned_by": ("bucket(4, idd)",)}, "partitioned_by names 'idd'"),
        ({"checks": (c.not_null("nme"),)}, r"check not_null\(nme\): There is no column 'nme'"),
        ({"checks": (c.length("id", 1),)}, r"check length\(id\)"),
        ({"checks": (c.freshness("name", timedelta(1)),)}, r"check freshness\(name\)"),
    ],
)
def test_declared_columns_have_what_the_declaration_names(given: dict[str, Any], message: str) -> None:
    columns = "id bigint, name string, on_day date, at timestamp"
    with pytest.raises(DeclarationError, match=message) as refused:
        declare_table("silver.a", one_input, inputs={"raw": "bronze.a"}, columns=columns, **given)
    assert refused.value.hint


def test_columns_of_ingest_and_fields_of_structs_are_not_missed() -> None:
    checks = (c.not_null("_ingested_at"), c.not_null("address.city"))
    assert declare_table("bronze.a", columns="id int, address struct<city: string>", checks=checks).checks == checks
