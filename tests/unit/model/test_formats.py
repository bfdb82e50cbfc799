"""Each format predicts the same as the model that was dumped, on the same rows: bit for bit, or within a tolerance."""

import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from tests.support.models import (
    NAMES,
    artifact,
    as_pyfunc,
    as_torchscript,
    fitted,
    forest,
    length_of_texts,
    pipeline,
    rows,
    signature,
    target,
)

from asgard.common.errors import ArtifactError, EnvironmentSetupError, UsageError
from asgard.model.artifacts.artifact import Artifact, ModelSpec
from asgard.model.artifacts.dumping import dump
from asgard.model.artifacts.formats import Format, format_of
from asgard.model.artifacts.signature import Column, Signature
from asgard.model.scoring.matrix import matrix, numbers
from asgard.model.scoring.predictor import Predictor, cached
from asgard.model.scoring.scorers import load

TASKS = ("binary", "multiclass", "regression")
ONNX_TOLERANCE = 1e-5
"""Its graph counts in 32 bits."""


def in_process(model: Any, given: np.ndarray[Any, Any], task: str) -> Any:
    """What the library itself says, as a user would ask it."""
    if hasattr(model, "num_trees"):
        return model.predict(given)
    if task == "regression":
        return model.predict(given)
    return model.predict_proba(given)[:, 1] if task == "binary" else model.predict_proba(given)


def predicted(format: Format, task: str, model: Any, given: np.ndarray[Any, Any], **options: Any) -> Any:
    return load(dump(model, format), format, signature(task), **options).score(given)


class TestSameAsInProcess:
    @pytest.mark.parametrize("task", TASKS)
    @pytest.mark.parametrize("format", [Format.LIGHTGBM, Format.PICKLE, Format.SKOPS])
    def test_bit_for_bit(self, format: Format, task: str) -> None:
        model, given = fitted(format, task), rows()
        assert np.array_equal(predicted(format, task, model, given), in_process(model, given, task))

    @pytest.mark.parametrize("format", [Format.PICKLE, Format.SKOPS])
    def test_bit_for_bit_trees_of_scikit_learn(self, format: Format) -> None:
        model, given = forest(), rows(gaps=False)
        found = predicted(format, "binary", model, given)
        assert np.array_equal(found, model.set_params(n_jobs=1).predict_proba(given)[:, 1])

    @pytest.mark.parametrize("task", TASKS)
    def test_onnx_within_its_tolerance(self, task: str) -> None:
        given = rows()
        learned = rows(600, seed=2)
        model = pipeline(learned, target(learned, task), task)
        found = predicted(Format.ONNX, task, fitted(Format.ONNX, task), given)
        expected = in_process(model, given, task)
        assert found.shape == expected.shape
        assert np.abs(found - expected).max() <= ONNX_TOLERANCE * max(1, np.abs(expected).max())

    def test_onnx_of_64_bits(self) -> None:
        from skl2onnx import to_onnx
        from skl2onnx.common.data_types import DoubleTensorType
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        learned, given = rows(600, gaps=False, seed=2), rows(gaps=False)
        model = make_pipeline(StandardScaler(), LogisticRegression()).fit(learned, target(learned, "binary"))
        kinds = [("X", DoubleTensorType([None, len(NAMES)]))]
        graph = to_onnx(model, initial_types=kinds, options={"zipmap": False}, target_opset=18)
        found = predicted(Format.ONNX, "binary", graph, given)
        assert np.abs(found - model.predict_proba(given)[:, 1]).max() <= 1e-12

    def test_pyfunc_bit_for_bit(self) -> None:
        import pandas as pd

        model, given = fitted(Format.PYFUNC), rows(gaps=False)
        expected = model.predict(None, pd.DataFrame(given, columns=list(NAMES)))
        assert np.array_equal(predicted(Format.PYFUNC, "binary", model, given), expected)

    def test_a_folder_that_a_flavour_saved(self, tmp_path: Path) -> None:
        from asgard.model.mlflow_access.mlflow_quiet import import_mlflow

        import_mlflow()
        import mlflow.lightgbm

        model, given = fitted(Format.LIGHTGBM), rows()
        mlflow.lightgbm.save_model(model, path=str(tmp_path / "saved"), pip_requirements=["lightgbm"])
        assert format_of(tmp_path / "saved") is Format.PYFUNC
        assert np.array_equal(predicted(Format.PYFUNC, "binary", tmp_path / "saved", given), model.predict(given))


class TestIndependence:
    """A row's prediction does not depend on what it is scored with."""

    @pytest.mark.parametrize("task", TASKS)
    @pytest.mark.parametrize("format", [Format.LIGHTGBM, Format.PICKLE, Format.SKOPS, Format.ONNX])
    @pytest.mark.parametrize("size", [1, 7, 63, 64, 65, 300])
    def test_of_the_batch(self, format: Format, task: str, size: int) -> None:
        given = rows(331)
        scorer = load(dump(fitted(format, task), format), format, signature(task))
        parts = [scorer.score(given[start : start + size]) for start in range(0, len(given), size)]
        assert np.array_equal(np.concatenate(parts), scorer.score(given))

    def test_of_the_batch_nearly_for_neural_networks(self) -> None:
        from sklearn.neural_network import MLPClassifier

        learned, given = rows(600, seed=2, gaps=False)[:, [0, 1, 3, 3]], rows(700, gaps=False)[:, [0, 1, 3, 3]]
        model = MLPClassifier((50, 10), solver="lbfgs", max_iter=20000).fit(learned / 100, learned[:, 2])
        scorer = load(dump(model, Format.SKOPS), Format.SKOPS, signature())
        parts = [scorer.score(given[start : start + 33] / 100) for start in range(0, 700, 33)]
        assert np.abs(np.concatenate(parts) - scorer.score(given / 100)).max() <= 1e-12

    @pytest.mark.parametrize("size", [1, 7, 63, 64, 65, 300])
    def test_of_the_batch_for_flavours_of_mlflow(self, tmp_path: Path, size: int) -> None:
        from asgard.model.mlflow_access.mlflow_quiet import import_mlflow

        import_mlflow()
        import mlflow.sklearn
        import pandas as pd

        learned, given = rows(600, seed=2), rows(331)
        named = pd.DataFrame(learned, columns=list(NAMES))
        model: Any = pipeline(named, target(learned, "multiclass"), "multiclass")
        saved = {"pyfunc_predict_fn": "predict_proba", "pip_requirements": ["scikit-learn"]}
        mlflow.sklearn.save_model(model, str(tmp_path / "saved"), serialization_format="cloudpickle", **saved)
        scorer = load(dump(tmp_path / "saved", Format.PYFUNC), Format.PYFUNC, signature("multiclass"))
        parts = [scorer.score(given[start : start + size]) for start in range(0, len(given), size)]
        assert np.array_equal(np.concatenate(parts), scorer.score(given))

    @pytest.mark.parametrize("format", [Format.LIGHTGBM, Format.SKOPS])
    def test_of_the_threads(self, format: Format) -> None:
        model, given = fitted(format), rows(5000)
        alone, together = (predicted(format, "binary", model, given, threads=threads) for threads in (1, 2))
        assert np.array_equal(alone, together)

    def test_a_model_that_wants_every_core_gets_what_it_is_told(self) -> None:
        scorer: Any = load(dump(forest(), Format.SKOPS), Format.SKOPS, signature(), threads=1)
        assert scorer._predict.__self__.n_jobs == 1


@pytest.fixture
def torch() -> Any:
    """PyTorch, if its extra is installed: it is in no lock file."""
    return pytest.importorskip("torch", reason="the extra torch is not installed: it is in no lock file")


def small_numbers(count: int = 331) -> np.ndarray[Any, Any]:
    """Rows without gaps whose columns a neural network can weigh against each other."""
    return rows(count, gaps=False) / [1, 1, 2**50, 1]


class TestTorchScript:
    @pytest.mark.parametrize(("double", "tolerance"), [(True, 1e-15), (False, 1e-7)])
    def test_as_in_the_library_on_whole_groups_and_nearly_on_others(
        self, torch: Any, double: bool, tolerance: float
    ) -> None:
        module = as_torchscript(double)
        scorer = load(dump(module, Format.TORCHSCRIPT), Format.TORCHSCRIPT, signature())

        def library(given: np.ndarray[Any, Any]) -> Any:
            kind = torch.float64 if double else torch.float32
            with torch.inference_mode():
                return module(torch.from_numpy(given).to(kind)).double().numpy()[:, 0]

        assert np.array_equal(scorer.score(small_numbers(512)), library(small_numbers(512)))
        found = scorer.score(small_numbers())
        assert found.std() > 0
        assert np.abs(found - library(small_numbers())).max() <= tolerance

    @pytest.mark.parametrize("double", [True, False])
    @pytest.mark.parametrize("size", [1, 7, 63, 64, 65, 300])
    @pytest.mark.usefixtures("torch")
    def test_whatever_the_batch_and_the_threads(self, double: bool, size: int) -> None:
        given, content = small_numbers(), dump(as_torchscript(double), Format.TORCHSCRIPT)
        one, two = (load(content, Format.TORCHSCRIPT, signature(), threads) for threads in (1, 2))
        parts = [two.score(given[start : start + size]) for start in range(0, len(given), size)]
        assert np.array_equal(np.concatenate(parts), one.score(given))

    @pytest.mark.usefixtures("torch")
    def test_its_type_is_known_and_its_bytes_are_held_against_being_none(self) -> None:
        assert format_of(as_torchscript()) is Format.TORCHSCRIPT
        with pytest.raises(ArtifactError, match="The torchscript file can't be loaded"):
            load(b"no model", Format.TORCHSCRIPT, signature())


def test_what_installs_a_format_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)  # as if it were not installed
    with pytest.raises(EnvironmentSetupError) as caught:
        load(b"", Format.TORCHSCRIPT, signature())
    assert "pip install 'PATH[torch]'" in caught.value.hint


class TestTypes:
    @pytest.mark.parametrize(
        ("format", "task"), [(format, task) for format in (Format.LIGHTGBM, Format.ONNX) for task in TASKS]
    )
    def test_are_known(self, format: Format, task: str) -> None:
        assert format_of(fitted(format, task)) is format

    def test_of_the_others(self) -> None:
        import lightgbm

        assert format_of(fitted(Format.SKOPS)) is Format.SKOPS
        assert format_of(lightgbm.LGBMClassifier()) is Format.LIGHTGBM
        assert format_of(fitted(Format.PYFUNC)) is Format.PYFUNC
        assert format_of(type("Mine", (), {"predict": None})()) is Format.PICKLE
        with pytest.raises(UsageError, match=r"builtins\.dict is not a supported model type"):
            format_of({})

    def test_nothing_heavy_is_imported_to_know(self) -> None:
        code = (
            "import sys; from asgard.model.artifacts.formats import format_of;"
            "format_of(type('M', (), {'predict': 1})());"
            "from asgard.model import Artifact; from asgard.model.artifacts import signature, formats;"
            "from asgard.model.scoring import predictor; import asgard.model.pyfunc;"
            "print([n for n in ('mlflow', 'sklearn', 'lightgbm', 'onnxruntime', 'torch', 'skops', 'pyspark', 'pandas')"
            " if n in sys.modules])"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout == "[]\n"

    def test_the_wrappers_of_lightgbm_are_their_boosters(self) -> None:
        import lightgbm

        learned = rows(600, seed=2)
        model = lightgbm.LGBMClassifier(n_estimators=10, verbose=-1, n_jobs=1).fit(learned, target(learned, "binary"))
        given = rows()
        found = predicted(Format.LIGHTGBM, "binary", model, given)
        assert np.array_equal(found, model.booster_.predict(given))


class TestRefusals:
    def test_a_model_of_another_task(self) -> None:
        with pytest.raises(ArtifactError, match=r"float64 of shape \(512, 3\); a binary model"):
            predicted(Format.LIGHTGBM, "binary", fitted(Format.LIGHTGBM, "multiclass"), rows())

    def test_a_classifier_without_probabilities(self) -> None:
        with pytest.raises(ArtifactError, match="Pipeline has no method predict_proba"):
            predicted(Format.SKOPS, "binary", fitted(Format.SKOPS, "regression"), rows())

    def test_a_signature_of_another_model(self) -> None:
        shorter = Signature(signature().inputs[:2], "binary", ("no", "yes"))
        with pytest.raises(ArtifactError, match="takes 4 columns, but its signature has 2"):
            load(dump(fitted(Format.LIGHTGBM), Format.LIGHTGBM), Format.LIGHTGBM, shorter)

    def test_columns_in_another_order(self) -> None:
        import pandas as pd
        from sklearn.linear_model import LinearRegression

        frame = pd.DataFrame(rows(gaps=False), columns=list(NAMES))
        turned = Signature(signature().inputs[::-1], "regression")
        model = LinearRegression().fit(frame, frame["age"])
        content = dump(model, Format.SKOPS)
        with pytest.raises(ArtifactError, match="fitted on age, spent, visits, member, but its signature has member"):
            load(content, Format.SKOPS, turned)
        found = load(content, Format.SKOPS, signature("regression")).score(frame.to_numpy())
        assert np.array_equal(found, model.predict(frame))

    def test_text(self) -> None:
        given = Signature((*signature().inputs, Column("name", "string")), "binary", ("no", "yes"))
        with pytest.raises(UsageError, match=r"name \(string\)"):
            load(b"", Format.LIGHTGBM, given)

    @pytest.mark.parametrize("format", [Format.LIGHTGBM, Format.PICKLE, Format.SKOPS, Format.ONNX, Format.PYFUNC])
    def test_bytes_that_are_no_model(self, format: Format) -> None:
        with pytest.raises(ArtifactError, match=f"The {format} file can't be loaded"):
            load(b"no model", format, signature())

    def test_onnx_with_a_map_of_probabilities(self) -> None:
        from skl2onnx import to_onnx

        learned = rows(gaps=False)
        content = to_onnx(fitted(Format.SKOPS), learned[:1].astype(np.float32), target_opset=18)
        with pytest.raises(ArtifactError, match=", not numbers"):
            predicted(Format.ONNX, "binary", content, rows())

    def test_another_scikit_learn(self, monkeypatch: pytest.MonkeyPatch) -> None:
        model = fitted(Format.PICKLE)
        monkeypatch.setattr("sklearn.base.__version__", "1.0.0")
        content = dump(model, Format.PICKLE)
        monkeypatch.undo()
        with pytest.raises(ArtifactError, match="another scikit-learn"):
            load(content, Format.PICKLE, signature())


class TestMatrix:
    def test_nulls_whole_numbers_booleans_and_decimals(self) -> None:
        batch = pa.record_batch(
            {
                "member": pa.array([True, None, False]),
                "visits": pa.array([2**53 + 1, None, -3]),
                "price": pa.array([Decimal("0.10"), None, Decimal("-12345678.91")], pa.decimal128(10, 2)),
                "age": pa.array([1.5, None, float("nan")], pa.float32()),
                "none": pa.nulls(3),
                "name": pa.array(["a", "b", "c"]),
            }
        )
        found = matrix(batch, ["age", "price", "visits", "member", "none"])
        expected = [[1.5, 0.1, 2.0**53, 1, np.nan], [np.nan] * 5, [np.nan, -12345678.91, -3, 0, np.nan]]
        assert np.array_equal(found, np.array(expected), equal_nan=True)
        assert found.flags.c_contiguous
        with pytest.raises(UsageError, match="Column name is string"):
            matrix(batch, ["name"])
        with pytest.raises(UsageError, match="no columns other"):
            matrix(batch, ["other"])

    @pytest.mark.parametrize(("precision", "scale"), [(10, 2), (15, 6), (15, 15), (18, 4), (38, 18)])
    def test_decimals_are_rounded_once(self, precision: int, scale: int) -> None:
        generator = np.random.default_rng(5)
        digits = min(precision, 18)
        whole = [int(each) for each in generator.integers(-(10**digits) + 1, 10**digits, 2000)]
        values = [None, *(Decimal(each).scaleb(-scale) for each in whole)]
        column = pa.array(values, pa.decimal128(precision, scale))
        expected = [np.nan, *(float(each) for each in values[1:] if each is not None)]
        assert np.array_equal(numbers(column, "x"), expected, equal_nan=True)
        assert np.array_equal(numbers(column.slice(7), "x"), expected[7:])
        assert np.array_equal(numbers(pa.chunked_array([column, column]), "x"), expected * 2, equal_nan=True)


class TestPredictor:
    @pytest.mark.parametrize("task", TASKS)
    def test_no_rows(self, task: str) -> None:
        predictor = Predictor(artifact(Format.LIGHTGBM, task))
        batch = pa.record_batch([pa.array([], pa.float64())] * 4, names=list(NAMES))
        assert predictor.predict(batch).shape == ((0, 3) if task == "multiclass" else (0,))

    def test_columns_are_found_by_name(self) -> None:
        given = rows()
        batch = pa.record_batch(
            [pa.array(given[:, place]) for place in (3, 1, 0, 2)], ["member", "spent", "age", "visits"]
        )
        predictor = Predictor(artifact())
        assert np.array_equal(predictor.predict(batch), predictor.score(given))

    def test_a_pyfunc_gets_doubles_whether_others_have_nulls_or_not(self) -> None:
        predictor = Predictor(artifact(Format.PYFUNC, "regression", as_pyfunc(length_of_texts)))
        full = {"age": [1.5, 2.5], "spent": [1.0, 2.0], "visits": [3, 4], "member": [True, False]}
        gaps = {name: [*values, None] for name, values in full.items()}
        alone, together = (predictor.predict(pa.record_batch(each)) for each in (full, gaps))
        assert np.array_equal(alone, together[:2])
        assert alone[0] == len("1.51.03.01.0")

    def test_it_is_loaded_once_while_it_is_used(self) -> None:
        first, second = artifact(task="binary"), artifact(task="regression")
        found = cached(first, first.sha256)
        assert cached(first, first.sha256) is found
        assert cached(first, first.sha256, threads=2) is not found
        assert cached(second, second.sha256, keep=1) is not found
        assert cached(first, first.sha256) is not found

    def test_what_was_loaded_says_nothing_for_other_bytes(self) -> None:
        first, other = artifact(), artifact(name="other")
        cached(first, first.sha256)
        with pytest.raises(ArtifactError):
            cached(other, "0" * 64)


def test_mlflow_loads_a_folder_of_asgard(tmp_path: Path) -> None:
    import pandas as pd

    from asgard.model.mlflow_access.mlflow_quiet import import_mlflow

    given = pd.DataFrame(rows(), columns=list(NAMES))
    given["member"] = rows(gaps=False)[:, 3] > 0
    model = fitted(Format.LIGHTGBM)
    spec = ModelSpec("churn", Format.LIGHTGBM, signature())
    folder = Artifact.of(spec, dump(model, Format.LIGHTGBM), given.head(3)).save(tmp_path / "model")
    loaded = import_mlflow().pyfunc.load_model(str(folder))
    assert [each.name for each in loaded.metadata.get_input_schema()] == list(NAMES)
    assert np.array_equal(loaded.predict(given[list(NAMES[::-1])]), model.predict(given.astype(float).to_numpy()))
    assert loaded.input_example.shape == (3, 4)
    (folder / "model.txt").write_bytes(b"")
    with pytest.raises(ArtifactError, match=r"model\.txt"):
        import_mlflow().pyfunc.load_model(str(folder))


def test_rows_are_filled_up_with_what_the_model_knows() -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    codes = np.array([[1.0], [2.0], [3.0]] * 30)
    fitted = make_pipeline(OneHotEncoder(), LogisticRegression()).fit(codes, codes[:, 0] > 2)
    signature = Signature((Column("code", "int"),), "binary", ("False", "True"))
    scorer = load(dump(fitted, Format.PICKLE), Format.PICKLE, signature)
    assert (scorer.score(codes) == fitted.predict_proba(codes)[:, 1]).all()
