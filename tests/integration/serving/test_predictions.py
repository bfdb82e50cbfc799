"""Predictions online: Redis has what the newest run over all entities left and what came since, and of nobody else."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
from tests.conftest import Fresh
from tests.support.learning import CUSTOMERS, LearningShop
from tests.support.predicting import answer, promote, refusal, train

from asgard.common.errors import DeclarationError
from asgard.common.names import TableName
from asgard.features import register
from asgard.features.feast import registry as feast_registry
from asgard.features.joins.engines import Engine
from asgard.features.joins.labels import Labels
from asgard.features.training_sets.build import SetRequest, build
from asgard.features.views import Declared, Feature, FeatureView, feature_view
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.catalog.snapshots import resolve
from asgard.lakehouse.declaring.declaration import declare_table
from asgard.lakehouse.declaring.pipeline import Pipeline
from asgard.lakehouse.runs.history import list_runs
from asgard.lakehouse.runs.run import RunRequest, execute
from asgard.model.batch.scope import Coverage, Scope
from asgard.model.declaration import model
from asgard.model.predictions_view import predictions_view
from asgard.serving import OnlineStore, Status
from asgard.serving.redis_access.store import Store
from asgard.serving.sync.plan import Mode
from asgard.serving.sync.sync import SyncResult, sync
from asgard.serving.sync.verify import verify

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

BEGIN = datetime(2024, 1, 1, tzinfo=UTC)
WHOLE = Scope(Coverage.ALL, text="all")
REST = Scope(Coverage.ALL, completes=True, text="all that were not predicted yet")
Scores = dict[int, tuple[Any, str]]
"""Customer -> prediction, version."""


def some(text: str) -> Scope:
    """Of a run over some entities."""
    return Scope(Coverage.SOME, text=text)


def challenged(scope: Scope, by: str, share: float) -> Scope:
    """The same where a version challenged."""
    return replace(scope, challenger=by, text=f"{scope}, challenger {by} {share}")


class Predicted:
    """A table of predictions that a test writes run by run, and its view in Redis.

    Args:
        before: how many runs wrote it before 0.1: their rows have a scope in words only.
    """

    def __init__(self, lake: Lakehouse, name: str, task: str = "binary", before: int = 0) -> None:
        self.lake = lake
        fitted = model(name, labels="x", target="y", views=("v",), trainer=print, task=task)
        made = predictions_view(f"scores_{name}", model=fitted, keys=("customer_id",), online=True, ttl="36500d")
        self.view = made.derived({})
        self.kind = self.view.features[0].type
        self.table = declare_table(f"gold.{name}_predictions", mode="append")
        self.store = Store.of(lake.settings)
        self.online = OnlineStore(settings=lake.settings, timeout=10)
        self.runs, self.before = 0, before

    def run(
        self, scores: dict[int, Any], scope: Scope = WHOLE, version: str = "1.0.0", snapshot: str = "A", day: int = 0
    ) -> None:
        """What a run wrote; each is an hour after the last."""
        self.parts([(scores, version, snapshot)], scope, day)

    def parts(self, parts: Sequence[tuple[dict[int, Any], str, str]], scope: Scope, day: int = 0) -> None:
        """What a run of several versions wrote."""
        self.runs += 1
        written, as_of = BEGIN + timedelta(days=90, hours=self.runs), BEGIN + timedelta(days=day)
        typed = () if self.runs <= self.before else (str(scope.coverage), scope.challenger, scope.completes)
        rows = [
            (customer, score, version, snapshot, as_of, str(scope), f"run-{self.runs}", written, *typed)
            for scores, version, snapshot in parts
            for customer, score in scores.items()
        ]
        columns = (
            f"customer_id int, prediction {self.kind}, model_version string, feature_snapshot string, "
            "features_as_of timestamp, scope string, run_id string, predicted_at timestamp"
            + (", coverage string, challenger string, completes boolean" if typed else "")
        )
        frame = self.lake.spark.createDataFrame(rows, columns)
        execute(self.lake, RunRequest("test"), lambda attempt: attempt.write(self.table, frame), lambda _line: None)

    def sync(self, engine: Engine = Engine.DUCKDB, *, full: bool = False) -> SyncResult:
        """Once; Redis has the snapshot then, whatever it had before."""
        done = sync(self.lake, self.store, self.view, engine=engine, full=full, say=lambda _line: None)
        found = verify(self.lake, self.store, self.view, lambda _line: None)
        assert found.is_equal
        assert found.entities == done.rows
        return done

    def served(self) -> Scores:
        """What lookups give of customers 0 to 19."""
        rows = self.online.lookup_many(self.view.name, [{"customer_id": customer} for customer in range(20)])
        return {
            customer: (row["prediction"], row["model_version"])
            for customer, row in enumerate(rows)
            if row.status is not Status.MISSING
        }


@pytest.fixture
def predicted(lake: Lakehouse, fresh: Fresh) -> Predicted:
    """Customers 1 to 4, predicted before 0.1 by one run over all entities, synced; later runs add the new columns."""
    made = Predicted(lake, fresh.table().name, before=1)
    made.run({1: 0.1, 2: 0.2, 3: 0.3, 4: 0.4})
    assert made.sync().mode is Mode.REBUILD
    assert made.served() == {n: (n / 10, "1.0.0") for n in (1, 2, 3, 4)}
    return made


def test_whom_the_newest_run_over_all_did_not_predict_is_gone(predicted: Predicted) -> None:
    predicted.run({1: 0.1, 2: 0.25, 4: 0.4}, snapshot="B")
    done = predicted.sync()
    assert (done.mode, done.counted.written, done.counted.deleted) == (Mode.CHANGES, 1, 1)
    assert predicted.served() == {1: (0.1, "1.0.0"), 2: (0.25, "1.0.0"), 4: (0.4, "1.0.0")}


def test_it_is_gone_too_where_the_newest_row_goes_back_in_time(predicted: Predicted) -> None:
    """The deleted customer had the newest features of all, so that those of the next run are older."""
    predicted.run({1: 0.1, 9: 0.9}, snapshot="B", day=5)
    predicted.sync()
    predicted.run({1: 0.1}, snapshot="C", day=4)
    assert predicted.sync().counted.deleted == 1
    assert predicted.served() == {1: (0.1, "1.0.0")}


def test_predictions_of_some_entities_are_added(predicted: Predicted) -> None:
    predicted.run({2: 0.7, 7: 0.75}, scope=some("entities of vip.csv"), snapshot="B")
    assert predicted.sync().counted.written == 2
    expected = {1: 0.1, 2: 0.7, 3: 0.3, 4: 0.4, 7: 0.75}
    assert predicted.served() == {n: (score, "1.0.0") for n, score in expected.items()}
    # The next run over all entities finds those predicted, and predicts the rest: together they are all.
    predicted.run({1: 0.15}, scope=REST, snapshot="B")
    assert predicted.sync().counted.deleted == 2
    assert predicted.served() == {1: (0.15, "1.0.0"), 2: (0.7, "1.0.0"), 7: (0.75, "1.0.0")}


def test_an_older_moment_of_some_entities_does_not_overwrite(predicted: Predicted) -> None:
    predicted.run({1: 0.9, 8: 0.8}, scope=some("where customer_id > 0"), day=-30)
    assert predicted.sync().counted.written == 1
    assert predicted.served()[1] == (0.1, "1.0.0")
    assert predicted.served()[8] == (0.8, "1.0.0")


def test_before_any_run_over_all_entities_each_prediction_counts(lake: Lakehouse, fresh: Fresh) -> None:
    made = Predicted(lake, fresh.table().name)
    made.run({1: 0.1}, scope=some("top 1 by score"))
    made.run({2: None}, scope=some("top 1 by score"), snapshot="B")
    made.sync()
    assert made.served() == {1: (0.1, "1.0.0"), 2: (None, "1.0.0")}


def test_champion_and_challenger_together_are_all(predicted: Predicted) -> None:
    both = challenged(WHOLE, "2.0.0", 0.5)
    predicted.parts([({1: 0.1, 2: 0.2}, "1.0.0", "B"), ({4: 0.45}, "2.0.0", "B2")], both)
    predicted.sync()
    assert predicted.served() == {1: (0.1, "1.0.0"), 2: (0.2, "1.0.0"), 4: (0.45, "2.0.0")}
    # A challenger that comes to predictions which are there adds its own only.
    predicted.run({4: 0.5}, scope=challenged(REST, "3.0.0", 0.5), version="3.0.0", snapshot="B3")
    predicted.sync()
    assert predicted.served()[4] == (0.5, "3.0.0")
    predicted.run({1: 0.6, 4: 0.4}, version="3.0.0", snapshot="C")
    predicted.sync()
    assert predicted.served() == {1: (0.6, "3.0.0"), 4: (0.4, "3.0.0")}


def test_a_challenger_beside_predictions_that_are_all_there(predicted: Predicted) -> None:
    predicted.run({1: 0.11, 2: 0.21, 4: 0.41}, snapshot="B")
    predicted.run({4: 0.5}, scope=challenged(REST, "2.0.0", 0.3), version="2.0.0", snapshot="B2")
    predicted.sync()
    assert predicted.served() == {1: (0.11, "1.0.0"), 2: (0.21, "1.0.0"), 4: (0.5, "2.0.0")}


def test_spark_takes_the_same_rows_for_those_that_count(predicted: Predicted) -> None:
    predicted.run({1: 0.1, 2: 0.25, 9: 0.9}, snapshot="B", day=5)
    assert predicted.sync(Engine.SPARK).counted.deleted == 2
    predicted.run({1: 0.15, 9: 0.95}, snapshot="C", day=4)  # the features of the newest run are older
    predicted.run({3: 0.33}, scope=some("entities of vip.csv"), snapshot="C", day=4)
    done = predicted.sync(Engine.SPARK, full=True)
    assert (done.mode, done.counted.entities) == (Mode.REBUILD, 3)
    assert predicted.served() == {n: (score, "1.0.0") for n, score in {1: 0.15, 3: 0.33, 9: 0.95}.items()}


def test_several_classes_are_an_array(lake: Lakehouse, fresh: Fresh) -> None:
    made = Predicted(lake, fresh.table().name, task="multiclass")
    made.run({1: [0.1, 0.9], 2: [0.5, 0.5], 3: None})
    made.sync()
    made.run({1: [0.2, 0.8], 2: [0.5, 0.5]}, snapshot="B")
    done = made.sync()
    assert (done.counted.written, done.counted.deleted) == (1, 1)
    assert made.served() == {1: ([0.2, 0.8], "1.0.0"), 2: ([0.5, 0.5], "1.0.0")}


_SCORED = """

from asgard.model.predictions_view import predictions_view

learned = next(each for each in shop.extras if each.name == "plain_{suffix}")
shop.add(predictions_view("scores_{suffix}", model=learned, online=True, ttl="36500d", description="who leaves"))
"""


def scored(shop: LearningShop, without: int | None = None) -> str:
    """The shop's pipeline with its view and its predictions online; perhaps gold leaves a customer out."""
    text = Path(shop.pipeline()).read_text(encoding="utf-8")
    text = text.replace("        created_timestamp=", "        online=True,\n        created_timestamp=")
    if without is not None:
        text = text.replace("rows.selectExpr(", f"rows.where('customer_id <> {without}').selectExpr(")
    path = shop.folder / f"scored_{shop.suffix}_{without}.py"
    path.write_text(text + _SCORED.format(suffix=shop.suffix), encoding="utf-8")
    return str(path)


def test_predicted_registered_synced_and_looked_up(
    lake: Lakehouse, spark: "SparkSession", fresh: Fresh, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shop = LearningShop.begin(lake, tmp_path, fresh.table().name)
    shop.publish()
    train(shop)
    promote(shop)
    features, scores, model_name = f"view_{shop.suffix}", f"scores_{shop.suffix}", shop.model("plain")
    pipeline = scored(shop)

    # Nothing is predicted yet: the other view is registered all the same.
    waits = f"{scores} waits for gold.{model_name}_predictions: `asgard batch-predict --model {model_name}` makes it"
    assert shop.run("features", "apply", "-p", pipeline) == 0
    assert waits in capsys.readouterr().out
    applied = answer(shop, capsys, "features", "diff", "-p", pipeline)
    assert (applied["waiting"], [each["action"] for each in applied["views"]]) == ([scores], ["keep"])
    assert waits in refusal(shop, capsys, "features", "apply", "-p", pipeline, "-v", scores)

    predict = ("batch-predict", "-m", model_name)
    assert answer(shop, capsys, *predict)["rows"] == CUSTOMERS
    applied = answer(shop, capsys, "features", "apply", "-p", pipeline)
    assert [each["action"] for each in applied["views"]] == ["keep", "add"]
    listed = {each["name"]: each for each in answer(shop, capsys, "features", "list")["views"]}
    assert (listed[scores]["table"], listed[scores]["online"]) == (f"gold.{model_name}_predictions", True)
    assert shop.run("features", "show", scores) == 0
    shown = capsys.readouterr().out
    assert f"predictions of the model {model_name}" in shown
    assert "keys customer_id; event timestamp features_as_of" in shown

    sync_both = ("online-sync", "-v", features, "-v", scores)
    done = {each["view"]: each for each in answer(shop, capsys, *sync_both)["views"]}
    assert {name: each["rows"] for name, each in done.items()} == {features: CUSTOMERS, scores: CUSTOMERS}
    both = ("lookup", "-v", features, "-v", scores)
    found = answer(shop, capsys, *both, "-k", "customer_id=5")
    expected = {row["customer_id"]: row for row in frame_of(shop, f"gold.{model_name}_predictions")}
    assert found["features"]["prediction"] == expected[5]["prediction"]
    assert found["features"]["model_version"] == "1.0.0"
    assert set(found["features"]) == {"amount", "visits", "prediction", "model_version"}

    # The customer is deleted from gold; the next run over all entities does not predict it.
    less = scored(shop, without=5)
    window = ("--start", "2024-01-01", "--end", "2024-02-01")
    assert shop.run("backfill", "-p", less, *window) == 0
    behind = f"{features} reads snapshot "
    assert behind in capsys.readouterr().err
    assert shop.run(*predict) == 0  # the view is registered at the older snapshot, and that is not unsaid
    said = capsys.readouterr()
    assert behind in said.err
    assert "was predicted before" in said.out
    left = answer(shop, capsys, "online-sync", "--together", "-v", features)
    assert (left["views"], left["older_scores"]) == ([], {scores: [f"gold.{shop.suffix}"]})
    assert shop.run("online-sync", "-v", scores) == 0
    assert f"{scores} has scores from older snapshots of gold.{shop.suffix}" in capsys.readouterr().err
    status = answer(shop, capsys, "status", "-p", less)["behind"]
    assert (status["older_views"][features], status["stale"]) == (f"gold.{shop.suffix}", {})
    assert status["older_scores"][scores] == [f"gold.{shop.suffix}"]
    # Read from main, the scores are as new as they can be, though the view is registered at the older snapshot.
    published = answer(shop, capsys, *predict, "--set", "predict_as_of=main")
    assert (published["rows"], published["read_as_of"]) == (CUSTOMERS - 1, "main")
    record = list_runs(shop.lake, run_id=published["run"]["run_id"])[0].attempt.record
    assert record["details"]["prediction"]["read_as_of"] == "main"
    status = answer(shop, capsys, "status", "-p", less)["behind"]
    assert features in status["older_views"]
    assert scores not in status["older_scores"]
    assert shop.run("features", "apply", "-p", less) == 0
    again = answer(shop, capsys, *predict)
    assert (again["rows"], again["read_as_of"]) == (0, "registered")
    assert features not in answer(shop, capsys, "status")["behind"]["older_views"]
    assert answer(shop, capsys, "online-sync", "--together", "-v", features)["older_scores"] == {}
    done = {each["view"]: each for each in answer(shop, capsys, *sync_both)["views"]}
    assert done[scores]["mode"] == "changes"
    assert [(each["written"], each["deleted"]) for each in done.values()] == [(0, 0), (0, 1)]
    found = answer(shop, capsys, *both, "-k", "customer_id=5")
    assert {name: each["status"] for name, each in found["views"].items()} == {features: "missing", scores: "missing"}
    assert answer(shop, capsys, *both, "-k", "customer_id=6")["features"]["prediction"] == expected[6]["prediction"]
    verified = answer(shop, capsys, *sync_both, "--verify")["views"]
    assert [(each["equal"], each["entities"]) for each in verified] == [(True, CUSTOMERS - 1)] * 2


def frame_of(shop: LearningShop, table: str) -> list[dict[str, Any]]:
    """Rows of a published table."""
    return [row.asDict() for row in shop.lake.frame(TableName.parse(table), "main").collect()]


def test_a_training_set_takes_predictions_only_if_they_are_named(predicted: Predicted) -> None:
    lake, view = predicted.lake, predicted.view
    register.apply(lake, "tests", register.plan(lake, [view], resolve(lake, None)))
    assert view.name not in [each.name for each in register.registered_views(lake)]
    # Named, they are seen from the moment on at which they were made, not from that of their features.
    labels = pd.DataFrame({"customer_id": [1, 1], "event_timestamp": [BEGIN + timedelta(days=d) for d in (89, 91)]})
    labels["customer_id"] = labels["customer_id"].astype("int32")
    labels.to_parquet(lake.settings.project_dir / f"{view.name}.parquet")
    source = Labels(str(lake.settings.project_dir / f"{view.name}.parquet"))
    out = lake.settings.project_dir / f"{view.name}_set.parquet"
    build(lake, SetRequest(register.registered_views(lake, [view.name]), source), out, say=lambda _line: None)
    found = pd.read_parquet(out).sort_values("event_timestamp")["prediction"]
    assert [None if pd.isna(each) else each for each in found] == [None, 0.1]


def test_feast_has_them_too(predicted: Predicted) -> None:
    lake, view = predicted.lake, predicted.view
    register.apply(lake, "tests", register.plan(lake, [view], resolve(lake, None)))
    feast_registry.synchronise(lake, ())
    store = feast_registry.open_store(lake.settings)
    held = store.get_feature_view(view.name)
    assert [(field.name, str(field.dtype)) for field in held.features] == [
        ("prediction", "Float64"),
        ("model_version", "String"),
    ]
    asked = pd.DataFrame({"customer_id": [2], "event_timestamp": [BEGIN + timedelta(days=100)]})
    rows = store.get_historical_features(asked, [f"{view.name}:prediction"]).to_df()
    assert list(rows["prediction"]) == [0.2]


def test_the_declaration_knows_its_keys_and_types_or_says_what_is_missing() -> None:
    shop = Pipeline("shop")
    made = model(
        "demand", labels="x", target="y", views=("lines", "days"), trainer=print, task="regression", owner="ann"
    )
    shop.add(predictions_view("demand_now", model=made, online=True, ttl="2d"))
    with pytest.raises(DeclarationError, match="model demand learns from lines, days, which its pipeline does not"):
        Declared.of(shop)
    shop.source("gold.lines")
    for name, keys in (("lines", ("store_id", "product_id")), ("days", ("store_id",))):
        shop.add(feature_view(name, table="gold.lines", keys=keys, features=[Feature("total", "double")]))
    declared = Declared.of(shop)
    view = declared.views["demand_now"]
    assert (view.keys, str(view.table)) == (("store_id", "product_id"), "gold.demand_predictions")
    assert (view.event_timestamp, view.created_timestamp, view.owner) == ("features_as_of", "predicted_at", "ann")
    assert [(each.name, each.type) for each in view.features] == [("prediction", "double"), ("model_version", "string")]
    assert FeatureView.from_json(view.to_json()) == view
    assert [each.name for each in declared.features] == ["lines", "days"]
