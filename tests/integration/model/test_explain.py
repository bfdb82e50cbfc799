"""One prediction traced to its version, the values that were used, their runs, and the files in bronze."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from tests.conftest import Fresh
from tests.support.customer_views import frame
from tests.support.learning import CUSTOMERS, LearningShop
from tests.support.runs import declared, write_rows

from asgard.common.names import TableName
from asgard.common.settings import load_settings
from asgard.features.register import registered_views
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.catalog.locations import local_path
from asgard.model.registry import Registry
from asgard.model.scoring.predictor import Predictor

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@pytest.fixture
def shop(lake: Lakehouse, spark: "SparkSession", fresh: Fresh, tmp_path: Path) -> LearningShop:
    """Published, trained, in Production, predicted."""
    made = LearningShop.begin(lake, tmp_path, fresh.table().name)
    made.publish()
    assert made.run("train", "-p", made.pipeline(), "-m", made.model("plain")) == 0
    for stage in ("staging", "production"):
        assert made.run("model", "promote", f"{made.model('plain')}@1.0.0", "--to", stage) == 0
    assert made.run("batch-predict", "-m", made.model("plain")) == 0
    return made


def table_of(shop: LearningShop) -> str:
    return f"gold.{shop.model('plain')}_predictions"


def asked(shop: LearningShop, capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    """The explanation of a prediction."""
    capsys.readouterr()
    code = shop.run("lineage", table_of(shop), *arguments, "--json")
    said = capsys.readouterr()
    assert code == 0, said.err
    found: dict[str, Any] = json.loads(said.out)
    return found


def scored(shop: LearningShop, values: Mapping[str, float], version: str) -> float:
    """What a version says of these values, in this process."""
    registry = Registry.of(load_settings({"mlflow_tracking_uri": shop.mlflow}))
    predictor = Predictor(registry.artifact(registry.find(f"{shop.model('plain')}@{version}")))
    return float(predictor.score(np.array([[values["amount"], values["visits"]]], dtype=np.float64))[0])


def test_a_prediction_leads_to_the_values_that_give_it(shop: LearningShop, capsys: pytest.CaptureFixture[str]) -> None:
    lake = shop.lake
    before = registered_views(lake, [f"view_{shop.suffix}"])[0].table
    write_rows(lake, declared(TableName("bronze", shop.suffix), mode="append"), frame(lake, [(CUSTOMERS, 0, 1.0, 1)]))
    shop.backfill("amount * 3D")  # what is published now is not what was used
    for customer in (0, 7, CUSTOMERS - 1):
        found = asked(shop, capsys, "--key", f"customer_id={customer}")
        assert found["missing"] == []
        row = lake.frame(TableName.parse(table_of(shop)), "main").where(f"customer_id = {customer}").collect()[0]
        assert found["prediction"]["prediction"] == row["prediction"]
        features = found["features"][0]
        assert (features["snapshot_id"], features["view"]) == (before.snapshot_id, f"view_{shop.suffix}")
        assert features["inputs"] == ["amount", "visits"]
        assert scored(shop, features["values"], "1.0.0") == row["prediction"]
        assert features["event"] == "2024-01-08T00:00:00+00:00"
        assert found["run"]["run_id"] == row["run_id"]
        assert found["run"]["job"] == "batch-predict"
        model = found["model"]
        assert (model["version"], model["stage"]) == (f"{shop.model('plain')}@1.0.0", "Production")
        assert model["trained_on"] == {f"gold.{shop.suffix}": before.snapshot_id}
        assert model["mlflow_run"]
        source = found["sources"][0]
        assert (source["table"], source["snapshot_id"], source["job"]) == (
            f"gold.{shop.suffix}",
            before.snapshot_id,
            "backfill",
        )
        assert [each["table"] for each in source["inputs"]] == [f"bronze.{shop.suffix}"]


def test_a_person_reads_it_as_a_tree_down_to_the_file(shop: LearningShop, capsys: pytest.CaptureFixture[str]) -> None:
    more = shop.folder / "more.parquet"
    rows = frame(shop.lake, [(customer, 9, 33.0, 2) for customer in range(CUSTOMERS)]).toPandas()
    pd.DataFrame(rows).to_parquet(more, coerce_timestamps="us", use_deprecated_int96_timestamps=False)
    assert shop.run("ingest", f"bronze.{shop.suffix}", str(more), "-p", shop.pipeline()) == 0
    shop.backfill()
    assert shop.run("batch-predict", "-m", shop.model("plain"), "--max-mean-shift", "9") == 0
    capsys.readouterr()
    assert shop.run("lineage", table_of(shop), "--key", "customer_id=5", "--model-version", "1.0.0") == 0
    said = capsys.readouterr().out
    lines = said.splitlines()
    assert lines[0].startswith("prediction 0.")
    assert f"  model {shop.model('plain')}@1.0.0, now in Production; MLflow run " in said
    assert "    amount = 33.0\n    visits = 2\n" in said
    assert f"view_{shop.suffix} version 1  gold.{shop.suffix}  snapshot " in said
    assert "row of 2024-01-10 00:00:00" in said
    assert f"  gold.{shop.suffix}  snapshot " in said
    assert f"    bronze.{shop.suffix}  snapshot " in said
    assert str(more) in said
    assert "missing" not in said


def test_on_demand_features_are_computed_again_where_their_code_is(
    shop: LearningShop, capsys: pytest.CaptureFixture[str]
) -> None:
    name, feature = shop.model(), f"each_visit_{shop.suffix}"
    assert shop.run("train", "-p", shop.pipeline(), "-m", name) == 0
    for stage in ("staging", "production"):
        assert shop.run("model", "promote", f"{name}@1.0.0", "--to", stage) == 0
    assert shop.run("batch-predict", "-m", name, "-p", shop.pipeline()) == 0
    capsys.readouterr()
    command = ("lineage", f"gold.{name}_predictions", "--key", "customer_id=5")
    assert shop.run(*command, "--json") == 0
    without = json.loads(capsys.readouterr().out)
    assert (without["on_demand"], without["computed"]) == ([feature], {})
    assert len(without["missing"]) == 1
    assert feature in without["missing"][0]
    assert "--pipeline" in without["missing"][0]
    assert shop.run(*command, "-p", shop.pipeline(), "--json") == 0
    found = json.loads(capsys.readouterr().out)
    values = found["features"][0]["values"]
    assert found["computed"] == {feature: values["amount"] / (values["visits"] + 1)}
    assert found["missing"] == []
    registry = Registry.of(load_settings({"mlflow_tracking_uri": shop.mlflow}))
    predictor = Predictor(registry.artifact(registry.find(f"{name}@1.0.0")))
    everything = {**values, **found["computed"]}
    row = np.array([[everything[each] for each in predictor.signature.names]], dtype=np.float64)
    assert float(predictor.score(row)[0]) == found["prediction"]["prediction"]
    assert shop.run(*command, "-p", shop.pipeline()) == 0
    assert f"    {feature} = {found['computed'][feature]}\n" in capsys.readouterr().out

    pipeline = Path(shop.pipeline())
    pipeline.write_text(pipeline.read_text().replace("amount / (visits + 1)", "amount / (visits + 2)"))
    assert shop.run(*command, "-p", str(pipeline), "--json") == 0
    changed = json.loads(capsys.readouterr().out)
    assert changed["computed"] == {}
    assert f"was trained with other code of {feature}" in changed["missing"][0]
    assert shop.run("batch-predict", "-m", name, "-p", str(pipeline)) == 2
    assert f"was trained with other code of {feature}" in capsys.readouterr().err


def test_what_can_not_be_explained_is_said(shop: LearningShop, capsys: pytest.CaptureFixture[str]) -> None:
    table = table_of(shop)
    for arguments, message in (
        ((table, "--key", "household=1"), "has no key 'household'"),
        ((table, "--key", "model_version=1.0.0"), "has no key 'model_version'"),
        ((table, "--key", "customer_id=99999"), "has no prediction of customer_id = 99999"),
        ((table, "--key", "customer_id=5", "--model-version", "2.0.0"), "by version 2.0.0"),
        ((table, "--key", "customer_id=five"), "'five' is not of type bigint"),
        ((table, "--key", "customer_id"), "is not NAME=VALUE"),
        ((table, "--key", "customer_id=5", "--key", "customer_id=6"), "is given twice"),
        ((table, "--model-version", "1.0.0"), "applies to one prediction only"),
        ((f"gold.{shop.suffix}", "--key", "customer_id=5"), "contains no predictions"),
    ):
        capsys.readouterr()
        assert shop.run("lineage", *arguments) == 2, arguments
        said = capsys.readouterr().err
        assert message in said, said
        assert "hint: " in said
    files = registered_views(shop.lake, [f"view_{shop.suffix}"])[0].table.files
    Path(local_path(files[0])).unlink()
    found = asked(shop, capsys, "--key", "customer_id=5")
    assert found["features"] == []
    assert "is missing or incomplete" in found["missing"][0]
    assert found["model"]["stage"] == "Production"


def test_without_a_key_the_table_shows_what_it_came_from_and_how_to_ask(
    shop: LearningShop, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert shop.run("lineage", table_of(shop)) == 0
    printed = capsys.readouterr().out
    view = registered_views(shop.lake, [f"view_{shop.suffix}"])[0]
    assert f"predicted by {shop.model('plain')}@1.0.0" in printed
    assert f"{view.table.name}  snapshot {view.table.snapshot_id}" in printed
    assert f"asgard lineage {table_of(shop)} --key customer_id=VALUE" in printed
