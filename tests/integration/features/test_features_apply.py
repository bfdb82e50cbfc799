"""`asgard features apply` as people meet it: whose a view is, what is left, what is refused before anything is done."""

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.conftest import Fresh
from tests.support.features import ViewShop

from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.catalog.registrations import Registration, Registrations

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@pytest.fixture
def shop(lake: Lakehouse, spark: "SparkSession", fresh: Fresh, tmp_path: Path) -> ViewShop:
    """Two views, published and registered."""
    made = ViewShop(lake, tmp_path, fresh.table().name)
    made.publish([(1, 0, 10.0, 1)])
    assert made.run("features", "apply", "-p", made.pipeline(), "--no-feast") == 0
    return made


def current(shop: ViewShop, letter: str) -> Registration:
    """A view as it is registered."""
    return Registrations(shop.lake.storage).current("view")[shop.view(letter)]


def asked(shop: ViewShop, capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    """What a command answers with --json."""
    capsys.readouterr()
    assert shop.run(*arguments, "--json") == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_a_views_name_belongs_to_the_pipeline_that_registered_it(
    shop: ViewShop, capsys: pytest.CaptureFixture[str]
) -> None:
    other = shop.pipeline("a", name="other")
    head = shop.lake.nessie.head("main")
    for command in (("features", "apply"), ("features", "diff"), ("backfill", "--apply-features")):
        assert shop.run(*command, "-p", other) == 2
        said = capsys.readouterr().err
        assert f"{shop.view('a')} of shop_{shop.suffix}" in said
        assert "--take-over" in said
    assert shop.lake.nessie.head("main") == head
    assert current(shop, "a").pipeline == f"shop_{shop.suffix}"
    plan = asked(shop, capsys, "features", "diff", "-p", other, "--take-over")["views"]
    assert [(each["action"], each["differences"]) for each in plan] == [
        ("change", [f"pipeline shop_{shop.suffix} -> other_{shop.suffix}"])
    ]
    assert shop.run("features", "apply", "-p", other, "--take-over", "--no-feast") == 0
    assert current(shop, "a").pipeline == f"other_{shop.suffix}"
    assert current(shop, "b").pipeline == f"shop_{shop.suffix}"
    assert shop.run("features", "apply", "-p", other, "--no-feast") == 0


def test_a_view_that_is_declared_no_longer_is_named_and_stays_until_it_is_pruned(
    shop: ViewShop, capsys: pytest.CaptureFixture[str]
) -> None:
    only_a = ("features", "apply", "-p", shop.pipeline("a"), "--no-feast")
    assert shop.run(*only_a) == 0
    assert f"{shop.view('b')} is registered, but no longer declared: --prune" in capsys.readouterr().out
    assert asked(shop, capsys, *only_a)["undeclared"] == [shop.view("b")]
    assert current(shop, "b").number == 1
    pruned = asked(shop, capsys, *only_a, "--prune")
    assert [(each["view"], each["action"]) for each in pruned["views"]] == [
        (shop.view("a"), "keep"),
        (shop.view("b"), "remove"),
    ]
    assert shop.view("b") not in Registrations(shop.lake.storage).current("view")
    assert asked(shop, capsys, *only_a)["undeclared"] == []


def test_the_last_view_can_be_taken_out_too(shop: ViewShop, capsys: pytest.CaptureFixture[str]) -> None:
    nothing = ("features", "apply", "-p", shop.pipeline(""), "--no-feast")
    assert shop.run(*nothing) == 2
    assert "declares no feature view" in capsys.readouterr().err
    assert shop.run(*nothing, "--prune") == 0
    assert not {shop.view("a"), shop.view("b")} & set(Registrations(shop.lake.storage).current("view"))
    assert shop.run("features", "apply", "-p", shop.pipeline(), "--no-feast") == 0
    assert current(shop, "a").number == 3


def test_a_function_that_feast_cant_keep_is_refused_before_anything_is_registered(
    shop: ViewShop, capsys: pytest.CaptureFixture[str]
) -> None:
    shop.publish([(2, 0, 10.0, 1)])
    path = Path(shop.pipeline(on_demand="scaled"))
    path.write_text(path.read_text().replace("return amount * factor", "return amount * FOREIGN") + "\nFOREIGN = 2\n")
    for command in (("features", "apply"), ("backfill", "--apply-features")):
        assert shop.run(*command, "-p", str(path)) == 2
        said = capsys.readouterr().err
        assert "uses FOREIGN of its module" in said
        assert "hint: " in said
    assert current(shop, "a").number == 1
    assert shop.run("features", "apply", "-p", str(path), "--no-feast") == 0
    assert current(shop, "a").number == 2


def test_a_model_is_not_let_through_for_a_view_of_its_name(shop: ViewShop, capsys: pytest.CaptureFixture[str]) -> None:
    model = replace(current(shop, "a"), kind="model", columns={"visits": "int"})
    Registrations(shop.lake.storage).add(model)
    path = Path(shop.pipeline())
    renamed = path.read_text().replace("return rows", 'return rows.withColumnRenamed("visits", "calls")')
    renamed = renamed.replace('Feature("visits"', 'Feature("calls"').replace(
        'inputs={"rows"', 'renames={"visits": "calls"}, inputs={"rows"'
    )
    path = path.with_name(f"calls_{shop.suffix}.py")
    path.write_text(renamed)
    restate = ("backfill", "-p", str(path), "--start", "2024-01-01", "--end", "2024-02-01", "--apply-features")
    assert shop.run(*restate) == 1
    said = capsys.readouterr().err
    assert f"would break model {shop.view('a')}" in said
    assert f"view {shop.view('a')}" not in said
    Registrations(shop.lake.storage).add(replace(model, number=2, removed=True))
    assert shop.run(*restate) == 0
    assert "calls" in current(shop, "a").columns


def test_impact_says_so_where_nothing_would_break(shop: ViewShop, capsys: pytest.CaptureFixture[str]) -> None:
    assert shop.run("features", "impact", f"gold.{shop.suffix}", "--ref", "main") == 0
    assert "nothing would break with main" in capsys.readouterr().out


def test_differences_are_said_in_words(shop: ViewShop, capsys: pytest.CaptureFixture[str]) -> None:
    path = Path(shop.pipeline())
    path.write_text(
        path.read_text().replace("online=True", 'ttl="36h", owner="ada"').replace('"dollars"', '"in dollars"')
    )
    plan = asked(shop, capsys, "features", "diff", "-p", str(path.rename(path.with_name(f"x_{shop.suffix}.py"))))
    assert plan["views"][0]["differences"] == [
        "a row counts for ever -> 36 hours",
        "online yes -> no",
        "owner none -> ada",
        "description of amount",
    ]
