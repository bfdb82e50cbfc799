"""Small fitted models of every format, and rows for them."""

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from asgard.model.artifacts.artifact import Artifact, ModelSpec
from asgard.model.artifacts.dumping import dump
from asgard.model.artifacts.formats import Format
from asgard.model.artifacts.signature import Column, Signature

NAMES = ("age", "spent", "visits", "member")
TYPES = ("double", "double", "bigint", "boolean")
ROWS = 512


def signature(task: str = "binary", classes: Sequence[str] | None = None) -> Signature:
    """Return the signature of the rows below."""
    default = {"binary": ("no", "yes"), "multiclass": ("low", "middle", "high"), "regression": ()}[task]
    columns = tuple(Column(name, kind) for name, kind in zip(NAMES, TYPES, strict=True))
    return Signature(columns, task, tuple(classes) if classes is not None else default)


def rows(count: int = ROWS, *, gaps: bool = True, seed: int = 1) -> np.ndarray[Any, Any]:
    """Draw a matrix of features; with `gaps`, some values are NaN."""
    generator = np.random.default_rng(seed)
    found = np.column_stack(
        [
            np.round(generator.normal(50, 15, count)),
            generator.exponential(100, count),
            generator.integers(0, 2**55, count).astype(float),
            generator.integers(0, 2, count).astype(float),
        ]
    )
    if gaps:
        found[generator.random(found.shape) < 0.1] = np.nan
    return found


def target(matrix: np.ndarray[Any, Any], task: str) -> np.ndarray[Any, Any]:
    """Compute the target that models learn from rows."""
    value = np.nan_to_num(matrix[:, 0]) / 50 + np.nan_to_num(matrix[:, 1]) / 100
    return value if task == "regression" else np.digitize(value, [1.5] if task == "binary" else [1, 2])


def fitted(format: Format, task: str = "binary", **options: Any) -> Any:
    """Fit a small model, on other rows than those of the test."""
    matrix = rows(600, seed=2)
    learned = target(matrix, task)
    if format is Format.LIGHTGBM:
        return boosted(matrix, learned, task, **options)
    if format is Format.ONNX:
        return as_onnx(matrix, learned, task)
    if format is Format.PYFUNC:
        return as_pyfunc()
    return pipeline(matrix, learned, task)


def boosted(matrix: np.ndarray[Any, Any], learned: np.ndarray[Any, Any], task: str, **options: Any) -> Any:
    import lightgbm

    objective = {"binary": "binary", "multiclass": "multiclass", "regression": "regression"}[task]
    params = {"objective": objective, "verbose": -1, "num_leaves": 7, "seed": 3, "num_threads": 1, **options}
    if task == "multiclass":
        params["num_class"] = 3
    return lightgbm.train(params, lightgbm.Dataset(matrix, learned, feature_name=list(NAMES)), 20)


def pipeline(matrix: Any, learned: np.ndarray[Any, Any], task: str) -> Any:
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    last = Ridge() if task == "regression" else LogisticRegression()
    return make_pipeline(SimpleImputer(), StandardScaler(), last).fit(matrix, learned)


def forest() -> Any:
    """Fit trees of scikit-learn, which use every core unless they are limited."""
    from sklearn.ensemble import RandomForestClassifier

    matrix = rows(600, seed=2)
    return RandomForestClassifier(12, n_jobs=-1, random_state=4).fit(matrix, target(matrix, "binary"))


def as_onnx(matrix: np.ndarray[Any, Any], learned: np.ndarray[Any, Any], task: str) -> Any:
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import FloatTensorType

    options = {} if task == "regression" else {"zipmap": False}
    kinds = [("X", FloatTensorType([None, matrix.shape[1]]))]
    return to_onnx(pipeline(matrix, learned, task), initial_types=kinds, options=options, target_opset=18)


def as_torchscript(double: bool = True) -> Any:
    """Make a small neural network, whose matrix products depend on the number of rows in a batch."""
    import torch

    torch.manual_seed(4)
    layers = (torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 64), torch.nn.ReLU(), torch.nn.Linear(64, 32))
    module = torch.nn.Sequential(*layers, torch.nn.ReLU(), torch.nn.Linear(32, 1), torch.nn.Sigmoid())
    return module.to(torch.float64 if double else torch.float32).eval()


def as_pyfunc(predict: Callable[..., Any] | None = None) -> Any:
    from asgard.model.mlflow_access.mlflow_quiet import import_mlflow

    mlflow = import_mlflow()
    made: Any = type(
        "Doubled", (mlflow.pyfunc.PythonModel,), {"predict": predict or _age_by_member, "__module__": __name__}
    )
    return made()


def _age_by_member(self: Any, context: Any, model_input: pd.DataFrame, params: Any = None) -> Any:
    return 1 / (1 + np.exp(-model_input["age"].to_numpy(dtype=float) / 50)) * (model_input["member"] != 0)


def length_of_texts(self: Any, context: Any, model_input: pd.DataFrame, params: Any = None) -> Any:
    """Predict values that depend on the types of the columns."""
    return model_input.astype(str).agg("".join, axis=1).str.len().to_numpy()


def artifact(
    format: Format = Format.LIGHTGBM, task: str = "binary", model: Any = None, name: str = "churn"
) -> Artifact:
    """Make a small model's artifact."""
    spec = ModelSpec(name, format, signature(task), {"python": "3.11"}, 3, {"rounds": 20})
    return Artifact.of(spec, dump(model if model is not None else fitted(format, task), format))


class Stubborn:
    """Predicts the first column; the first worker that predicts writes its process id and waits to be killed."""

    def __init__(self, told: Path) -> None:
        self.told = told

    def predict(self, matrix: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        try:
            with self.told.open("x") as file:
                file.write(f"{os.getpid()}\n")
        except FileExistsError:
            return matrix[:, 0]
        time.sleep(600)
        raise AssertionError("nobody killed this worker")


class Malicious:
    """Unpickling it creates a file."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> Any:
        return (Path.touch, (self.file,))


ANSWER: list[Callable[[Any], Any]] = []
"""Functions that give the predictions of `Answering`: the last one is used."""


class Answering:
    """A model whose predictions the test chooses."""

    def predict(self, given: Any) -> Any:
        return ANSWER[-1](given)

    predict_proba = predict


def answer_now(self: Any, context: Any, model_input: pd.DataFrame, params: Any = None) -> Any:
    """The same for an MLflow flavour: this function is pickled by value, so it imports its module."""
    from tests.support import models

    return models.ANSWER[-1](model_input)


def drops_rows() -> Any:
    """Fit a pipeline that drops rows with nulls, so it returns fewer predictions than rows."""
    from sklearn.linear_model import LinearRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer

    learned = pd.DataFrame(rows(600, gaps=False, seed=2), columns=list(NAMES))
    return make_pipeline(FunctionTransformer(pd.DataFrame.dropna), LinearRegression()).fit(learned, learned["age"])
