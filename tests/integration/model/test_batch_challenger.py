"""Champion and challenger in one run: each entity by its own version, once, and told apart."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.conftest import Fresh
from tests.support.learning import CUSTOMERS, LearningShop
from tests.support.predicting import answer, promote, published, refusal, registry_of, train

from asgard.features.register import registered_views
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.model.batch.challenge import Side, assigned
from asgard.model.scoring.predictor import Predictor
from asgard.monitoring.events import EventLog, Outcome

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@pytest.fixture
def shop(lake: Lakehouse, spark: "SparkSession", fresh: Fresh, tmp_path: Path) -> LearningShop:
    """1.0.0 is in Production; 1.0.1 says something else of everybody."""
    made = LearningShop.begin(lake, tmp_path, fresh.table().name)
    made.publish()
    train(made)
    train(made, "--param", "num_leaves=3")
    promote(made)
    return made


def expected(shop: LearningShop, share: float, salt: str) -> dict[int, tuple[str, float]]:
    """Version and score of each customer, in this process."""
    registry = registry_of(shop)
    sides = {Side.CHAMPION: "1.0.0", Side.CHALLENGER: "1.0.1"}
    predictors = {
        side: Predictor(registry.artifact(registry.find(f"{shop.model('plain')}@{version}")))
        for side, version in sides.items()
    }
    table = registered_views(shop.lake, [f"view_{shop.suffix}"])[0].table
    rows = table.state.table.scan().to_arrow().sort_by("event_timestamp").to_pandas()
    latest = rows.groupby("customer_id").last()
    found = {}
    for customer, row in latest.iterrows():
        side = assigned((customer,), share, salt)
        score = predictors[side].score(row[["amount", "visits"]].to_numpy(dtype="float64").reshape(1, -1))
        found[customer] = (sides[side], float(score[0]))
    return found


def by_customer(rows: list[Mapping[str, Any]]) -> dict[int, tuple[str, float]]:
    """Version and score of each customer, as published."""
    assert len({row["customer_id"] for row in rows}) == len(rows)
    return {row["customer_id"]: (row["model_version"], row["prediction"]) for row in rows}


def test_a_challenger_that_drops_rows_with_nulls_publishes_nothing(
    lake: Lakehouse, spark: "SparkSession", fresh: Fresh, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both sides are right while there are no nulls; then neither says anything, and the execution counts as failed."""
    shop = LearningShop.begin(lake, tmp_path, fresh.table().name)
    shop.publish()
    train(shop, name="drops")
    train(shop, "--seed", "9", name="drops")
    promote(shop, name="drops")
    command = ["batch-predict", "-m", shop.model("drops"), "--challenger", "1.0.1", "--share", "0.3"]
    assert answer(shop, capsys, *command)["rows"] == CUSTOMERS
    before = published(shop, "drops")
    shop.backfill("IF(customer_id % 10 = 7, NULL, amount)")
    failed = failures(lake)
    capsys.readouterr()
    assert shop.run(*command) == 1
    assert re.search(r"The model returned \d+ predictions for \d+ rows", capsys.readouterr().err)
    assert published(shop, "drops") == before
    assert failures(lake) == failed + 1
    assert "has no version 7.0.0" in refusal(shop, capsys, "batch-predict", "-m", f"{shop.model('drops')}@7.0.0")
    assert failures(lake) == failed + 2


def failures(lake: Lakehouse) -> int:
    """Executions of batch-predict that failed."""
    events = EventLog(lake.storage).events(datetime.now(UTC))
    return sum(each.job == "batch-predict" and each.outcome is Outcome.FAILED for each in events)


def test_each_customer_is_predicted_by_its_own_version_once(
    shop: LearningShop, capsys: pytest.CaptureFixture[str]
) -> None:
    name = shop.model("plain")
    command = ["batch-predict", "-m", name, "--challenger", "1.0.1", "--share"]
    found = answer(shop, capsys, *command, "0.3")
    rows = published(shop)
    wanted = expected(shop, 0.3, f"{name}@1.0.1")
    assert by_customer(rows) == wanted
    assert {row["scope"] for row in rows} == {"all, challenger 1.0.1 0.3"}
    assert {(row["coverage"], row["challenger"], row["completes"]) for row in rows} == {("all", "1.0.1", False)}
    assert len({row["run_id"] for row in rows}) == 1
    for side, version in (("champion", "1.0.0"), ("challenger", "1.0.1")):
        scores = [score for chosen, score in wanted.values() if chosen == version]
        told = found["sides"][side]
        assert (told["model"], told["rows"]) == (f"{name}@{version}", len(scores))
        assert told["mean"] == pytest.approx(sum(scores) / len(scores))
        assert 0 < len(scores) < CUSTOMERS
    assert found["rows"] == CUSTOMERS

    one_of_each = {version: customer for customer, (version, _) in wanted.items()}
    explained = {
        version: answer(shop, capsys, "lineage", f"gold.{name}_predictions", "--key", f"customer_id={customer}")
        for version, customer in one_of_each.items()
    }
    assert set(explained) == {"1.0.0", "1.0.1"}
    assert all(each["model"]["version"] == f"{name}@{version}" for version, each in explained.items())
    assert all(each["missing"] == [] and each["features"] for each in explained.values())
    samples = {
        (sample["name"], sample["labels"].get("side")): sample["value"]
        for metric in answer(shop, capsys, "metrics")["metrics"]
        for sample in metric["samples"]
        if sample["labels"].get("model") == name
    }
    for side in Side:
        assert samples["asgard_predictions_total", side] == found["sides"][side]["rows"]
        assert samples["asgard_prediction_mean", side] == pytest.approx(found["sides"][side]["mean"])
        assert samples["asgard_prediction_latency_seconds_count", side] >= 1

    again = answer(shop, capsys, *command, "0.3")
    assert (again["rows"], again["run"]["status"]) == (0, "unchanged")
    assert "predicted before" in again["remark"]
    more = answer(shop, capsys, *command, "0.6")
    larger = expected(shop, 0.6, f"{name}@1.0.1")
    taken = {customer for customer in wanted if larger[customer][0] != wanted[customer][0]}
    assert (more["sides"]["champion"]["rows"], more["sides"]["challenger"]["rows"]) == (0, len(taken))
    fresh = [row for row in published(shop) if row["run_id"] == more["run"]["run_id"]]
    assert by_customer(fresh) == {customer: larger[customer] for customer in taken}
    assert {row["scope"] for row in fresh} == {"all that were not predicted yet, challenger 1.0.1 0.6"}
    assert {(row["coverage"], row["challenger"], row["completes"]) for row in fresh} == {("all", "1.0.1", True)}
    alone = answer(shop, capsys, "batch-predict", "-m", name)
    assert alone["rows"] == sum(version == "1.0.1" for version, _ in wanted.values())  # the others it did before


def test_some_entities_by_another_salt_and_the_best_of_both(
    shop: LearningShop, capsys: pytest.CaptureFixture[str]
) -> None:
    name = shop.model("plain")
    split = ["batch-predict", "-m", name, "--challenger", "1.0.1", "--share", "0.5", "--salt", "again"]
    keys = shop.folder / "keys.csv"
    keys.write_text("customer_id\n" + "".join(f"{customer}\n" for customer in (*range(20), 9001, 9002)))
    assert shop.run(*split, "--entities", keys) == 0
    said = capsys.readouterr()
    wanted = expected(shop, 0.5, "again")
    assert by_customer(published(shop)) == {customer: wanted[customer] for customer in range(20)}
    assert f"predictions by {name}@1.0.0 (champion), mean 0." in said.out
    assert f"predictions by {name}@1.0.1 (challenger), mean 0." in said.out
    assert "left out: 2 of 22 entities are unknown to every view: 9001, 9002\n" in said.out

    best = answer(shop, capsys, *split, "--top", "15", "--where", "customer_id >= 20")
    assert best["rows"] == 15
    rows = [row for row in published(shop) if row["run_id"] == best["run"]["run_id"]]
    others = sorted((score for customer, (_, score) in wanted.items() if customer >= 20), reverse=True)
    assert sorted((row["prediction"] for row in rows), reverse=True) == others[:15]
    assert all(wanted[row["customer_id"]] == (row["model_version"], row["prediction"]) for row in rows)
    whole = answer(shop, capsys, *split[:-4], "--share", "1")
    assert (whole["sides"]["champion"]["rows"], whole["scope"]) == (0, "all, challenger 1.0.1 1")


def test_what_makes_no_sense_is_refused_before_spark(
    shop: LearningShop, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Lakehouse, "spark", property(lambda _lake: pytest.fail("Spark was started")))
    command = ["batch-predict", "-m", shop.model("plain")]
    for options, message in (
        (["--challenger", "1.0.1"], "--share is missing"),
        (["--share", "0.1"], "--share and --salt need a challenger"),
        (["--salt", "x"], "--share and --salt need a challenger"),
        (["--challenger", "1.0.0", "--share", "0.1"], "can't challenge itself"),
        (["--challenger", "production", "--share", "0.1"], "can't challenge itself"),
        (["--challenger", "1.0.1", "--share", "1.5"], "share is 1.5"),
        (["--challenger", "9.9.9", "--share", "0.1"], "has no version 9.9.9"),
    ):
        assert message in refusal(shop, capsys, *command, *options)
