"""Models from their views to published predictions, by the commands that anyone calls."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
import pyarrow.parquet as pq
import pytest
from tests.conftest import Fresh
from tests.support.learning import CUSTOMERS, DAYS, LearningShop

from asgard.common.names import TableName
from asgard.common.settings import load_settings
from asgard.features.register import registered_views
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.model import predict_udf
from asgard.model.mlflow_access.client import connect
from asgard.model.registry import Registry
from asgard.model.scoring.predictor import Predictor

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@pytest.fixture
def shop(lake: Lakehouse, spark: "SparkSession", fresh: Fresh, tmp_path: Path) -> LearningShop:
    """Published, registered, nothing trained."""
    made = LearningShop.begin(lake, tmp_path, fresh.table().name)
    made.publish()
    return made


def asked(shop: LearningShop, capsys: pytest.CaptureFixture[str], *arguments: Any) -> dict[str, Any]:
    """What a command answers with --json."""
    capsys.readouterr()
    code = shop.run(*arguments, "--json")
    said = capsys.readouterr()
    assert code == 0, said.err
    found: dict[str, Any] = json.loads(said.out)
    return found


def train(shop: LearningShop, capsys: pytest.CaptureFixture[str], name: str = "churn", *more: str) -> dict[str, Any]:
    """Train one of the shop's models."""
    return asked(shop, capsys, "train", "-p", shop.pipeline(), "-m", shop.model(name), *more)


def promote(shop: LearningShop, version: str, name: str = "churn") -> None:
    """Into Production."""
    for stage in ("staging", "production"):
        assert shop.run("model", "promote", f"{shop.model(name)}@{version}", "--to", stage) == 0


def predictions(shop: LearningShop, name: str = "churn") -> list[Mapping[str, Any]]:
    """All published ones."""
    frame = shop.lake.frame(TableName("gold", f"{shop.model(name)}_predictions"), "main")
    return [row.asDict() for row in frame.orderBy("predicted_at", "customer_id").collect()]


def registry_of(shop: LearningShop) -> Registry:
    return Registry.of(load_settings({"mlflow_tracking_uri": shop.mlflow, "user": "ann"}))


def test_a_training_is_a_run_a_version_and_its_holds(shop: LearningShop, capsys: pytest.CaptureFixture[str]) -> None:
    one, other = train(shop, capsys), train(shop, capsys)
    assert (one["version"], other["version"]) == ("1.0.0", "1.0.1")
    assert one["training_set"]["digest"] == other["training_set"]["digest"]
    assert one["metrics"] == other["metrics"]
    assert one["training_set"]["rows"] == CUSTOMERS * DAYS
    assert one["metrics"]["roc_auc"] > 0.8 > one["baseline"]["roc_auc"] == 0.5
    view = registered_views(shop.lake, [f"view_{shop.suffix}"])[0]
    found = registry_of(shop).find(f"{shop.model()}@1.0.0")
    assert found.binding.views[0].snapshot_id == view.table.snapshot_id
    holds = {each.name: each.hash for each in shop.lake.nessie.references(f"hold_model_{shop.model()}_")}
    commit = view.table.at.commit
    assert holds == {f"hold_model_{shop.model()}_{version}-{commit[:16]}": commit for version in ("1.0.0", "1.0.1")}
    assert not shop.set_holds
    run = connect(load_settings({"mlflow_tracking_uri": shop.mlflow})).get_run(one["mlflow_run"])
    assert run.info.status == "FINISHED"
    assert run.data.metrics["roc_auc"] == one["metrics"]["roc_auc"]
    assert run.data.metrics["baseline_roc_auc"] == 0.5
    assert run.data.params["num_leaves"] == "7"
    dataset = run.inputs.dataset_inputs[0]
    assert dataset.dataset.digest == one["training_set"]["digest"][:36]
    assert str(view.table.snapshot_id) in dataset.dataset.source
    client = connect(load_settings({"mlflow_tracking_uri": shop.mlflow}))
    kept = {each.path for each in client.list_artifacts(one["mlflow_run"])}
    assert {"training_set.manifest.json", "evaluation.json", "plots"} <= kept
    drawn = {each.path for each in client.list_artifacts(one["mlflow_run"], "plots")}
    assert drawn == {f"plots/{name}.png" for name in ("roc", "pr", "calibration", "confusion", "importance")}


def test_predictions_are_those_of_the_model_in_this_process_and_of_its_udf(
    shop: LearningShop, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    train(shop, capsys, "plain")
    promote(shop, "1.0.0", "plain")
    said = asked(shop, capsys, "batch-predict", "-m", shop.model("plain"))
    assert said["rows"] == CUSTOMERS
    registry = registry_of(shop)
    version = registry.find(f"{shop.model('plain')}@production")
    predictor = Predictor(registry.artifact(version))
    files = registered_views(shop.lake, [f"view_{shop.suffix}"])[0].table.files
    latest = duckdb.sql(
        "SELECT customer_id, max_by(amount, event_timestamp) AS amount, max_by(visits, event_timestamp) AS visits "
        f"FROM read_parquet({[path.removeprefix('file://') for path in files]}) GROUP BY 1 ORDER BY 1"
    ).to_arrow_table()
    expected = dict(zip(latest.column("customer_id").to_pylist(), predictor.predict(latest).tolist(), strict=True))
    rows = predictions(shop, "plain")
    assert {row["customer_id"]: row["prediction"] for row in rows} == expected
    assert {(row["model_version"], row["feature_snapshot"], row["scope"]) for row in rows} == {
        ("1.0.0", str(version.binding.views[0].snapshot_id), "all")
    }
    assert {row["run_id"] for row in rows} == {said["run"]["run_id"]}
    assert said["mean"] == pytest.approx(np.mean(list(expected.values())))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", shop.mlflow)
    predict = predict_udf(f"{shop.model('plain')}@production", shop.lake.spark)
    asked_for = shop.lake.spark.createDataFrame(latest.to_pandas()).select("customer_id", predict().alias("said"))
    assert {row["customer_id"]: row["said"] for row in asked_for.collect()} == expected


def test_a_version_predicts_a_snapshot_once(shop: LearningShop, capsys: pytest.CaptureFixture[str]) -> None:
    train(shop, capsys)
    promote(shop, "1.0.0")
    command = ["batch-predict", "-m", shop.model(), "-p", shop.pipeline()]
    some = shop.folder / "some.csv"
    some.write_text("customer_id,why\n3,asked\n5,asked\n5,twice\n")
    assert asked(shop, capsys, *command, "--entities", some)["rows"] == 2
    assert asked(shop, capsys, *command, "--where", "customer_id < 10")["rows"] == 8
    top = asked(shop, capsys, *command, "--top", 10, "--where", "customer_id >= 10")
    assert top["rows"] == 10
    same = asked(shop, capsys, *command, "--top", 10, "--where", "customer_id >= 10")
    assert (same["rows"], same["run"]["status"]) == (0, "unchanged")
    rest = asked(shop, capsys, *command)
    assert rest["rows"] == CUSTOMERS - 20
    again = asked(shop, capsys, *command)
    assert (again["rows"], again["run"]["status"]) == (0, "unchanged")
    rows = predictions(shop)
    assert sorted(row["customer_id"] for row in rows) == list(range(CUSTOMERS))
    best = {row["customer_id"]: row["prediction"] for row in rows if row["scope"].endswith("top 10 by score")}
    others = [row["prediction"] for row in rows if row["customer_id"] >= 10 and row["customer_id"] not in best]
    assert min(best.values()) >= max(others)
    earlier = asked(shop, capsys, *command, "--moment", "2024-01-03")
    assert (earlier["rows"], len(predictions(shop))) == (CUSTOMERS, 2 * CUSTOMERS)


def test_a_restated_snapshot_is_predicted_anew_and_held_against_the_last(
    shop: LearningShop, capsys: pytest.CaptureFixture[str]
) -> None:
    train(shop, capsys, "plain")
    promote(shop, "1.0.0", "plain")
    command = ["batch-predict", "-m", shop.model("plain")]
    first = asked(shop, capsys, *command)
    shop.backfill("amount * 1.01D")
    second = asked(shop, capsys, *command)
    assert second["feature_snapshot"] != first["feature_snapshot"]
    assert second["rows"] == CUSTOMERS
    shop.backfill("CASE WHEN amount > 50 THEN 95D ELSE 90D END")
    before = shop.lake.nessie.head("main")
    assert shop.run(*command) == 3
    assert "mean against the last run" in capsys.readouterr().err
    assert shop.lake.nessie.head("main") == before
    assert asked(shop, capsys, *command, "--max-mean-shift", 5)["rows"] == CUSTOMERS
    old = asked(shop, capsys, *command, "--snapshot", first["feature_snapshot"])
    assert (old["rows"], old["run"]["status"]) == (0, "unchanged")


def test_impact_names_the_models_that_a_change_would_touch(
    shop: LearningShop, capsys: pytest.CaptureFixture[str]
) -> None:
    train(shop, capsys)
    uses = asked(shop, capsys, "features", "impact", shop.table, "-c", "visits")["uses"]
    assert [(each["kind"], each["name"], each["columns"]) for each in uses] == [
        ("view", f"view_{shop.suffix}", ["visits"]),
        ("model", f"{shop.model()}@1.0.0 (None)", ["visits"]),
    ]
    registry = registry_of(shop)
    version = registry.find(f"{shop.model()}@1.0.0")
    registry.client.delete_model_version_tag(version.name, version.mlflow_version, "asgard.binding")
    assert shop.run("features", "impact", shop.table, "--json") == 0
    assert f"what {version} reads is unknown: " in capsys.readouterr().err
    assert shop.run("model", "promote", str(version), "--to", "archived") == 0
    capsys.readouterr()
    assert shop.run("features", "impact", shop.table, "--json") == 0
    said = capsys.readouterr()
    assert "not known" not in said.err
    assert [each["kind"] for each in json.loads(said.out)["uses"]] == ["view"]


def test_metrics_tell_of_predictions(shop: LearningShop, capsys: pytest.CaptureFixture[str]) -> None:
    train(shop, capsys, "plain")
    promote(shop, "1.0.0", "plain")
    said = asked(shop, capsys, "batch-predict", "-m", shop.model("plain"))
    samples = {
        (sample["name"], sample["labels"].get("le")): sample["value"]
        for metric in asked(shop, capsys, "metrics")["metrics"]
        for sample in metric["samples"]
        if sample["labels"].get("model") == shop.model("plain")
    }
    assert samples["asgard_predictions_total", None] == CUSTOMERS
    assert samples["asgard_prediction_mean", None] == pytest.approx(said["mean"])
    assert samples["asgard_prediction_latency_seconds_count", None] >= 1
    assert samples["asgard_prediction_latency_seconds_bucket", "+Inf"] >= 1
    assert samples["asgard_model_trained_timestamp_seconds", None] > 1.7e9


def test_a_model_that_misses_its_bounds_is_not_registered(
    shop: LearningShop, capsys: pytest.CaptureFixture[str]
) -> None:
    assert shop.run("train", "-p", shop.pipeline(), "-m", shop.model("strict")) == 3
    assert "roc_auc is 0.9" in capsys.readouterr().err
    assert shop.model("strict") not in registry_of(shop).names()
    client = connect(load_settings({"mlflow_tracking_uri": shop.mlflow}))
    experiment = client.get_experiment_by_name(f"asgard/{shop.model('strict')}")
    runs = client.search_runs([experiment.experiment_id])
    assert [run.info.status for run in runs] == ["FAILED"]
    assert runs[0].data.metrics["roc_auc"] < 0.9999
    logged = {each.path for each in client.list_artifacts(runs[0].info.run_id)}
    assert {"signature.json", "requirements.txt", "input_example.json"} <= logged
    assert not list(shop.lake.nessie.references(f"hold_model_{shop.model('strict')}_"))
    assert not shop.set_holds


def test_a_script_trains_in_a_process_of_its_own(shop: LearningShop, capsys: pytest.CaptureFixture[str]) -> None:
    made = train(shop, capsys, "script")
    assert made["metrics"]["roc_auc"] > 0.7
    client = connect(load_settings({"mlflow_tracking_uri": shop.mlflow}))
    log = client.download_artifacts(made["mlflow_run"], "training.log", str(shop.folder))
    assert Path(log).read_text().startswith("rows: ")


def test_features_that_the_model_does_not_take_are_refused_before_spark(
    shop: LearningShop, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    train(shop, capsys, "plain")
    promote(shop, "1.0.0", "plain")
    shop.backfill(features={"visits": "int"})
    monkeypatch.setattr(Lakehouse, "spark", property(lambda _lake: pytest.fail("Spark was started")))
    assert shop.run("batch-predict", "-m", shop.model("plain")) == 2
    assert "amount missing" in capsys.readouterr().err


def test_mistakes_are_answered_in_words(shop: LearningShop, capsys: pytest.CaptureFixture[str]) -> None:
    train(shop, capsys)
    promote(shop, "1.0.0")
    predict = ["batch-predict", "-m", shop.model()]
    with_code = [*predict, "-p", shop.pipeline()]
    nothing = shop.folder / "keys.csv"
    nothing.write_text("household\n1\n")
    for arguments, code, message in (
        (["train", "-p", shop.pipeline(), "-m", "nothing"], 2, "declares no model 'nothing'"),
        (["train", "-p", shop.pipeline(), "-m", shop.model(), "--param", "x"], 2, "is not NAME=VALUE"),
        (["train", "-p", shop.pipeline(), "-m", shop.model("broken")], 1, "ValueError: no idea"),
        (["train", "-p", shop.pipeline(), "-m", shop.model(), "--bump", "0.1.0"], 2, "does not come after 1.0.0"),
        (predict, 2, "whose code is in its pipeline"),
        (["batch-predict", "-m", "nothing"], 2, "There is no model 'nothing'"),
        ([*with_code, "--version", "9.9.9"], 2, "has no version 9.9.9"),
        ([*with_code, "--stage", "staging"], 2, "has no version in Staging"),
        ([*with_code, "--stage", "somewhere"], 2, "There is no stage 'somewhere'"),
        ([*with_code, "--where", "nothing > 1"], 2, "can't be read"),
        ([*with_code, "--top", "0"], 2, "--top is 0"),
        ([*with_code, "--top", "5", "--by", "nothing"], 2, "--by is 'nothing'"),
        ([*with_code, "--entities", nothing], 2, "lacks customer_id"),
        ([*with_code, "--entities", shop.folder / "no.csv"], 2, "There is no file"),
        ([*with_code, "--snapshot", "123"], 2, "was never published"),
        ([*with_code, "--as-of", "1999-01-01"], 2, "Nothing was published"),
    ):
        capsys.readouterr()
        assert shop.run(*arguments) == code, arguments
        said = capsys.readouterr().err
        assert message in said, said
        assert "hint: " in said
    assert pq.read_table(shop.folder / "labels.parquet").num_rows == CUSTOMERS * DAYS
