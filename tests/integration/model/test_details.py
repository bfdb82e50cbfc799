"""What a trainer tells of its training, as a function or a script: in MLflow, in the version's binding, for gates."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.conftest import Fresh
from tests.support.learning import LearningShop

from asgard.common.settings import load_settings
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.model.mlflow_access.client import connect
from asgard.model.registry import Registry

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

TRAINED = "    return lightgbm.train({**params, **data.params}, lightgbm.Dataset(data.features, data.target), 12)\n"
TELLS = """    from asgard.model.declaration import FitResult

    fitted = lightgbm.train({**params, **data.params}, lightgbm.Dataset(data.features, data.target), 12)
    return FitResult(fitted, {"drift": data.params["drift"], "best_iteration": 12, "by": {"amount": [0.5]}})
"""
GATE = """
def drift_is_small(facts):
    drift = facts.binding.trainer_details.get("drift", 0.0)
    return f"its features drifted by {drift:.2f}" if drift > 0.2 else None
"""


@pytest.fixture
def shop(lake: Lakehouse, spark: "SparkSession", fresh: Fresh, tmp_path: Path) -> LearningShop:
    """Published, registered, nothing trained."""
    made = LearningShop.begin(lake, tmp_path, fresh.table().name)
    made.publish()
    return made


def train(shop: LearningShop, capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    capsys.readouterr()
    code = shop.run("train", *arguments, "--json")
    said = capsys.readouterr()
    assert code == 0, said.err
    found: dict[str, Any] = json.loads(said.out)
    return found


def test_a_gate_reads_what_a_trainer_tells(
    shop: LearningShop, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text, path = Path(shop.pipeline()).read_text(), shop.folder / f"telling_{shop.suffix}.py"
    assert TRAINED in text
    path.write_text(text.replace(TRAINED, TELLS))
    command = ("-p", str(path), "-m", shop.model())
    calm, drifted = (train(shop, capsys, *command, "--param", f"drift={drift}") for drift in (0.05, 0.35))
    assert calm["details"] == {"drift": 0.05, "best_iteration": 12, "by": {"amount": [0.5]}}

    settings = load_settings({"mlflow_tracking_uri": shop.mlflow})
    version = Registry.of(settings).find(f"{shop.model()}@{calm['version']}")
    assert version.binding.trainer_details == calm["details"]
    assert version.binding.details["environment"] == Registry.of(settings).artifact(version).spec.trained_with
    assert {"python", "lightgbm", "pyspark", "numpy"} <= set(version.binding.details["environment"])
    client = connect(settings)
    tags = client.get_run(calm["mlflow_run"]).data.tags
    assert (tags["trainer.drift"], tags["trainer.best_iteration"]) == ("0.05", "12")
    assert "trainer.by" not in tags
    kept = client.download_artifacts(calm["mlflow_run"], "details.json", str(shop.folder))
    assert json.loads(Path(kept).read_text()) == calm["details"]

    (shop.folder / f"gates_{shop.suffix}.py").write_text(GATE)
    monkeypatch.syspath_prepend(shop.folder)
    gate = ("--to", "staging", "--gate", f"gates_{shop.suffix}:drift_is_small")
    assert shop.run("model", "promote", f"{shop.model()}@{drifted['version']}", *gate) == 1
    assert "drift is small: its features drifted by 0.35" in capsys.readouterr().err
    assert shop.run("model", "promote", f"{shop.model()}@{calm['version']}", *gate) == 0


def test_a_script_leaves_its_details_beside_its_model(shop: LearningShop, capsys: pytest.CaptureFixture[str]) -> None:
    path = shop.pipeline()
    script = shop.folder / "learn.py"
    script.write_text(
        script.read_text() + "import json\n"
        "(pathlib.Path(given.out) / 'details.json').write_text(json.dumps({'drift': 0.1, 'rows': len(rows)}))\n"
    )
    made = train(shop, capsys, "-p", path, "-m", shop.model("script"))
    assert made["details"]["drift"] == 0.1
    version = Registry.of(load_settings({"mlflow_tracking_uri": shop.mlflow})).find(shop.model("script"))
    assert version.binding.trainer_details == made["details"]
    libraries = version.binding.details["environment"]
    assert {"scikit-learn", "pandas", "numpy"} <= set(libraries)
    assert not {"pyspark", "mlflow", "pytest"} & set(libraries)  # of the process that started it
