"""Pipelines: declaring tables, the graph, and picking from it."""

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgard.common.errors import DeclarationError, UsageError
from asgard.common.names import TableName
from asgard.lakehouse.declaring.pipeline import Pipeline

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


def shop(**edges: tuple[str, ...]) -> Pipeline:
    """A pipeline of tables `gold.<name>`, each computed from the named ones; without any it is a source."""
    pipeline = Pipeline("shop")
    for name, sources in edges.items():
        _declare(pipeline, name, sources)
    return pipeline


def _declare(pipeline: Pipeline, name: str, sources: tuple[str, ...]) -> None:
    if not sources:
        pipeline.source(f"gold.{name}")
        return
    parameters = ", ".join(sources)
    function: Any = eval(f"lambda {parameters}: None")  # noqa: S307 - a function with parameters of these names
    pipeline.table(f"gold.{name}", inputs={source: f"gold.{source}" for source in sources})(function)


def names(tables: Any) -> list[str]:
    return [table.name.name for table in tables]


def diamond() -> Pipeline:
    return shop(last=("left", "right"), left=("first",), right=("first",), first=(), alone=())


class TestDeclaring:
    def test_the_decorator_gives_the_function_back(self) -> None:
        pipeline = Pipeline("shop")

        def orders(raw: "DataFrame") -> "DataFrame":
            return raw

        assert pipeline.table("silver.orders", inputs={"raw": "bronze.orders"})(orders) is orders
        assert pipeline["silver.orders"].function is orders
        assert pipeline["silver.orders"].module.endswith("orders")

    def test_defaults_hold_unless_a_table_says_otherwise(self) -> None:
        pipeline = Pipeline("shop", owner="data-team", start="2024-01-01")
        pipeline.source("bronze.a")
        pipeline.source("bronze.b", owner="someone")
        assert [pipeline[name].owner for name in ("bronze.a", "bronze.b")] == ["data-team", "someone"]
        assert pipeline["bronze.b"].start is not None

    def test_the_same_name_twice_is_refused(self) -> None:
        pipeline = shop(orders=())
        with pytest.raises(DeclarationError, match=r"Table gold\.orders is declared twice"):
            pipeline.source("gold.orders")

    @pytest.mark.parametrize("name", ["", "Shop", "my-shop", "1shop"])
    def test_its_own_name_is_checked(self, name: str) -> None:
        with pytest.raises(UsageError, match="pipeline name"):
            Pipeline(name)

    def test_an_unknown_table_is_named_with_the_known_ones(self) -> None:
        with pytest.raises(UsageError, match=r"no table gold\.orders") as unknown:
            shop(customers=())["gold.orders"]
        assert "gold.customers" in unknown.value.hint
        with pytest.raises(UsageError, match="no table") as empty:
            Pipeline("empty")[TableName("gold", "orders")]
        assert "no table at all" in empty.value.hint


class TestGraph:
    def test_each_table_comes_after_its_inputs(self) -> None:
        order = names(diamond().in_order())
        assert order.index("first") < min(order.index("left"), order.index("right"))
        assert order.index("last") > max(order.index("left"), order.index("right"))
        assert len(order) == 5

    @given(st.lists(st.sets(st.integers(0, 11)), min_size=1, max_size=12))
    def test_any_graph_without_cycle_has_an_order(self, sources: list[set[int]]) -> None:
        edges = {f"t{n}": tuple(f"t{m}" for m in sorted(wanted) if m < n) for n, wanted in enumerate(sources)}
        pipeline = shop(**dict(reversed(edges.items())))
        order = names(pipeline.in_order())
        assert sorted(order) == sorted(edges)
        assert all(order.index(source) < order.index(name) for name in edges for source in edges[name])

    @pytest.mark.parametrize(
        ("edges", "circle"),
        [
            ({"a": ("a",)}, "gold.a -> gold.a"),
            ({"a": ("b",), "b": ("a",)}, "gold.b -> gold.a -> gold.b"),
            ({"a": ("b",), "b": ("c",), "c": ("a",), "d": ("a",)}, "gold.b -> gold.a -> gold.c -> gold.b"),
        ],
    )
    def test_a_cycle_is_named(self, edges: dict[str, tuple[str, ...]], circle: str) -> None:
        with pytest.raises(DeclarationError, match="The inputs of pipeline shop form a cycle") as refused:
            shop(**edges).in_order()
        found = refused.value.message.split(": ")[1].rstrip(".").split(" -> ")
        assert found[0] == found[-1]
        assert set(found) == set(circle.split(" -> "))
        for table, source in pairwise(found):
            assert source.removeprefix("gold.") in edges[table.removeprefix("gold.")]

    def test_an_unknown_input_is_named_with_the_known_tables(self) -> None:
        with pytest.raises(DeclarationError, match=r"Table gold\.a: its input 'b' is gold\.b") as refused:
            shop(a=("b",)).in_order()
        assert "shop.source('gold.b')" in refused.value.hint

    def test_near_and_far(self) -> None:
        pipeline = diamond()
        first, last = TableName("gold", "first"), TableName("gold", "last")
        assert {name.name for name in pipeline.upstream(last)} == {"left", "right", "first"}
        assert {name.name for name in pipeline.downstream(first)} == {"left", "right", "last"}
        assert pipeline.upstream(first) == frozenset() == pipeline.downstream(last)


class TestSelection:
    @pytest.mark.parametrize(
        ("patterns", "selected"),
        [
            ((), {"first", "left", "right", "last", "alone"}),
            (("gold.left",), {"left"}),
            (("gold.*t",), {"left", "right", "last", "first"}),
            (("+gold.left",), {"first", "left"}),
            (("gold.left+",), {"left", "last"}),
            (("+gold.left+",), {"first", "left", "last"}),
            (("gold.alone", "gold.left"), {"alone", "left"}),
            (("*.l?ft",), {"left"}),
        ],
    )
    def test_patterns(self, patterns: tuple[str, ...], selected: set[str]) -> None:
        chosen = diamond().select(patterns)
        assert set(names(chosen)) == selected
        assert chosen == tuple(table for table in diamond_order(chosen) if table in chosen)

    @pytest.mark.parametrize("pattern", ["gold.nothing", "left", "+", "silver.*", ""])
    def test_a_pattern_that_selects_nothing_is_refused(self, pattern: str) -> None:
        with pytest.raises(UsageError, match="selects no table of pipeline shop"):
            diamond().select([pattern])

    def test_a_wrong_graph_is_refused_whatever_is_selected(self) -> None:
        with pytest.raises(DeclarationError, match="cycle"):
            shop(a=("b",), b=("a",), c=()).select(["gold.c"])


def diamond_order(chosen: tuple[Any, ...]) -> list[Any]:
    """The chosen tables sorted so that inputs come first, by an independent rule: depth in the graph."""
    depth = {"first": 0, "alone": 0, "left": 1, "right": 1, "last": 2}
    return sorted(chosen, key=lambda table: (depth[table.name.name], chosen.index(table)))
