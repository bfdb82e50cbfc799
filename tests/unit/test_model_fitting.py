"""A declared model fitted on examples: what its trainer told, and what it was trained with."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tests.support.distributions import install

from asgard.common.errors import ArtifactError, RunError, UsageError
from asgard.model.declaration import FitResult, TrainingData, model
from asgard.model.examples import Examples
from asgard.model.fitting import Fitted, fit
from asgard.model.signature import Column, Signature

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


class DropsRows:
    """Forgets the rows whose first feature is negative."""

    def predict_proba(self, rows: Any) -> Any:
        kept = rows[rows[:, 0] >= 0]
        return np.column_stack([1 - kept[:, 1], kept[:, 1]])

    predict = predict_proba


def test_a_model_that_drops_rows_is_not_judged_by_the_others(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"The model gave \d+ predictions for 64 rows \(50, and 14 that fill"):
        fitted(lambda data: DropsRows(), tmp_path)


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
            ({"model": object()}, "the trainer of model churn can't be kept: object is no value of JSON"),
            ([1, 2], "no values by name: list"),
            ({1: 2}, "no values by name"),
            ({"rows": "x" * 30_000}, "take 30,012 characters of JSON, and 20,000 are kept"),
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
        lines = artifact.files["requirements.txt"].decode().splitlines()
        assert "tiny-boosting==4.5" in lines
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
        assert any("which libraries it imported is not known" in line for line in said)
        assert {"python", "numpy", "pyarrow"} <= set(found)


class TestSkops:
    def test_a_part_of_another_library_is_refused_with_the_remedy(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match=r"not scikit-learn's, lightgbm\.LGBMClassifier") as caught:
            fitted(boosted_pipeline, tmp_path)
        assert "format='pickle'" in caught.value.hint
        assert fitted(boosted_pipeline, tmp_path, format="pickle").metrics["roc_auc"] > 0.8
