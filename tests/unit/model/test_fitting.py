"""A declared model fitted on examples: what its trainer told, and what it was trained with."""

import importlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tests.support.distributions import install

from asgard.common.errors import ArtifactError, RunError, UsageError
from asgard.model.artifacts.signature import Column, Signature
from asgard.model.declaration import FitResult, TrainingData, model
from asgard.model.mlflow_access.mlflow_quiet import import_mlflow
from asgard.model.scoring.predictor import Predictor
from asgard.model.training.examples import Examples
from asgard.model.training.fitting import Fitted, fit

ROWS = 200


def examples() -> Examples:
    generator = np.random.default_rng(3)
    features = pd.DataFrame({"a": generator.normal(size=ROWS), "b": generator.normal(size=ROWS)})
    return Examples(
        features=features,
        target=(features["a"] + generator.normal(scale=0.3, size=ROWS) > 0).to_numpy(dtype=np.int64),
        times=pd.Series(pd.date_range("2024-01-01", periods=ROWS, tz="UTC")),
        entity=pd.DataFrame({"id": range(ROWS)}),
        signature=Signature((Column("a", "double"), Column("b", "double")), "binary", ("no", "yes")),
    )


def linear(data: TrainingData) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression().fit(data.features.to_numpy(), data.target)


def boosted_pipeline(data: TrainingData) -> Any:
    from lightgbm import LGBMClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    made = make_pipeline(StandardScaler(), LGBMClassifier(n_estimators=5, n_jobs=1, verbose=-1))
    return made.fit(data.features.to_numpy(), data.target)


def fitted(
    trainer: Callable[[TrainingData], Any] | str, folder: Path, said: list[str] | None = None, **more: Any
) -> Fitted:
    declared = model("churn", labels="labels.csv", target="left", views=("metrics",), trainer=trainer, **more)
    return fit(declared, examples(), {}, 7, folder, (said if said is not None else []).append)


def test_a_model_that_drops_rows_is_not_judged_by_the_others(tmp_path: Path) -> None:
    def drops_rows(data: TrainingData) -> Any:
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import FunctionTransformer

        made = make_pipeline(FunctionTransformer(pd.DataFrame.dropna), LogisticRegression())
        return made.fit(data.features, data.target)

    given = examples()
    given.features.iloc[[160, 171, 188], 1] = np.nan  # in the test only
    declared = model("churn", labels="l.csv", target="left", views=("v",), trainer=drops_rows, format="pickle")
    with pytest.raises(ArtifactError, match=r"The model returned 61 predictions for 64 rows \(50, and 14 that pad"):
        fit(declared, given, {}, 7, tmp_path, lambda _line: None)


class TestCode:
    """A model that takes code of its pipeline could not be loaded by anyone else: refused before it is registered."""

    MODULE = """
import numpy, pandas
from sklearn.base import BaseEstimator
from sklearn.linear_model import LogisticRegression

class Clipped(BaseEstimator):
    def fit(self, rows, target):
        self.inner = LogisticRegression().fit(rows, target)
        return self
    def predict_proba(self, rows):
        return self.inner.predict_proba(numpy.clip(rows, -1, 1))
    predict = predict_proba

def trainer(data):
    return Clipped().fit(data.features.to_numpy(), data.target)

def in_a_pipeline(data):
    from sklearn.pipeline import make_pipeline
    return make_pipeline(Clipped()).fit(data.features.to_numpy(), data.target)

def kept_by_mlflow(data):
    import mlflow
    class Model(mlflow.pyfunc.PythonModel):
        def __init__(self):
            self.clipped = trainer(data)
        def predict(self, context, model_input, params=None):
            return self.clipped.predict_proba(model_input.to_numpy())
    return Model()
"""

    @pytest.fixture
    def module(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
        """A pipeline's own file, as `--pipeline PATH` imports it."""
        (tmp_path / "own_pipeline.py").write_text(self.MODULE)
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, "own_pipeline", raising=False)
        return importlib.import_module("own_pipeline")

    @pytest.mark.parametrize("name", ["trainer", "in_a_pipeline"])
    def test_a_class_of_the_pipelines_own_file(self, module: Any, tmp_path: Path, name: str) -> None:
        with pytest.raises(UsageError, match=r"kept as pickle: it needs own_pipeline\.Clipped, which") as caught:
            fitted(getattr(module, name), tmp_path, format="pickle")
        assert "PythonModel" in caught.value.hint

    def test_on_pythonpath_it_is_there_for_everybody(
        self, module: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        assert fitted(module.trainer, tmp_path, format="pickle").metrics["roc_auc"] > 0.8

    def test_of_a_script(self, tmp_path: Path) -> None:
        script = tmp_path / "train.py"
        script.write_text(
            self.MODULE + "import pathlib, pickle, sys\n"
            "given = dict(zip(sys.argv[1::2], sys.argv[2::2]))\nrows = pandas.read_parquet(given['--data'])\n"
            "model = Clipped().fit(rows[['a', 'b']].to_numpy(), rows['left'])\n"
            "(pathlib.Path(given['--out']) / 'model.pkl').write_bytes(pickle.dumps(model))\n"
        )
        with pytest.raises(UsageError, match=r"it needs __main__\.Clipped, which"):
            fitted(str(script), tmp_path)

    def test_an_mlflow_model_has_its_code_with_it(self, module: Any, tmp_path: Path) -> None:
        import_mlflow()
        found = fitted(module.kept_by_mlflow, tmp_path)
        found.artifact.save(tmp_path / "kept")
        code = (
            "import sys; from pathlib import Path; from asgard.model.artifacts.artifact import Artifact\n"
            "from asgard.model.scoring.predictor import Predictor; import numpy\n"
            f"model = Predictor(Artifact.read(Path({str(tmp_path / 'kept')!r}), {found.artifact.sha256!r}))\n"
            "print(model.score(numpy.array([[0.5, 1.0], [-3.0, 0.0]])).tolist(), 'own_pipeline' in sys.modules)"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd="/", check=False)
        expected = Predictor(found.artifact).score(np.array([[0.5, 1.0], [-3.0, 0.0]])).tolist()
        assert done.stdout.splitlines()[-1:] == [f"{expected} False"], done.stderr


class TestDetails:
    def test_are_plain_values_beside_the_model(self, tmp_path: Path) -> None:
        def telling(data: TrainingData) -> FitResult:
            told = {"drift": np.float32(0.25), "best": np.int64(41), "loss": [np.nan, 1.5], "by": {"a": np.ones(2)}}
            return FitResult(linear(data), told)

        found = fitted(telling, tmp_path)
        assert found.details == {"drift": 0.25, "best": 41, "loss": [None, 1.5], "by": {"a": [1.0, 1.0]}}
        assert found.scores.tolist() == fitted(linear, tmp_path).scores.tolist()
        assert fitted(linear, tmp_path).details == {}

    @pytest.mark.parametrize(
        ("details", "message"),
        [
            ({"model": object()}, "the trainer of model churn can't be kept: object is not a JSON value"),
            ([1, 2], "are not a dict with text keys: list"),
            ({1: 2}, "are not a dict with text keys"),
            ({"rows": "x" * 30_000}, "take 30,012 characters of JSON; at most 20,000 are kept"),
        ],
    )
    def test_that_can_not_be_kept(self, tmp_path: Path, details: Any, message: str) -> None:
        with pytest.raises(RunError, match=message):
            fitted(lambda data: FitResult(linear(data), details), tmp_path)


class TestEnvironment:
    def test_has_what_the_trainer_imported(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        install(tmp_path / "site", "tiny-boosting", "4.5", {"tiny_boosting.py": ""})
        monkeypatch.syspath_prepend(tmp_path / "site")

        def imports_late(data: TrainingData) -> Any:
            import tiny_boosting  # type: ignore[import-not-found]  # noqa: F401

            return linear(data)

        assert "tiny-boosting" not in fitted(linear, tmp_path).artifact.spec.trained_with
        artifact = fitted(imports_late, tmp_path).artifact
        assert artifact.spec.trained_with["tiny-boosting"] == "4.5"
        lines = artifact.files["asgard/trained_with.txt"].decode().splitlines()
        assert "tiny-boosting==4.5" in lines
        serving = {line.partition("==")[0] for line in artifact.files["requirements.txt"].decode().splitlines()}
        assert serving == {"mlflow", "numpy", "pandas", "pyarrow", "scikit-learn", "skops", "threadpoolctl"}
        assert {line.partition("==")[0] for line in lines} >= {"numpy", "scikit-learn", "skops", "pandas", "pyarrow"}

    def test_of_a_script_that_leaves_python_in_the_middle(self, tmp_path: Path) -> None:
        script = tmp_path / "train.py"
        script.write_text(
            "import os, pathlib, pickle, sys\nimport pandas\nfrom sklearn.linear_model import LogisticRegression\n"
            "given = dict(zip(sys.argv[1::2], sys.argv[2::2]))\nrows = pandas.read_parquet(given['--data'])\n"
            "model = LogisticRegression().fit(rows[['a', 'b']].to_numpy(), rows['left'])\n"
            "(pathlib.Path(given['--out']) / 'model.pkl').write_bytes(pickle.dumps(model))\nos._exit(0)\n"
        )
        said: list[str] = []
        found = fitted(str(script), tmp_path, said).artifact.spec.trained_with
        assert any("the libraries that it imported are unknown" in line for line in said)
        assert {"python", "numpy", "pyarrow"} <= set(found)


class TestSkops:
    def test_a_part_of_another_library_is_refused_with_the_remedy(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match=r"from outside scikit-learn, lightgbm\.LGBMClassifier") as caught:
            fitted(boosted_pipeline, tmp_path)
        assert "format='pickle'" in caught.value.hint
        assert fitted(boosted_pipeline, tmp_path, format="pickle").metrics["roc_auc"] > 0.8
