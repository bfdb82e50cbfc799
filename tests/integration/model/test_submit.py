"""Training and batch prediction through the real spark-submit, with the parameters of the command line."""

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.conftest import Fresh
from tests.support.learning import CUSTOMERS, LearningShop
from tests.support.predicting import promote, published
from tests.support.spark_submit import call, submit

from asgard.common.settings import Settings
from asgard.lakehouse.catalog.lake import Lakehouse

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@pytest.fixture
def shop(lake: Lakehouse, spark: "SparkSession", fresh: Fresh, tmp_path: Path) -> LearningShop:
    """Published, registered, nothing trained."""
    made = LearningShop.begin(lake, tmp_path, fresh.table().name)
    made.publish()
    return made


def test_train_and_batch_predict_by_spark_submit(
    shop: LearningShop, project: Settings, tmp_path: Path, repository_root: Path
) -> None:
    package = tmp_path / "asgard.zip"
    subprocess.run([sys.executable, "-m", "asgard.local.package", str(package)], check=True)
    apps, place = repository_root / "spark-apps", ["--dir", str(project.project_dir), "--json"]
    place += ["--set", f"mlflow_tracking_uri={shop.mlflow}"]
    model = ["--pipeline", shop.pipeline(), "--model", shop.model()]
    for number, leaves in enumerate((7, 3)):
        params = ["--param", f"num_leaves={leaves}", "--seed", "5", "--bump", "minor"]
        done = submit(project, apps / "train_job.py", [package], [*model, *params, *place])
        assert done.returncode == 0, done.stdout + done.stderr
        trained = json.loads(done.stdout)
        assert trained["version"] == ("1.0.0", "1.1.0")[number]
        assert trained["metrics"]["roc_auc"] > 0.6
    promote(shop, "1.0.0", "churn")

    predict = [*model, "--challenger", "1.1.0", "--share", "0.4", "--where", "customer_id >= 20", *place]
    done = submit(project, apps / "batch_predict_job.py", [package], predict)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert (found["rows"], found["run"]["status"]) == (CUSTOMERS - 20, "published")
    sides = {each["model"].partition("@")[2]: each["rows"] for each in found["sides"].values()}
    rows = published(shop, "churn")
    assert sides == {version: sum(row["model_version"] == version for row in rows) for version in ("1.0.0", "1.1.0")}
    assert min(sides.values()) > 0
    assert {row["run_id"] for row in rows} == {found["run"]["run_id"]}

    for job, arguments, code, message in (
        ("train_job.py", [*model, "--param", "x"], 2, "error: --param 'x' is not NAME=VALUE"),
        ("batch_predict_job.py", [*predict, "--share", "7"], 2, "error: The challenger's share is 7.0"),
    ):
        wrong = call(apps / job, package, arguments)
        assert wrong.returncode == code, wrong.stderr
        assert message in wrong.stderr + wrong.stdout
        assert "hint" in wrong.stderr + wrong.stdout
        assert "Traceback" not in wrong.stderr + wrong.stdout
