"""MLflow's own tools on a registered version: they serve it where no Asgard is installed, and leave it verifiable."""

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from tests.support.models import NAMES, artifact, as_pyfunc, rows
from tests.support.registered_models import register
from tests.support.registries import empty_registry
from tests.support.segments import different, segmented

from asgard.common.settings import load_settings, python_environment
from asgard.model.artifacts.artifact import Artifact
from asgard.model.artifacts.formats import Format
from asgard.model.lifecycle import Stage, Version
from asgard.model.registry import Registry
from asgard.model.scoring.predictor import Predictor

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

FILE_FORMATS = (Format.LIGHTGBM, Format.SKOPS, Format.PICKLE, Format.ONNX)
WITHOUT_ASGARD = """
import sys
sys.meta_path[:] = [each for each in sys.meta_path if "asgard" not in getattr(each, "__module__", "")]
sys.path[:] = [each for each in sys.path if "asgard" not in each]
"""
LOAD = """
import importlib.util, json, sys
assert importlib.util.find_spec("asgard") is None, importlib.util.find_spec("asgard")
import mlflow, numpy, pandas
rows = pandas.read_parquet(sys.argv[1])
found = {}
for folder in sys.argv[2:]:
    found[folder.rpartition("/")[2]] = mlflow.pyfunc.load_model(folder).predict(rows).tolist()
import asgard
print(json.dumps({"asgard": asgard.__file__, "found": found}))
"""
INSTALLED = """
import sys, mlflow
mlflow.pyfunc.load_model(sys.argv[1])
import asgard.lakehouse.declaring.pipeline
print(asgard.__file__, asgard.Pipeline.__name__)
"""


@pytest.fixture
def nowhere(tmp_path: Path) -> dict[str, str]:
    """The environment of a process in which Asgard is not installed."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(WITHOUT_ASGARD)
    given = {name: value for name, value in python_environment().items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**given, "PYTHONPATH": str(tmp_path / "site")}


def run(*command: str, env: dict[str, str] | None = None) -> str:
    """A command from a folder that has nothing."""
    done = subprocess.run(command, cwd="/", env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


def given_rows() -> pd.DataFrame:
    """As a query brings them: a column of whole numbers of 64 bits, and booleans."""
    found = pd.DataFrame(rows(40, gaps=False), columns=list(NAMES))
    return found.assign(visits=found["visits"].astype("int64"), member=found["member"] > 0)


def test_every_format_is_served_where_no_asgard_is_installed(tmp_path: Path, nowhere: dict[str, str]) -> None:
    import pyarrow as pa

    given = given_rows().assign(shop=["books", "food", "toys", "books"] * 10)
    given.to_parquet(tmp_path / "rows.parquet")
    models: dict[str, Artifact] = {str(format): artifact(format) for format in FILE_FORMATS}
    models["pyfunc"] = artifact(Format.PYFUNC, model=as_pyfunc())
    models["segments"] = segmented(different())
    folders = [str(each.save(tmp_path / name)) for name, each in models.items()]
    said = json.loads(run(sys.executable, "-c", LOAD, str(tmp_path / "rows.parquet"), *folders, env=nowhere))
    assert said["asgard"] == f"{folders[0]}/code/asgard/__init__.py"
    batch = pa.RecordBatch.from_pandas(given, preserve_index=False)
    for name, each in models.items():
        assert np.array_equal(said["found"][name], Predictor(each).predict(batch)), name
        again = Artifact.read(tmp_path / name, each.sha256)  # though Python has left its caches there
        assert again.files == each.files
    assert list(Path(folders[0]).glob("code/**/__pycache__"))


def test_an_installed_asgard_counts_more_than_the_files_beside_a_model(tmp_path: Path) -> None:
    folder = str(artifact().save(tmp_path / "model"))
    file, name = run(sys.executable, "-c", INSTALLED, folder).split()
    assert not file.startswith(folder)
    assert name == "Pipeline"


class TestRegistered:
    @pytest.fixture
    def registry(self, tmp_path: Path) -> Registry:
        return Registry.of(load_settings({"mlflow_tracking_uri": empty_registry(tmp_path), "user": "ann"}))

    def test_what_plain_mlflow_has_touched_is_verified_promoted_and_loaded(
        self, registry: Registry, tmp_path: Path, nowhere: dict[str, str]
    ) -> None:
        made = artifact()
        version = register(registry, "churn", tmp_path / "made", made=made)
        env = {
            **nowhere,
            "MLFLOW_TRACKING_URI": registry.settings.mlflow,
            "_MLFLOW_SERVER_ARTIFACT_ROOT": (tmp_path / "artifacts").as_uri(),
        }
        uri, given = f"models:/churn/{version.mlflow_version}", given_rows()
        asked = tmp_path / "asked.json"
        asked.write_text(json.dumps({"dataframe_split": json.loads(given.to_json(orient="split", index=False))}))
        cli = (sys.executable, "-m", "mlflow")
        served = ("--content-type", "json", "-i", str(asked), "-o", str(tmp_path / "said.json"))
        run(*cli, "models", "predict", "-m", uri, "--env-manager", "local", *served, env=env)
        said = json.loads((tmp_path / "said.json").read_text())["predictions"]
        assert np.allclose(said, Predictor(made).score(given.to_numpy(dtype="float64")))
        run(*cli, "artifacts", "download", "-u", uri, "-d", str(tmp_path / "copy"), env=env)
        assert list(tmp_path.glob("artifacts/**/registered_model_meta")), "MLflow left nothing: nothing was tried"
        assert registry.artifact(version).files == made.files
        moved = registry.move("churn", Version(1, 0, 0), Stage.STAGING)
        assert moved.version.stage is Stage.STAGING
        meta = next(tmp_path.glob("artifacts/**/registered_model_meta"))
        (meta.parent / "model.txt").write_bytes(b"tree")
        with pytest.raises(Exception, match=r"model\.txt in .* was changed"):
            registry.artifact(version)


def test_spark_udf_takes_whole_numbers_with_nulls(spark: "SparkSession", tmp_path: Path) -> None:
    import pyarrow as pa

    from asgard.model.mlflow_access.mlflow_quiet import import_mlflow

    mlflow: Any = import_mlflow()
    made = artifact()
    folder = made.save(tmp_path / "model")
    predict = mlflow.pyfunc.spark_udf(spark, str(folder), result_type="double", env_manager="local")
    table = pa.table(
        {
            "age": pa.array([50.0, None, 30.5, 20.0]),
            "spent": pa.array([1.5, 200.0, None, 3.0]),
            "visits": pa.array([2**53, 7, None, 2**54], pa.int64()),
            "member": pa.array([True, None, False, True]),
        }
    )
    for batch in (table, table.slice(0, 1)):  # with nulls, and without
        found = [row[0] for row in spark.createDataFrame(batch).select(predict(*NAMES)).collect()]
        assert found == Predictor(made).predict(batch).tolist()
